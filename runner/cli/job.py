"""Hydra's task function."""

from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from runner.cli.composition import Composer
from runner.cli.reading import read_settings
from runner.config import Config, plugins
from runner.records.ending import Ending
from runner.registry import tasks

# What Hydra raises around a job: the configuration of logging (ValueError), a launcher, ...
HYDRAS = (HydraException, OmegaConfBaseException, ValueError)

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
