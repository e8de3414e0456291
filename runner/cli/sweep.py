"""Runs every member of a multirun, in this process or by an installed launcher or sweeper."""

import itertools
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks  # see runner.cli.job
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, configure_log
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from runner.cli.composition import Composer, activate, parse
from runner.cli.faults import one_line, unknown_key
from runner.cli.job import (
    HYDRAS,
    Failure,
    Job,
    StoppedError,
    check_record,
    is_explicit,
    is_filled,
    read_folder,
    read_in,
    run_in,
)
from runner.cli.loader import plain
from runner.config import Config
from runner.errors import ConfigError
from runner.records.run_folder import claim_sweep

log = logging.getLogger(__name__)

MAX_JOBS = 10_000
# So many members are tried before the first one starts.
MAX_TRIED = 200
# What names a member's folder without a text that a file could choose.
_NUMBERED = re.compile(r"\$\{hydra[.:]job\.(num|id)\}|[\w=,+-]+|/")


@dataclass(frozen=True)
class Member:
    """A member of a multirun, composed and read.

    Attributes:
      config: None if it is wrong, which its job will say.
    """

    cfg: DictConfig
    config: Config | None


def run_many(composer: Composer, cfg: DictConfig, *, where_it_applies: bool) -> list[Failure]:
    """Runs every member and returns those that failed.

    Args:
      cfg: what the command line makes without the values that are swept.
      where_it_applies: leave a setting out of the members whose options do not have it.

    Raises:
      RunnerError: no member can be composed, or the multirun was stopped.
    """
    activate(cfg)
    folder = read_folder(composer, cfg, "hydra.sweep.dir")
    explicit = is_explicit(cfg, "hydra.sweep.dir")
    if explicit and is_filled(folder):
        raise ConfigError("hydra.sweep.dir", f"{folder} is not empty", "name a new folder")
    check_record(cfg)
    for override in composer.parsed:
        if override.is_sweep_override() and override.is_hydra_override():
            problem = f"{override.get_value_string()!r} is several values"
            raise ConfigError(override.key_or_group, problem, "write one for all jobs")
    sweep = Sweep(composer, cfg, folder)
    basic = cfg.hydra.runtime.choices["hydra/sweeper"] == "basic"
    batch = _members(composer, cfg, where_it_applies=where_it_applies) if basic else None
    if batch is None:
        _check_numbered(cfg)
    else:
        sweep.try_members(batch)
    prepared = sweep.prepare()
    sweep.move_to(claim_sweep(folder, explicit=explicit))
    return sweep.run(batch, prepared)


class Sweep:
    """One multirun.

    Attributes:
      cfg: the configuration that its members have in common.
      folder: of the sweep.
      tried: the first members by number.
    """

    def __init__(self, composer: Composer, cfg: DictConfig, folder: Path) -> None:
        self.composer, self.cfg, self.folder = composer, cfg, folder
        self.tried: dict[int, Member] = {}
        self.job = Job(composer, goes_on=True)
        callbacks = composer.attempt(lambda: Callbacks(cfg))
        self.context = HydraContext(composer.loader, callbacks)

    def try_members(self, batch: Sequence[list[str]]) -> None:
        """Composes and reads members before any of them starts.

        Raises:
          ConfigError: one cannot be composed, two would share a folder, or every one is wrong.
        """
        errors: list[ConfigError] = []
        folders: set[Path] = set()
        for number, lines in enumerate(batch[:MAX_TRIED]):
            member = self.compose(lines, number)
            place = self.place(member)
            if place in folders:
                problem = f"two jobs would write to {str(place.relative_to(self.folder))!r}"
                raise ConfigError("hydra.sweep.subdir", problem, "use ${hydra.job.num} in it")
            folders.add(place)
            config = None
            try:
                config = read_in(self.composer, member, place)
            except ConfigError as error:
                errors.append(error)
            self.tried[number] = Member(member, config)
        if len(errors) == len(self.tried):
            raise errors[0]

    def compose(self, lines: list[str], number: int) -> DictConfig:
        """The configuration of a member, which is the current one from here on."""
        load = self.composer.loader.load_sweep_config
        try:
            member = self.composer.attempt(lambda: load(self.cfg, lines), lines)
        except ConfigError as error:
            raise _of_some(error, self.composer, lines) from error
        with open_dict(member):
            member.hydra.job.num, member.hydra.job.id = number, str(number)
        activate(member)
        return member

    def place(self, member: DictConfig) -> Path:
        """The folder of a member, which must lie within the sweep's."""
        key = "hydra.sweep.subdir"
        subfolder = read_folder(self.composer, member, key)
        place = Path(os.path.normpath(self.folder / subfolder))
        if not place.is_relative_to(os.path.normpath(self.folder)):
            raise ConfigError(key, f"{str(subfolder)!r} is not in the sweep's folder", "name one")
        return self.folder / subfolder

    def prepare(self) -> Any:
        """The launcher of a basic sweep, or the whole sweeper; None to run it in this process."""
        plugins, choices = Plugins.instance(), self.cfg.hydra.runtime.choices
        made = {"config": self.cfg, "hydra_context": self.context, "task_function": self.job}
        if choices["hydra/sweeper"] != "basic":
            return self.composer.attempt(lambda: plugins.instantiate_sweeper(**made))
        if choices["hydra/launcher"] != "basic":
            return self.composer.attempt(lambda: plugins.instantiate_launcher(**made))
        return None

    def move_to(self, folder: Path) -> None:
        """Makes ``folder`` the sweep's, for jobs that a launcher composes, too."""
        if folder != self.folder or self.cfg.hydra.sweep.dir != str(folder):
            quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
            with read_write(self.cfg.hydra):
                self.cfg.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")
                self.cfg.hydra.sweep.dir = str(folder)
        if folder != self.folder:
            self.tried = {n: replace(member, config=None) for n, member in self.tried.items()}
        self.folder = folder

    def run(self, batch: Sequence[list[str]] | None, prepared: Any) -> list[Failure]:
        """Runs the members: ``batch``, or those that the prepared sweeper thinks of."""
        names = {"config": self.cfg, "config_name": self.composer.config_name}
        self.context.callbacks.on_multirun_start(**names)
        try:
            if batch is None:
                returned = prepared.sweep(list(plain(self.cfg.hydra.overrides.task)))
            else:
                OmegaConf.save(self.cfg, self.folder / "multirun.yaml")
                returned = self.launch(batch, prepared)
        except StoppedError as stop:
            raise stop.error from stop
        except HYDRAS as error:
            raise self.composer.answer(error) from error
        self.context.callbacks.on_multirun_end(**names)
        failures = {*self.job.failures, *_failures(returned)}
        return sorted(failures, key=lambda failure: failure.number)

    def launch(self, batch: Sequence[list[str]], launcher: Any) -> list[Any]:
        size = self.cfg.hydra.sweeper.max_batch_size or len(batch)
        returned: list[Any] = []
        for first in range(0, len(batch), max(1, size)):
            jobs = batch[first : first + max(1, size)]
            if launcher is None:
                returned += [self.run_member(first + n, lines) for n, lines in enumerate(jobs)]
            else:
                returned += launcher.launch(jobs, initial_job_idx=first)
        return returned

    def run_member(self, number: int, lines: list[str]) -> Any:
        """Runs a member in this process."""
        configure_log(self.cfg.hydra.hydra_logging, self.cfg.hydra.verbose)
        log.info("#%d : %s", number, " ".join(lines))
        known = self.tried.pop(number, None)
        member = known.cfg if known else self.compose(lines, number)
        with read_write(member.hydra):
            member.hydra.sweep.dir = str(self.folder)
        self.place(member)
        job = replace(self.job, config=known and known.config)
        return run_in(self.composer, member, self.context, job, *_FOLDER_KEYS)


_FOLDER_KEYS = ("hydra.sweep.dir", "hydra.sweep.subdir")


def _members(composer: Composer, cfg: DictConfig, *, where_it_applies: bool) -> list[list[str]]:
    """The overrides of each member: every combination of the values that are swept.

    A member is the plain run with one value in place of several.

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


def _of_some(error: ConfigError, composer: Composer, lines: list[str]) -> ConfigError:
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


def _check_numbered(cfg: DictConfig) -> None:
    """What only the sweeper knows must not name folders, nor take values from the environment."""
    sweep = plain(cfg.hydra.sweep)
    if "".join(_NUMBERED.split(sweep["subdir"])[::2]):
        problem = f"{sweep['subdir']!r} is not a name with ${{hydra.job.num}} in it"
        raise ConfigError("hydra.sweep.subdir", problem, "write ${hydra.job.num}")
    for key, value in (plain(cfg.hydra.sweeper).get("params") or {}).items():
        if "${" in str(value):
            problem = f"{value!r} holds an interpolation"
            raise ConfigError(f"hydra.sweeper.params.{key}", problem, "write the values themselves")


def _failures(returned: Any) -> Iterator[Failure]:
    """What jobs in other processes returned, where the sweeper passes it on."""
    if isinstance(returned, Failure):
        yield returned
    elif isinstance(returned, (list, tuple)):
        for item in returned:
            yield from _failures(item)
    elif getattr(returned, "status", None) is JobStatus.COMPLETED:
        yield from _failures(returned.return_value)
