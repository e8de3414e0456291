"""Hydra's task function, and what Hydra needs and raises around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# run_job tells callbacks of each job, and Hydra has no public way to make them.
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from runner.cli.composition import Composer
from runner.cli.reading import read_settings
from runner.config import Config, plugins
from runner.records.ending import Ending
from runner.registry import tasks

# The tasks that leave a summary.
_SUMMARISED = ("train",)


@dataclass(frozen=True)
class Job:
    """Reads settings and runs the task; a launcher may move it to another process.

    Attributes:
      config: the settings, where they have been read already.
    """

    composer: Composer
    config: Config | None = None

    def __call__(self, settings: DictConfig) -> None:
        plugins.import_named(self.composer.plugins)
        config = self.config or read_settings(self.composer, settings)
        hydra, task = HydraConfig.get(), tasks.get(config.task.name)
        folder = Path(hydra.runtime.output_dir)
        is_summarised = config.task.name in _SUMMARISED
        with Ending(folder, seed=config.seed, leaves_summary=is_summarised) as ending:
            task(config, folder, ending, **dict(config.task.settings))
        if hydra.mode is RunMode.MULTIRUN:
            came = f"came as job {hydra.job.num} ended"
            if late := ending.stop_error(came, "the jobs after it were not run"):
                raise late


def context_of(composer: Composer, cfg: DictConfig) -> HydraContext:
    return composer.attempt(lambda: HydraContext(composer.loader, Callbacks(cfg)))


@contextmanager
def answered(composer: Composer, folder: Path) -> Iterator[None]:
    """Answers what Hydra raises around jobs whose records go to ``folder``.

    Raises:
      RunnerError: Hydra's own settings are wrong.
      OSError: a record cannot be written.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: of logging
        raise composer.answer(error) from error
    except OSError as error:  # a full disk names no file
        error.filename = error.filename or str(folder)
        raise
