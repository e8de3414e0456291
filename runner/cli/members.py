"""The members of a multirun: every combination of the values that are swept."""

import itertools
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from runner.cli.allow_list import plain
from runner.cli.composition import Composer
from runner.cli.folders import SUBFOLDER, member_folder
from runner.cli.overrides import parse
from runner.cli.reading import activate, applying, read_in
from runner.config import Config
from runner.config.invalid import NO_SETTING, unknown_setting
from runner.errors import ConfigError

MAX_JOBS = 10_000
# The number of members that are composed and read before the first one starts.
MAX_TRIED = 200


def list_members(composer: Composer, cfg: DictConfig, *, where_it_applies: bool) -> list[list[str]]:
    """The overrides of each member: those of the command line, one value per sweep.

    Args:
      cfg: the configuration that the members have in common; it may sweep values, too.
      where_it_applies: leave a setting out of the members whose options do not have it.

    Raises:
      ConfigError: a sweep gives no values or too many, or a later override replaces it.
    """
    told = [override for override in composer.parsed if not override.is_hydra_override()]
    typed = {override.get_key_element() for override in told}
    # Interpolations unresolved, so that environment variables do not enter the record.
    params = plain(cfg.hydra.sweeper).get("params") or {}
    lines = [f"{key}={value}" for key, value in params.items() if key not in typed]
    overrides = [*parse(lines), *told]
    keys = [override.get_key_element() for override in overrides]
    choices, count = [], 1
    for number, override in enumerate(overrides):
        override.config_loader = composer  # for glob(...)
        if override.is_sweep_override() and keys[number] in keys[number + 1 :]:
            raise ConfigError(override.key_or_group, "is given twice", "keep one of the sweeps")
        choices.append(_values(override))
        count *= len(choices[-1])
        if count > MAX_JOBS:
            problem = f"{override.input_line!r} gives {count:,} jobs or more"
            raise ConfigError(override.key_or_group, problem, f"sweep at most {MAX_JOBS:,}")
    members = [list(combination) for combination in itertools.product(*choices)]
    return _applying(composer, members) if where_it_applies else members


def try_members(
    composer: Composer, cfg: DictConfig, folder: Path, members: list[list[str]]
) -> list[tuple[DictConfig, Config | None]]:
    """Composes and reads the first members before any starts; None replaces a wrong configuration.

    Raises:
      ConfigError: one cannot be composed, two would share a folder, or every one is wrong.
    """
    tried: list[tuple[DictConfig, Config | None]] = []
    errors, folders = [], set()
    for number, lines in enumerate(members[:MAX_TRIED]):
        member, own = compose_member(composer, cfg, folder, number, lines)
        if own in folders:
            problem = f"two jobs would write to {str(own.relative_to(folder))!r}"
            raise ConfigError(SUBFOLDER, problem, "use ${hydra.job.num} in it")
        folders.add(own)
        try:
            tried.append((member, read_in(composer, member, own)))
        except ConfigError as error:
            tried.append((member, None))
            errors.append(error)
    if len(errors) == len(tried):
        raise errors[0]
    return tried


def compose_member(
    composer: Composer, cfg: DictConfig, folder: Path, number: int, lines: list[str]
) -> tuple[DictConfig, Path]:
    """The configuration and the folder of a member of the sweep ``cfg`` in ``folder``.

    Raises:
      ConfigError: it cannot be composed, or its folder is not within the sweep's.
    """
    try:
        member = composer.load_sweep_config(cfg, lines)
    except ConfigError as error:
        raise _of_member(error, composer, lines) from error
    with open_dict(member):
        member.hydra.job.num, member.hydra.job.id = number, str(number)
    activate(member)
    return member, member_folder(composer, member, folder)


def _values(override: Override) -> list[str]:
    """The overrides that a sweep stands for, at most ``MAX_JOBS`` + 1 of them."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    name = override.key_or_group or "command line"
    remedy = "write key=1,2 or key=range(1,3)"
    if override.is_interval_sweep():
        raise ConfigError(name, f"{override.input_line!r} is not a list of values", remedy)
    try:
        values = itertools.islice(override.sweep_string_iterator(), MAX_JOBS + 1)
        lines = [f"{override.get_key_element()}={value}" for value in values]
    except Exception as error:
        raise ConfigError(name, str(error), remedy) from error
    if not lines:
        problem = f"{override.input_line!r} gives no value"
        raise ConfigError(name, problem, "give at least one")
    return lines


def _applying(composer: Composer, members: list[list[str]]) -> list[list[str]]:
    """The members without the settings that their options do not have, each member once.

    Raises:
      ConfigError: no member has a setting.
    """
    found = list(dict.fromkeys(tuple(applying(composer, lines)) for lines in members))
    held = {line for lines in found for line in lines}
    for line in dict.fromkeys(line for lines in members for line in lines):
        if line not in held:
            raise unknown_setting(line.partition("=")[0], composer.settings(members[0]))
    return [list(lines) for lines in found]


def _of_member(error: ConfigError, composer: Composer, lines: list[str]) -> ConfigError:
    """The error of a member whose option lacks a setting that another member's may have."""
    group, _, name = error.key.partition(".")
    is_swept = any(o.is_sweep_override() and o.key_or_group == group for o in composer.parsed)
    chosen = next((line for line in lines if line.partition("=")[0] == group), None)
    if error.problem != NO_SETTING or not (name and is_swept and chosen):
        return error
    remedy = f"{error.remedy} (--where-it-applies leaves a setting out of jobs that lack it)"
    return ConfigError(error.key, f"{chosen} has no setting {name}", remedy)
