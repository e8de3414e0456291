"""Runs jobs through Hydra's machinery: one, or every member of a multirun.

Nothing is created before the whole configuration is known to be good, and no folder that holds
something is written to.
"""

import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.cli.composing import Composer
from runner.cli.exit import BUG, check_memory_limit, explain
from runner.cli.reading import read_settings
from runner.cli.rehearsal import try_members, try_out
from runner.cli.translation import one_line
from runner.config import Config, plugins
from runner.errors import ConfigError, InterruptedRunError, RunnerError, TerminatedRunError
from runner.records.ending import Ending
from runner.records.run_folder import claim, claim_sweep

# What Hydra raises around a job: the configuration of logging (ValueError), a launcher, ...
_HYDRAS = (HydraException, OmegaConfBaseException, ValueError)

# The tasks that leave a summary.
_SUMMARISED = ("train",)


def run_once(composer: Composer) -> None:
    """Runs the configured task in a folder of its own.

    Raises:
      RunnerError: the configuration is wrong, or the task fails.
    """
    cfg = composer.compose(RunMode.RUN)
    folder = _read_folder(composer, cfg, "hydra.run.dir")
    config = try_out(composer, cfg, folder)
    explicit = _is_explicit(cfg, "hydra.run.dir")
    callbacks = composer.attempt(lambda: Callbacks(cfg))
    composer.attempt(lambda: configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose))
    claimed = claim(Path(folder), explicit=explicit)
    cfg.hydra.run.dir = str(claimed.folder)
    try:
        with _ending(claimed.folder, config) as ending:
            _run_job(composer, cfg, callbacks, ending)
    except ConfigError:
        claimed.give_back()
        raise


def _run_job(composer: Composer, cfg: DictConfig, callbacks: Callbacks, ending: Ending) -> None:
    callbacks.on_run_start(config=cfg, config_name=composer.config_name)
    try:
        done = run_job(
            task_function=Job(composer, ending=ending),
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            hydra_context=HydraContext(composer.hydra.config_loader, callbacks),
        )
    except _HYDRAS as error:
        raise composer.answer(error) from error
    except OSError as error:  # of Hydra's record; a full disk names no file
        error.filename = error.filename or cfg.hydra.run.dir
        raise
    callbacks.on_run_end(config=cfg, config_name=composer.config_name, job_return=done)
    if done.status is JobStatus.FAILED:
        raise done._return_value  # not return_value, which prints as well


def run_many(composer: Composer) -> "list[Failure]":
    """Runs every member of a multirun and returns those that failed.

    Raises:
      RunnerError: no member can be composed, or the multirun was stopped.
    """
    cfg = composer.compose(RunMode.MULTIRUN)
    folder = _read_folder(composer, cfg, "hydra.sweep.dir")
    explicit = _is_explicit(cfg, "hydra.sweep.dir")
    if explicit and _is_filled(Path(folder)):
        raise ConfigError("hydra.sweep.dir", f"{folder} is not empty", "name a new folder")
    tried = try_members(composer, cfg, folder)
    callbacks = composer.attempt(lambda: Callbacks(cfg))
    job = Job(composer, goes_on=True)
    sweeper = composer.attempt(
        lambda: Plugins.instance().instantiate_sweeper(
            config=cfg,
            hydra_context=HydraContext(composer.hydra.config_loader, callbacks),
            task_function=job,
        )
    )
    _move_to(cfg, claim_sweep(Path(folder), explicit=explicit))
    callbacks.on_multirun_start(config=cfg, config_name=composer.config_name)
    if tried:
        sweeper.validate_batch_is_legal = lambda batch: None
    try:
        returned = sweeper.sweep(list(cfg.hydra.overrides.task))
    except Stopped as stop:
        raise stop.error from stop
    except _HYDRAS as error:
        raise composer.answer(error) from error
    callbacks.on_multirun_end(config=cfg, config_name=composer.config_name)
    return sorted({*job.failures, *_failures(returned)}, key=lambda failure: failure.number)


@dataclass(frozen=True)
class Failure:
    """A member of a multirun that failed.

    Attributes:
      number: of the job.
      overrides: what sets it apart.
      line: the failure in one line.
      exit_code: what the runner would have ended with.
    """

    number: int
    overrides: tuple[str, ...]
    line: str
    exit_code: int


class Stopped(BaseException):
    """A signal reached a member: unlike an ordinary failure, it ends the multirun."""

    def __init__(self, error: RunnerError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Job:
    """Hydra's task function: configuration → task.

    Attributes:
      composer: of the command line; a launcher may have moved the job to another process.
      goes_on: whether a failure is returned (in a multirun) or raised.
      ending: of the only run; in a multirun each job has its own.
    """

    composer: Composer
    goes_on: bool = False
    ending: Ending | None = None
    failures: list[Failure] = field(default_factory=list)

    def __call__(self, settings: DictConfig) -> Failure | None:
        try:
            ending = self._run(settings)
        except Exception as error:
            if isinstance(error, (InterruptedRunError, TerminatedRunError)) and self.goes_on:
                raise Stopped(error) from error
            if not self.goes_on:
                raise
            self.failures.append(_failure(error))
            return self.failures[-1]
        if self.goes_on:
            came = f"came as job {HydraConfig.get().job.num} ended"
            if late := ending.stop_error(came, "the jobs after it were not run"):
                raise Stopped(late)
        return None

    def _run(self, settings: DictConfig) -> Ending:
        plugins.import_named(list(self.composer.plugins))
        config = read_settings(self.composer, settings)
        folder = Path(HydraConfig.get().runtime.output_dir)
        own = _ending(folder, config) if self.ending is None else nullcontext(self.ending)
        with own as ending:
            check_memory_limit()
            task = import_module(f"runner.tasks.{config.task.name}")
            task.run(config, folder, ending)
        return ending


def _ending(folder: Path, config: Config) -> Ending:
    return Ending(folder, seed=config.seed, leaves_summary=config.task.name in _SUMMARISED)


def _read_folder(composer: Composer, cfg: DictConfig, key: str) -> str:
    folder = composer.attempt(lambda: OmegaConf.select(cfg, key))
    if not isinstance(folder, str) or not folder.strip() or "\0" in folder:
        raise ConfigError(key, f"{folder!r} is no folder", "name one")
    return folder


def _is_explicit(cfg: DictConfig, key: str) -> bool:
    """Whether the folder was asked for by name, and is not one of the moment."""
    section, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(cfg, section)._get_node(name)
    return "${now:" not in str(node._value())


def _is_filled(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:
        return False  # claiming it says what is wrong


def _move_to(cfg: DictConfig, folder: Path) -> None:
    """Makes ``folder`` the sweep's, for its jobs as well, which Hydra composes anew."""
    if str(folder) != cfg.hydra.sweep.dir:
        cfg.hydra.sweep.dir = str(folder)
        quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
        cfg.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")


def _failure(error: Exception) -> Failure:
    hydra = HydraConfig.get()
    known = explain(error)
    if known is None:
        traceback.print_exception(error)
    return Failure(
        number=hydra.job.num,
        overrides=tuple(hydra.overrides.task),
        line=str(known) if known else one_line(error),
        exit_code=known.exit_code if known else BUG,
    )


def _failures(returned: Any) -> list[Failure]:
    """What jobs in other processes returned, where the sweeper passes it on."""
    if isinstance(returned, Failure):
        return [returned]
    if isinstance(returned, (list, tuple)):
        return [failure for item in returned for failure in _failures(item)]
    status = getattr(returned, "status", None)
    return _failures(returned.return_value) if status is JobStatus.COMPLETED else []
