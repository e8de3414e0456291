"""The overrides of each member of a multirun: every combination of the values that are swept."""

import itertools

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from runner.cli.composition import Composer, parse
from runner.cli.faults import one_line, unknown_key
from runner.cli.loader import plain
from runner.errors import ConfigError

MAX_JOBS = 10_000


def list_members(composer: Composer, cfg: DictConfig, *, where_it_applies: bool) -> list[list[str]]:
    """The overrides of each member: those of the command line, with one value for several.

    Args:
      cfg: the configuration that the members have in common; it may sweep values, too.
      where_it_applies: leave a setting out of the members whose options do not have it.

    Raises:
      ConfigError: a sweep gives no values or too many, or is overridden by what follows.
    """
    told = [override for override in composer.parsed if not override.is_hydra_override()]
    typed = {override.get_key_element() for override in told}
    # As written: what a value takes from the environment must not stand in the record.
    params = plain(cfg.hydra.sweeper).get("params") or {}
    lines = [f"{key}={value}" for key, value in params.items() if key not in typed]
    overrides = parse(lines) + told
    choices: list[list[str]] = []
    count = 1
    for number, override in enumerate(overrides):
        override.config_loader = composer.loader
        key = override.get_key_element()
        if override.is_sweep_override() and key in {
            later.get_key_element() for later in overrides[number + 1 :]
        }:
            raise ConfigError(override.key_or_group, "is given twice", "keep one of the sweeps")
        choices.append(_values(override))
        count *= len(choices[-1])
        if count > MAX_JOBS:
            problem = f"{override.input_line!r} makes it {count:,} jobs or more"
            raise ConfigError(override.key_or_group, problem, f"ask for at most {MAX_JOBS:,}")
    members = [list(combination) for combination in itertools.product(*choices)]
    return _applying(composer, members) if where_it_applies else members


def _values(override: Override) -> list[str]:
    """The overrides that a sweep stands for, counted no further than is needed to refuse it."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    name = override.key_or_group or "command line"
    if override.is_interval_sweep():
        problem = f"{override.input_line!r} is not a list of values"
        raise ConfigError(name, problem, "write key=1,2 or key=range(1,3)")
    try:
        values = itertools.islice(override.sweep_string_iterator(), MAX_JOBS + 1)
        lines = [f"{override.get_key_element()}={value}" for value in values]
    except Exception as error:
        raise ConfigError(name, one_line(error), "write key=1,2 or key=range(1,3)") from error
    if not lines:
        problem = f"{override.input_line!r} gives no value"
        raise ConfigError(name, problem, "give at least one")
    return lines


def _applying(composer: Composer, batch: list[list[str]]) -> list[list[str]]:
    """The members without the settings that their options do not have, each member once.

    Raises:
      ConfigError: no member has a setting.
    """
    known: dict[tuple[str, ...], set[str]] = {}
    members: dict[tuple[str, ...], None] = {}
    held: set[str] = set()
    for lines in batch:
        chosen = tuple(line for line in lines if _key(line) in ("", *_groups(composer, line)))
        if chosen not in known:
            known[chosen] = set(composer.settings(parse(chosen)))
        kept = tuple(line for line in lines if line in chosen or _has(known[chosen], _key(line)))
        members[kept] = None
        held.update(kept)
    for line in dict.fromkeys(line for lines in batch for line in lines):
        if line not in held:
            raise unknown_key(_key(line), sorted(set().union(*known.values())))
    return [list(member) for member in members]


def of_member(error: ConfigError, composer: Composer, lines: list[str]) -> ConfigError:
    """The error of a member whose option lacks a setting that another member's has."""
    group = error.key.partition(".")[0]
    swept = [o for o in composer.parsed if o.is_sweep_override() and o.key_or_group == group]
    chosen = next((line for line in lines if _key(line) == group), None)
    if not swept or chosen is None:
        return error
    others = (composer.settings(parse([line])) for line in _values(swept[0]))
    if error.key in composer.settings(parse([chosen])) or not any(error.key in k for k in others):
        return error
    remedy = "not every option that is asked for has it; --where-it-applies leaves it out there"
    return ConfigError(error.key, f"{chosen} has no such setting", remedy)


def _key(line: str) -> str:
    """The key of an override that changes a value or chooses an option; else empty."""
    key = line.partition("=")[0].partition("@")[0]
    return "" if key.startswith(("+", "~")) else key


def _groups(composer: Composer, line: str) -> list[str]:
    key = _key(line)
    return [key] if composer.is_group(key) else []


def _has(keys: set[str], key: str) -> bool:
    """Whether ``key`` is a setting, or a name below one that may be a mapping."""
    return not key or key in keys or ".".join(key.split(".")[:2]) in keys
