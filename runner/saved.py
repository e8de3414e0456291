"""``load``: a saved run's model from Python."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from runner.cli.commands import configure_saved
from runner.errors import ConfigError, StorageError
from runner.experiment.saved_run import SavedRun, saved_run
from runner.records.checkpoints import Checkpoints
from runner.records.run_folder import RECORD, holds_run
from runner.records.snapshot_files import with_snapshot


def load(
    folder: str | Path,
    *,
    plugins: Iterable[str] = (),
    step: int | None = None,
    best: bool = False,
    snapshot: int | Literal["swa"] | None = None,
) -> SavedRun:
    """Loads the model of a saved run; the data set is not needed.

    ::

        run = load("outputs/2026-11-25/16-51-41")
        logits = run.predict(images)

    Args:
      folder: the run folder.
      plugins: the modules that the run was started with (``plugins=[...]``); they are imported.
      step: the checkpoint to load; by default the newest one.
      best: whether to load the checkpoint of the best evaluation instead.
      snapshot: the step of a snapshot to load instead, or ``swa`` for the average of all snapshots
        (``training.snapshots=true``).

    Raises:
      ConfigError: the run needs plugins that are not given, or its settings are wrong.
      StorageError: the folder does not hold a run or that checkpoint, or a file of it is damaged.
    """
    folder = Path(folder)
    if not holds_run(folder):
        problem = f"is not a run folder: it has no {RECORD}/config.yaml"
        raise StorageError(str(folder), problem, "name the folder of a run")
    saved = Checkpoints(folder).saved(step, best=best)
    saved = with_snapshot(saved, snapshot, is_chosen=best or step is not None)
    named, needed = list(plugins), saved.record["plugins"]
    if needed and not named:
        remedy = f"write load({str(folder)!r}, plugins={needed})"
        raise ConfigError("plugins", f"the run was started with {needed}", remedy)
    return saved_run(configure_saved(folder, plugins=named), saved)
