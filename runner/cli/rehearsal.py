"""Reads configurations as the jobs will, before any folder is created or any job starts."""

import copy
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from runner.cli.composing import Composer
from runner.cli.reading import read_settings, without_hydra
from runner.config import Config
from runner.errors import ConfigError

MAX_JOBS = 10_000
# So many members of a multirun are tried before the first one starts.
MAX_TRIED = 200

_BASIC = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"


def try_out(composer: Composer, cfg: DictConfig, folder: str) -> Config:
    """Reads the configuration as the job in ``folder`` will, to no other effect."""
    seen = copy.deepcopy(cfg)  # set_config makes it read-only
    with open_dict(seen):
        seen.hydra.runtime.output_dir = str(Path(folder).absolute())
    HydraConfig.instance().set_config(seen)
    settings = without_hydra(seen)
    composer.attempt(lambda: OmegaConf.to_container(settings, resolve=True))
    return read_settings(composer, settings)


def try_members(composer: Composer, cfg: DictConfig, folder: str) -> bool:
    """Composes the members before any of them starts; returns whether it was all of them.

    Only the basic sweeper's members are known before it sweeps.

    Raises:
      ConfigError: one cannot be composed, there are none, two would share a folder, or the
        configuration of every one is wrong.
    """
    if OmegaConf.select(cfg, "hydra.sweeper._target_") != _BASIC:
        return False
    members = _members(composer, cfg)
    errors: list[ConfigError] = []
    folders: set[str] = set()
    tried = members[:MAX_TRIED]
    for number, overrides in enumerate(tried):
        member = composer.attempt(
            lambda overrides=overrides: composer.hydra.config_loader.load_sweep_config(
                cfg, overrides
            )
        )
        with open_dict(member):
            member.hydra.job.num, member.hydra.job.id = number, str(number)
        # For ${hydra:...} in the folder's name; a copy, as set_config makes it read-only.
        HydraConfig.instance().set_config(copy.deepcopy(member))
        subfolder = composer.attempt(lambda member=member: str(member.hydra.sweep.subdir))
        if subfolder in folders:
            problem = f"two jobs would write to {subfolder!r}"
            raise ConfigError("hydra.sweep.subdir", problem, "use ${hydra.job.num} in it")
        folders.add(subfolder)
        try:
            try_out(composer, member, str(Path(folder, subfolder)))
        except ConfigError as error:
            errors.append(error)
    if len(errors) == len(tried):
        raise errors[0]
    return len(tried) == len(members)


def _members(composer: Composer, cfg: DictConfig) -> list[list[str]]:
    params = cfg.hydra.sweeper.params or {}
    lines = [f"{key}={value}" for key, value in params.items()]
    parsed = composer.attempt(lambda: composer.parse(lines + list(cfg.hydra.overrides.task)))
    count = 1
    for override in parsed:
        if override.is_interval_sweep():
            problem = f"{override.input_line!r} is no list of values"
            raise ConfigError(override.key_or_group, problem, "write key=1,2 or key=range(1,3)")
        values = composer.attempt(lambda override=override: _count(override))
        if values == 0:
            raise ConfigError(
                override.key_or_group,
                f"{override.input_line!r} gives no value",
                "give at least one",
            )
        count *= values
        if count > MAX_JOBS:
            raise ConfigError(
                override.key_or_group,
                f"{override.input_line!r} makes it {count:,} jobs or more",
                f"ask for at most {MAX_JOBS:,}",
            )
    return composer.attempt(lambda: BasicSweeper.split_arguments(parsed, None)[0])


def _count(override: Override) -> int:
    """The number of values of a sweep, counted no further than is needed to refuse it."""
    if not override.is_discrete_sweep():
        return 1
    values = override.sweep_iterator()
    return sum(1 for _, _ in zip(range(MAX_JOBS + 1), values, strict=False))
