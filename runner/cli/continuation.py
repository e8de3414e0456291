"""Command lines that continue a saved run: they change its settings instead of the defaults."""

from argparse import Namespace
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from runner.cli.allow_list import dotted, plain
from runner.cli.composition import Composer
from runner.cli.overrides import parse
from runner.cli.reserved import DEFAULTS, RESUME
from runner.cli.settings_file import read_record
from runner.errors import ConfigError, shown
from runner.records.run_folder import (
    RANGE_RESULT,
    RECORD,
    fork_source,
    holds_run,
    require_checkpoint,
)
from runner.registry import GROUPS

FORK, CHANGES, PARAMS = "init_from", "resume_changes", "init_params_only"
RUN_FOLDER = "hydra.run.dir"

# The settings of the range test of scheduler=auto.
_RANGE_TEST = "scheduler.range_test."
# What a resumed run may change: its length, and settings that do not affect its parameters.
_MAY_CHANGE = (
    "accelerator",
    "checkpoint.",
    "compilation_cache",
    "dataset.placement",
    "plugins",
    "training.chunk",
    "training.epochs",
    "training.eval_at_cycle_end",
    "training.eval_every",
    "training.log_every",
    "training.snapshots",
    "training.steps",
)


class Continuation(Composer):
    """Composes configurations from the settings that a run folder records.

    An option that the command line chooses replaces the saved section; other overrides change the
    saved values.

    Attributes:
      folder: the folder of the saved run.
      resumes: whether that run is resumed or read (``resume``); otherwise a new run starts from its
        state (``init_from``).
      earlier: the overrides that the run was started with.
    """

    def __init__(self, flags: Namespace, folder: Path, *, resumes: bool) -> None:
        """See ``Composer``."""
        self.folder, self.resumes = folder, resumes
        self.earlier = _recorded_overrides(folder)
        self._fresh = Composer(flags)
        saved = copy(flags)
        saved.config_path, saved.config_name = None, "config"
        saved.config_dir = str(folder / RECORD)
        super().__init__(saved)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed = parse(overrides)
        groups = {group for override in parsed if (group := _group(override))}
        chosen = [str(o.input_line) for o in parsed if _section(o) in groups]
        kept = [str(o.input_line) for o in parsed if _section(o) not in groups]
        arguments = (run_mode, from_shell, validate_sweep_overrides)
        cfg = super().load_configuration(config_name, [*self._resets(kept), *kept], *arguments)
        if chosen:
            fresh = self._fresh
            optimizer = cfg.hydra.runtime.choices.get("optimizer")
            if "optimizer" not in groups and optimizer in fresh.options("optimizer"):
                chosen.append(f"optimizer={optimizer}")  # it scales a schedule's default rates
            other = fresh.load_configuration(fresh.config_name, chosen, *arguments)
            with open_dict(cfg):
                for group in groups:
                    cfg[group] = other[group]
                    cfg.hydra.runtime.choices[group] = other.hydra.runtime.choices[group]
        with open_dict(cfg):
            cfg.hydra.overrides.task = [o.input_line for o in parsed if not o.is_hydra_override()]
            if isinstance(source := plain(cfg).get(FORK), str):
                cfg[FORK] = _absolute(source)
        return cfg

    @property
    def changes(self) -> list[str]:
        """The overrides that change settings of the run, as they were typed."""
        told = (RESUME, CHANGES, RUN_FOLDER)
        return [str(o.input_line) for o in self.parsed if o.key_or_group not in told]

    def check_changes(self, cfg: DictConfig) -> None:
        """Checks that a run resumed with ``cfg`` changes only what it may (``_MAY_CHANGE``).

        Raises:
          ConfigError: it changes another setting.
        """
        if cfg[CHANGES] is True:
            self._check_range_test(cfg)
            return
        recorded = self.compose([])
        saved, now = dict(dotted(_settings(recorded))), dict(dotted(_settings(cfg)))
        options, chosen = recorded.hydra.runtime.choices, cfg.hydra.runtime.choices
        groups = [group for group in GROUPS if options.get(group) != chosen.get(group)]
        changed = [f"{group} from {options.get(group)} to {chosen[group]}" for group in groups]
        changed += [
            f"{key} from {shown(saved.get(key))} to {shown(now.get(key))}"
            for key in [*saved, *(key for key in now if key not in saved)]
            if saved.get(key) != now.get(key)
            and not isinstance(now.get(key, saved.get(key)), dict)
            and not f"{key}.".startswith(_MAY_CHANGE)
            and key.partition(".")[0] not in groups
        ]
        if changed:
            raise ConfigError(
                RESUME,
                f"changes {', '.join(changed)}",
                f"leave it out, add {CHANGES}=true, or start a new run from the state: {FORK}=...",
            )

    def _check_range_test(self, cfg: DictConfig) -> None:
        """Checks that the settings of a range test that was made, and is not repeated, stay."""
        if not (self.folder / RANGE_RESULT).exists():
            return
        saved, now = (dict(dotted(_settings(each))) for each in (self.compose([]), cfg))
        for key, value in now.items():
            if key.startswith(_RANGE_TEST) and saved.get(key, value) != value:
                problem = f"the range test of this run was made with {shown(saved[key])}"
                raise ConfigError(key, problem, "leave it out, or start a new run")

    def _refuse(self, error: ConfigError, cfg: DictConfig) -> None:
        """Uses the default in place of the recorded value, which is not trusted."""
        if error.key in DEFAULTS:
            OmegaConf.update(cfg, error.key, DEFAULTS[error.key])
        elif not self.resumes:
            raise error

    def _resets(self, typed: Sequence[str]) -> list[str]:
        """Overrides that reset how the saved run itself was resumed or forked."""
        keys = {line.lstrip("+~").partition("=")[0] for line in typed}
        values = {RESUME: "null", CHANGES: "false"}
        if FORK in keys:
            values[PARAMS] = "false"
        return [f"++{key}={value}" for key, value in values.items() if key not in keys]


def composer_of(flags: Namespace) -> Composer:
    """The composer for a command line: a ``Continuation`` if it names a saved run.

    Raises:
      ConfigError: what it names is not a run folder; see ``Composer``.
      StorageError: a new run is to start from a checkpoint that the folder does not hold.
    """
    typed = {o.key_or_group: o for o in parse(_setting_lines(flags.overrides, (RESUME, FORK)))}
    named = {key: override.value() for key, override in typed.items() if override.value()}
    if not named:
        return Composer(flags)
    if len(named) == 2:
        raise ConfigError(FORK, f"contradicts {RESUME}={named[RESUME]}", "give one of them")
    [(key, name)] = named.items()
    if not isinstance(name, str):
        raise ConfigError(key, f"{shown(name)} is not a run folder", "name one")
    if key == RESUME and name == "auto":
        folder = _fixed_folder(flags.overrides)
        if not holds_run(folder):
            composer = Composer(_without(flags, RESUME))
            composer.resumes_auto = True
            return composer
    else:
        folder = fork_source(name)[0] if key == FORK else Path(name)
    if not holds_run(folder):
        problem = f"{str(folder)!r} is not a run folder: it has no {RECORD}/config.yaml"
        raise ConfigError(key, problem, "name the folder of a run")
    if key == FORK:
        require_checkpoint(*fork_source(name))
    return Continuation(flags, folder, resumes=key == RESUME)


def _fixed_folder(overrides: Sequence[str]) -> Path:
    for override in parse(_setting_lines(overrides, (RUN_FOLDER,))):
        folder = override.value()
        if isinstance(folder, str) and "${" not in folder:
            return Path(folder)
    problem = "auto needs a fixed run folder"
    raise ConfigError(RESUME, problem, f"add {RUN_FOLDER}=FOLDER")


def _setting_lines(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    return [line for line in overrides if line.lstrip("+").partition("=")[0] in keys]


def _without(flags: Namespace, key: str) -> Namespace:
    left = copy(flags)
    removed = _setting_lines(flags.overrides, (key,))
    left.overrides = [line for line in flags.overrides if line not in removed]
    return left


def _group(override: Override) -> str | None:
    """The group whose option the override chooses, for its section or a part of it; else None."""
    if override.is_delete() or "." in override.key_or_group:
        return None
    return override.key_or_group if override.key_or_group in GROUPS else None


def _section(override: Override) -> str:
    return override.key_or_group.partition(".")[0]


def _settings(cfg: DictConfig) -> dict[str, Any]:
    told = ("hydra", RESUME, CHANGES)
    return {key: value for key, value in plain(cfg).items() if key not in told}


def _absolute(name: str) -> str:
    folder, step = fork_source(name)
    return str(folder.absolute()) if step is None else f"{folder.absolute()}@{step}"


def _recorded_overrides(folder: Path) -> list[str]:
    lines = read_record(folder / RECORD / "overrides.yaml")
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
