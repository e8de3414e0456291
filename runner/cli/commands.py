"""Executes a command line: prints something, runs a task once, or runs a multirun."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from hydra._internal.callbacks import Callbacks  # run_job requires them, though there are none
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from runner.cli.composition import Composer
from runner.cli.continuation import CHANGES, RESUME, Continuation, composer_of
from runner.cli.display import show
from runner.cli.flags import read_flags
from runner.cli.folders import new_folder
from runner.cli.overrides import quoted
from runner.cli.reading import activate, read_in, read_settings, without_hydra
from runner.cli.sweep import run_many
from runner.config import Config
from runner.errors import ConfigError, StorageError
from runner.records.ending import Ending
from runner.records.run_folder import RECORD, claim, discard_unbegun, lock, replace_file
from runner.records.summary import SUMMARY
from runner.registry import import_plugins, tasks

FOLDER = "hydra.run.dir"
NO_SWEEP = "add -m to run each of them, or write a list: [...]"
# Tasks that write a summary.
_SUMMARISED = ("train",)


def execute(argv: list[str]) -> int:
    """Runs a command line and returns the exit code.

    Raises:
      RunnerError: the command line or the configuration is wrong, or the run fails.
    """
    flags = read_flags(argv)
    try:
        os.getcwd()
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise StorageError("current folder", problem, "change to a folder that exists") from error
    composer = composer_of(flags)
    lines = composer.lines
    if flags.run or flags.multirun:
        lines.append(f"hydra.mode={'MULTIRUN' if flags.multirun else 'RUN'}")
    if flags.shows:
        show(flags, composer)
        return 0
    cfg = composer.compose(lines, RunMode.MULTIRUN if flags.multirun else RunMode.RUN)
    if cfg.hydra.mode is RunMode.MULTIRUN:
        if isinstance(composer, Continuation) and composer.resumes:
            raise ConfigError(RESUME, "continues one run, not several", "leave out -m")
        return run_many(composer, cfg, Job, where_it_applies=flags.where_it_applies)
    if flags.where_it_applies:
        raise ConfigError("--where-it-applies", "works only with -m", "add -m, or remove it")
    composer.refuse_sweeps(NO_SWEEP)
    with _claimed(composer, cfg) as (job, folder):
        _write_record(cfg, folder)
        with composer.answered(job_folder=folder):
            done = run_job(job, cfg, FOLDER, None, HydraContext(composer, Callbacks()))
        if done.status is JobStatus.FAILED:
            raise done._return_value  # not return_value, which prints as well
    return 0


def configure(*overrides: str) -> Config:
    """The typed configuration of a command line, for use from Python; runs nothing.

    Raises:
      ConfigError: an override is wrong, or the configuration is.
    """
    composer = composer_of(read_flags(list(overrides)))
    composer.refuse_sweeps(NO_SWEEP)
    current = HydraConfig.instance()
    before = current.cfg  # of the caller, which may be a Hydra application itself
    try:
        return read_in(composer, composer.compose(composer.lines), Path.cwd())
    finally:
        current.cfg = before


def configure_saved(folder: Path, *, plugins: Sequence[str] = ()) -> Config:
    """The typed configuration of the run in ``folder``, which was started with ``plugins``.

    Raises:
      ConfigError: see ``configure``.
    """
    named = ",".join(map(quoted, plugins))
    return configure(f"{RESUME}={quoted(str(folder))}", *([f"plugins=[{named}]"] if named else []))


@dataclass(frozen=True)
class Job:
    """Hydra's task function: reads the settings and runs the task.

    A launcher may pickle it and call it in another process. It returns what the task returns, for
    a sweeper that searches for the best value.

    Attributes:
      config: the typed settings, if they have been read already.
    """

    composer: Composer
    config: Config | None = None

    def __call__(self, settings: DictConfig) -> float | None:
        import_plugins(self.composer.plugins)
        config = self.config or read_settings(self.composer, settings)
        hydra, task = HydraConfig.get(), tasks.get(config.task.name)
        folder = Path(hydra.runtime.output_dir)
        is_summarised = config.task.name in _SUMMARISED
        is_member = hydra.mode is RunMode.MULTIRUN  # else the command line holds the lock
        with (
            lock(folder) if is_member else nullcontext(),
            Ending(
                folder,
                seed=config.seed,
                leaves_summary=is_summarised,
                settings=config.hparams,
                overrides=hydra.overrides.task,
                searched=[quoted(str(folder)) for folder in self.composer.folders],
            ) as ending,
        ):
            result = task(config, folder, ending, **dict(config.task.settings))
        if hydra.mode is RunMode.MULTIRUN:
            came = f"arrived as job {hydra.job.num} ended"
            if late := ending.stop_error(came, "the remaining jobs were not run"):
                raise late
        return result


@contextmanager
def _claimed(composer: Composer, cfg: DictConfig) -> Iterator[tuple[Job, Path]]:
    """The configured task and the locked folder of its run, which ``cfg`` names from then on.

    A new folder is created after the whole configuration has been validated, and removed again
    after a ConfigError.
    """
    cfg.hydra.mode = RunMode.RUN
    activate(cfg)
    with composer.answered():
        trains = OmegaConf.select(cfg, "task.name") in _SUMMARISED
    if isinstance(composer, Continuation) and composer.resumes and trains:
        job = _resumed(composer, cfg)
        with lock(composer.folder):
            yield job, composer.folder
        return
    is_typed = any(override.key_or_group == FOLDER for override in composer.parsed)
    folder, explicit = new_folder(
        composer, cfg, FOLDER, marks=(RECORD, SUMMARY), empty=not is_typed
    )
    config = read_in(composer, cfg, folder)
    if composer.resumes_auto:
        discard_unbegun(folder)
    claimed = claim(folder, explicit=explicit)
    with read_write(cfg.hydra):
        cfg.hydra.run.dir = str(claimed.folder)
    try:
        with lock(claimed.folder):
            yield Job(composer, config if claimed.folder == folder else None), claimed.folder
    except ConfigError:
        claimed.give_back()
        raise


def _resumed(composer: Continuation, cfg: DictConfig) -> Job:
    """The task of a run that is resumed in its own folder."""
    composer.check_changes(cfg)
    folder = composer.folder
    config = replace(read_in(composer, cfg, folder), resume=str(folder))
    with read_write(cfg), read_write(cfg.hydra):
        cfg.hydra.run.dir = str(folder)
        cfg.hydra.overrides.task = [*composer.earlier, *composer.changes]
        # The settings are recorded again; these two are not part of them.
        cfg[RESUME], cfg[CHANGES] = None, False
    return Job(composer, config)


def _write_record(cfg: DictConfig, folder: Path) -> None:
    """Writes Hydra's record of a run, each file atomically and the settings last.

    Hydra would truncate the files first: a crash would leave settings that cannot be resumed.
    """
    name = cfg.hydra.output_subdir
    if name is None:
        return
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.runtime.output_dir = str(folder.absolute())
        contents = {
            "overrides.yaml": cfg.hydra.overrides.task,
            "hydra.yaml": OmegaConf.masked_copy(cfg, "hydra"),
            "config.yaml": without_hydra(cfg),
        }
        cfg.hydra.output_subdir = None  # so that Hydra does not write it
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        replace_file(folder / name / file, OmegaConf.to_yaml(content))
