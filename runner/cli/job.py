"""Runs one job: claims its folder, keeps Hydra's record, hands the configuration to the task."""

import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# run_job tells callbacks of each job, and Hydra has no public way to make them.
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from runner.cli.composition import Composer, activate
from runner.cli.exit import BUG, explain
from runner.cli.faults import one_line
from runner.cli.loader import plain
from runner.cli.reading import read_settings
from runner.config import Config, plugins
from runner.errors import ConfigError, InterruptedRunError, RunnerError, TerminatedRunError
from runner.records.ending import Ending
from runner.records.run_folder import claim
from runner.registry import tasks

# What Hydra raises around a job: the configuration of logging (ValueError), a launcher, ...
HYDRAS = (HydraException, OmegaConfBaseException, ValueError)

# The tasks that leave a summary.
_SUMMARISED = ("train",)


def run_once(composer: Composer, cfg: DictConfig) -> None:
    """Runs the configured task in a folder of its own.

    Nothing is created before the whole configuration is known to be good.

    Raises:
      RunnerError: the configuration is wrong, or the task fails.
    """
    activate(cfg)
    folder = read_folder(composer, cfg, "hydra.run.dir")
    explicit = is_explicit(cfg, "hydra.run.dir")
    config = read_in(composer, cfg, folder)
    check_record(cfg)
    context = HydraContext(composer.loader, composer.attempt(lambda: Callbacks(cfg)))
    composer.attempt(lambda: configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose))
    named = any(override.key_or_group == "hydra.run.dir" for override in composer.parsed)
    if explicit and not named and is_filled(folder):
        raise ConfigError("hydra.run.dir", f"{folder} is not empty", "name a new folder")
    claimed = claim(folder, explicit=explicit)
    if claimed.folder != folder:
        config = read_in(composer, cfg, claimed.folder)
    with read_write(cfg.hydra):
        cfg.hydra.run.dir = str(claimed.folder)
    try:
        with ending_of(claimed.folder, config) as ending:
            context.callbacks.on_run_start(config=cfg, config_name=composer.config_name)
            done = run_in(
                composer, cfg, context, Job(composer, config=config, ending=ending), "hydra.run.dir"
            )
            context.callbacks.on_run_end(
                config=cfg, config_name=composer.config_name, job_return=done
            )
            if done.status is JobStatus.FAILED:
                raise done._return_value  # not return_value, which prints as well
    except ConfigError:
        claimed.give_back()
        raise


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


class StoppedError(BaseException):
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
      config, ending: of the only run, where it was read and begun already.
    """

    composer: Composer
    goes_on: bool = False
    config: Config | None = None
    ending: Ending | None = None
    failures: list[Failure] = field(default_factory=list)

    def __call__(self, settings: DictConfig) -> Failure | None:
        try:
            ending = self._run(settings)
        except Exception as error:
            if isinstance(error, (InterruptedRunError, TerminatedRunError)) and self.goes_on:
                raise StoppedError(error) from error
            if not self.goes_on:
                raise
            self.failures.append(_failure(error))
            return self.failures[-1]
        if self.goes_on:
            came = f"came as job {HydraConfig.get().job.num} ended"
            if late := ending.stop_error(came, "the jobs after it were not run"):
                raise StoppedError(late)
        return None

    def _run(self, settings: DictConfig) -> Ending:
        plugins.import_named(list(self.composer.plugins))
        config = self.config or read_settings(self.composer, settings)
        folder = Path(HydraConfig.get().runtime.output_dir)
        own = ending_of(folder, config) if self.ending is None else nullcontext(self.ending)
        with own as ending:
            task = tasks.get(config.task.name)
            task(config, folder, ending, **dict(config.task.settings))
        return ending


def ending_of(folder: Path, config: Config) -> Ending:
    """How the run of ``config`` in ``folder`` will end: the context to run it in."""
    return Ending(folder, seed=config.seed, leaves_summary=config.task.name in _SUMMARISED)


def read_in(composer: Composer, cfg: DictConfig, folder: Path) -> Config:
    """Reads ``cfg`` as the job in ``folder`` would, to no other effect."""
    activate(cfg, str(folder.absolute()))
    return read_settings(composer, cfg)


def run_in(
    composer: Composer,
    cfg: DictConfig,
    context: HydraContext,
    job: Job,
    folder_key: str,
    subfolder_key: str | None = None,
) -> JobReturn:
    """Has Hydra run ``job`` in the folder at ``folder_key`` of ``cfg``, and record it there.

    Raises:
      RunnerError: Hydra's own settings are wrong.
      OSError: the record cannot be written.
    """
    try:
        return run_job(job, cfg, folder_key, subfolder_key, context)
    except HYDRAS as error:
        raise composer.answer(error) from error
    except OSError as error:  # a full disk names no file
        error.filename = error.filename or OmegaConf.select(cfg, folder_key)
        raise


def read_folder(composer: Composer, cfg: DictConfig, key: str) -> Path:
    """The folder at ``key``, with the interpolations in its name resolved.

    Raises:
      ConfigError: it names none.
    """
    folder = composer.attempt(lambda: OmegaConf.select(cfg, key))
    if not isinstance(folder, str) or not folder.strip() or "\0" in folder:
        raise ConfigError(key, f"{folder!r} is not a folder", "name one")
    return Path(folder)


def is_explicit(cfg: DictConfig, key: str) -> bool:
    """Whether the folder was asked for by name, and is not one of the moment."""
    section, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(cfg, section)._get_node(name)
    return "${now:" not in str(node._value())


def is_filled(folder: Path) -> bool:
    """Whether there is anything in ``folder``."""
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:
        return False  # claiming it says what is wrong


def check_record(cfg: DictConfig) -> None:
    """Refuses a place for Hydra's record that is not in the run folder."""
    name = cfg.hydra.output_subdir
    if name is not None and (Path(name).name != name or name in ("", ".", "..")):
        raise ConfigError("hydra.output_subdir", f"{name!r} is not a name", "write .hydra")


def _failure(error: Exception) -> Failure:
    hydra = HydraConfig.get()
    known = explain(error)
    if known is None:
        traceback.print_exception(error)
    return Failure(
        number=hydra.job.num,
        overrides=tuple(plain(hydra.overrides)["task"]),
        line=str(known) if known else one_line(error),
        exit_code=known.exit_code if known else BUG,
    )
