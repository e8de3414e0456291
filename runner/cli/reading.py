"""Converts composed settings to the typed configuration, with the schedulers that they name."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from runner.cli.allow_list import dotted, plain
from runner.cli.composition import Composer
from runner.cli.exit import check_memory_limit
from runner.cli.overrides import quoted
from runner.config import Choice, Config, read_config
from runner.config.markers import OptionOf, OptionsOf
from runner.config.settings import composing
from runner.config.signature import Settings, markers
from runner.errors import ConfigError, nearest
from runner.registry import Registry, schedulers, tasks

GROUP = "scheduler"


def activate(cfg: DictConfig, folder: Path | None = None) -> None:
    """Makes ``${hydra:...}`` refer to ``cfg``, with ``folder`` as its run folder."""
    if folder is not None:
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.runtime.output_dir = str(folder.absolute())
    HydraConfig.instance().set_config(cfg)


def read_in(composer: Composer, cfg: DictConfig, folder: Path) -> Config:
    """The typed configuration of a job in ``folder``; has no other effect than ``activate``.

    Raises:
      ConfigError: see ``read_settings``.
    """
    activate(cfg, folder)
    return read_settings(composer, without_hydra(cfg))


def without_hydra(cfg: DictConfig) -> DictConfig:
    """``cfg`` without the section ``hydra``."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def read_settings(composer: Composer, settings: DictConfig) -> Config:
    """The typed configuration of composed ``settings`` without the section ``hydra``.

    The chosen options and the overrides are taken from the current ``HydraConfig``.

    Raises:
      ConfigError: see ``read_config``; or an interpolation cannot be resolved, or a scheduler to
        compare, or the policy of ``scheduler=auto``, is unknown or invalid.
    """
    check_memory_limit()
    sections = plain(settings)
    _check_named(composer, tasks, sections.get("task"), OptionsOf)
    _check_named(composer, schedulers, sections.get(GROUP), OptionOf)
    config = _read(composer, settings, HydraConfig.get().runtime.choices)
    for setting in markers(tasks.get(config.task.name), OptionsOf):
        named = dict.fromkeys(getattr(config.task.settings, setting))
        others = [option for option in named if option != config.scheduler.option]
        choices = tuple(_compared(composer, option) for option in others)
        named_settings = Settings(**{**vars(config.task.settings), setting: choices})
        config = replace(config, task=replace(config.task, settings=named_settings))
    return config


def applying(composer: Composer, lines: list[str]) -> list[str]:
    """``lines`` without changes to settings and parts that the chosen options do not have."""
    changed = {line: _changed(composer, line) for line in lines}
    kept = [line for line in lines if not changed[line]]
    for is_part in (True, False):  # parts first, as each adds settings
        known = composer.settings(kept)
        of_kind = (line for line in lines if changed[line] and ("@" in line) == is_part)
        kept += [line for line in of_kind if _has(known, changed[line])]
    return [line for line in lines if line in kept]


def _changed(composer: Composer, line: str) -> str:
    """The key of the setting or part that ``line`` changes; empty if it changes neither."""
    key, _, package = line.partition("=")[0].partition("@")
    if line.startswith(("+", "~")):
        return ""
    if composer.chooses(line):
        return package if "." in package else ""
    return key


def _has(known: Mapping[str, Any], key: str) -> bool:
    """Whether ``key`` is a setting, or a name that may be added below one."""
    parent = key.rpartition(".")[0]
    names = known.get(parent)
    may_add = "." in parent and parent in known and not (isinstance(names, Mapping) and names)
    return key in known or may_add


def _check_named(composer: Composer, registry: Registry, section: Any, kind: type[Any]) -> None:
    """Checks that named schedulers exist, before the model is read, which imports jax."""
    name = section.get("name") if isinstance(section, Mapping) else None
    for setting in markers(registry.get(name), kind) if name in registry.names() else ():
        named = section.get(setting)
        for option in named if isinstance(named, list) else [named]:
            known = composer.options(GROUP, wanted=str(option))
            if isinstance(option, str) and option not in known:
                problem = f"there is no {GROUP} {option!r}"
                raise ConfigError(f"{registry.group}.{setting}", problem, nearest(option, known))


def _read(composer: Composer, settings: DictConfig, options: Mapping[str, Any]) -> Config:
    """The typed configuration, with the policy of ``scheduler=auto`` in its place."""
    config = _read_sections(composer, settings, options)
    if not markers(schedulers.get(config.scheduler.name), OptionOf):
        return config
    policy = _policy(composer, config.scheduler.settings)
    return replace(
        config, scheduler=replace(policy, option=config.scheduler.option), auto=config.scheduler
    )


def _read_sections(composer: Composer, settings: DictConfig, options: Mapping[str, Any]) -> Config:
    as_written = plain(settings)
    with composer.answered():
        values: Any = OmegaConf.to_container(settings, resolve=True)
    try:
        return read_config(values, as_written=as_written, options=options, plugins=composer.plugins)
    except ConfigError as error:
        raw = dict(dotted(as_written)).get(error.key)
        if not isinstance(raw, str) or not re.fullmatch(r"\$\{oc\.env:[^{}]*\}", raw):
            raise
        remedy = f"if it is a number, write ${{oc.decode:{raw}}}"
        raise ConfigError(error.key, f"{raw} gives a string", remedy) from error


def _compared(composer: Composer, option: str) -> Choice:
    """The scheduler that the current job would have with ``option``.

    Overrides of the scheduler's settings are applied if the option has those settings.
    """
    choice, others, within = _typed(option)
    lines = [*others, *applying(composer, [choice, *within])]
    with composing(option):
        cfg = composer.compose(lines)
        return _read(composer, without_hydra(cfg), cfg.hydra.runtime.choices).scheduler


def _policy(composer: Composer, auto: Any) -> Choice:
    """The scheduler that the settings ``auto`` of ``scheduler=auto`` name, with its settings."""
    choice, others, _ = _typed(auto.policy)
    with composing(auto.policy, named_by=f"{GROUP}.policy"):
        cfg = composer.compose([*others, choice])
        with read_write(cfg), open_dict(cfg):
            cfg[GROUP] = OmegaConf.merge(cfg[GROUP], dict(auto.settings))
        options = cfg.hydra.runtime.choices
        policy = _read_sections(composer, without_hydra(cfg), options).scheduler
    if markers(schedulers.get(policy.name), OptionOf):
        problem = f"{auto.policy} searches for rates of another scheduler"
        raise ConfigError(f"{GROUP}.policy", problem, "choose triangular, one_cycle, ...")
    return policy


def _typed(option: str) -> tuple[str, list[str], list[str]]:
    """The overrides of the current job with ``option`` as its scheduler.

    Returns:
      The choice of the scheduler, the overrides of everything else, and those of its settings.
    """
    recorded: Any = plain(HydraConfig.get().overrides)
    chosen, others, within = GROUP, [*recorded["hydra"]], []
    for line in recorded["task"]:
        key, _, package = line.partition("=")[0].lstrip("+~").partition("@")
        if key == GROUP and package in ("", GROUP):
            chosen = line.partition("=")[0]
        elif key.partition(".")[0] == GROUP:
            within.append(line.lstrip("+"))
        else:
            others.append(line)
    return f"{chosen}={quoted(option)}", others, within
