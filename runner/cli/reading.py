"""Reads composed settings: the typed configuration, and the schedulers it is compared with."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner.cli.composition import Composer, parse
from runner.cli.exit import check_memory_limit
from runner.cli.loader import dotted, plain
from runner.config import Choice, Config, read_config
from runner.config.settings import comparing
from runner.config.signature import markers
from runner.config.types import OptionsOf
from runner.errors import ConfigError, nearest
from runner.registry import tasks

GROUP = "scheduler"


def read_settings(composer: Composer, cfg: DictConfig) -> Config:
    """The typed configuration of the composed ``cfg``.

    The options chosen, and the overrides that hold for what is compared, are those of the current
    ``HydraConfig``.

    Raises:
      ConfigError: see ``read_config``; or an interpolation cannot be resolved, or a scheduler to
        compare is unknown or wrong.
    """
    options = HydraConfig.get().runtime.choices
    check_memory_limit()
    _check_compared(composer, plain(cfg)["task"])
    config = _read(composer, without_hydra(cfg), options)
    for setting in markers(tasks.get(config.task.name), OptionsOf):
        named = dict.fromkeys(getattr(config.task.settings, setting))
        others = [option for option in named if option != config.scheduler.option]
        choices = tuple(_compared(composer, option) for option in others)
        settings = config.task.settings.model_copy(update={setting: choices})
        config = replace(config, task=replace(config.task, settings=settings))
    return config


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The settings alone."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def _check_compared(composer: Composer, task: Any) -> None:
    """Refuses schedulers that do not exist; before the model is read, which imports jax."""
    name = task.get("name") if isinstance(task, Mapping) else None
    for setting in markers(tasks.get(name), OptionsOf) if name in tasks.names() else ():
        named = task.get(setting)
        for option in named if isinstance(named, list) else []:
            known = composer.options(GROUP, wanted=str(option))
            if isinstance(option, str) and option not in known:
                problem = f"there is no {GROUP} {option!r}"
                raise ConfigError(f"task.{setting}", problem, nearest(option, known))


def _read(composer: Composer, settings: DictConfig, options: Mapping[str, Any]) -> Config:
    as_written = plain(settings)
    values: Any = composer.attempt(lambda: OmegaConf.to_container(settings, resolve=True))
    try:
        return read_config(values, as_written=as_written, options=options, plugins=composer.plugins)
    except ConfigError as error:
        raise _of_environment(error, as_written) from error


def _of_environment(error: ConfigError, as_written: Mapping[str, Any]) -> ConfigError:
    """The error, or how to write it where a number is read from the environment as a text."""
    raw: Any = as_written
    for name in error.key.split("."):
        raw = raw.get(name) if isinstance(raw, Mapping) else None
    if not isinstance(raw, str) or not re.fullmatch(r"\$\{oc\.env:[^{}]*\}", raw):
        return error
    problem = f"{raw} gives a text"
    return ConfigError(error.key, problem, f"if it is a number, write ${{oc.decode:{raw}}}")


def _compared(composer: Composer, option: str) -> Choice:
    with comparing(option):
        cfg = _compose(composer, option)
        return _read(composer, without_hydra(cfg), cfg.hydra.runtime.choices).scheduler


def _compose(composer: Composer, option: str) -> DictConfig:
    """The current job's configuration as if the command line had chosen ``option``.

    What the command line sets within the scheduler (a part of a sequence, then a setting) holds
    where the option has it.
    """
    told: Any = plain(HydraConfig.get().overrides)
    chosen, others, parts, settings = GROUP, [], [], []
    for override in parse(told["task"]):
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
        known = dict(dotted(plain(cfg)))
        if held := [line.lstrip("+") for key, line in written if key in known]:
            lines += held
            cfg = composer.compose(RunMode.RUN, lines)
    return cfg
