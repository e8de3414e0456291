"""Reads the composed settings of a job: the typed configuration, and what it is compared with."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner.cli.composing import Composer, dotted_keys
from runner.config import Choice, Config, read_config
from runner.config.settings import comparing
from runner.errors import ConfigError, nearest

GROUP = "scheduler"


def read_settings(composer: Composer, settings: DictConfig) -> Config:
    """The typed configuration of the composed ``settings``, which hold nothing of Hydra's.

    The options chosen, and the overrides that hold for what is compared, are those of the current
    ``HydraConfig``.

    Raises:
      ConfigError: see ``read_config``; or a scheduler to compare is unknown or wrong.
      OmegaConfBaseException: an interpolation cannot be resolved.
    """
    options = HydraConfig.get().runtime.choices
    config = _read(settings, options=options, plugins=composer.plugins)
    named = dict.fromkeys(getattr(config.task.settings, "compare", ()))
    others = [option for option in named if option != config.scheduler.option]
    _check_names(composer, others)
    return replace(config, compared=tuple(_compared(composer, option) for option in others))


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The settings alone."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def _read(
    settings: DictConfig,
    *,
    options: Mapping[str, Any],
    plugins: tuple[str, ...],
) -> Config:
    values: Any = OmegaConf.to_container(settings, resolve=True)
    as_written: Any = OmegaConf.to_container(settings, resolve=False)
    return read_config(values, as_written=as_written, options=options, plugins=plugins)


def _check_names(composer: Composer, names: list[str]) -> None:
    """Refuses what is no option, in the order of the names."""
    for name in names:
        known = composer.options(GROUP, _told()["hydra"], wanted=name)
        if name not in known:
            problem = f"there is no {GROUP} {name!r}"
            raise ConfigError("task.compare", problem, nearest(name, known))


def _compared(composer: Composer, option: str) -> Choice:
    with comparing(option):
        cfg = _compose(composer, option)
        options, settings = cfg.hydra.runtime.choices, without_hydra(cfg)
        composer.attempt(lambda: OmegaConf.to_container(settings, resolve=True))
        return _read(settings, options=options, plugins=composer.plugins).scheduler


def _compose(composer: Composer, option: str) -> DictConfig:
    """The current job's configuration as if the command line had chosen ``option``.

    What the command line sets within the scheduler (a part of a sequence, then a setting) holds
    where the option has it.
    """
    told = _told()
    chosen, others, parts, settings = GROUP, [], [], []
    for override in composer.parse(told["task"]):
        key, line = override.key_or_group, str(override.input_line)
        if key == GROUP and override.package in (None, GROUP):
            chosen = line.partition("=")[0]
        elif key == GROUP and str(override.package).startswith(f"{GROUP}."):
            parts.append((override.package, line))
        elif key.startswith(f"{GROUP}."):
            settings.append((key, line))
        else:
            others.append(line)
    quoted = option.replace("\\", "\\\\").replace("'", "\\'")
    lines = [*told["hydra"], *others, f"{chosen}='{quoted}'"]
    cfg = composer.compose(RunMode.RUN, lines)
    for written in (parts, settings):
        known = dotted_keys(OmegaConf.to_container(cfg, resolve=False))
        if held := [line.lstrip("+") for key, line in written if key in known]:
            lines += held
            cfg = composer.compose(RunMode.RUN, lines)
    return cfg


def _told() -> dict[str, list[str]]:
    """The overrides of the current job, those of Hydra's own settings apart; as they were typed."""
    told: Any = OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)
    return told
