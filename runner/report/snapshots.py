"""The results of a run's snapshots: a table, a plot, TensorBoard curves and warnings."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from runner.config import Ranking
from runner.errors import reason
from runner.experiment.build import Experiment
from runner.experiment.snapshot_scores import score_snapshots
from runner.records.ending import Ending
from runner.records.events import EventWriter
from runner.records.snapshot_files import SWA, Snapshots, SnapshotSaver, SnapshotTable
from runner.records.table import replaced, write_picture
from runner.report.announce import print_warnings
from runner.report.figure import INK, as_png, new_figure
from runner.report.text import counted, metric_value
from runner.training import tags
from runner.training.snapshots import snapshot_arrays
from runner.training.state import TrainState

PICTURE = "snapshots.png"

_MOST_STEPS = 5  # that a warning lists
# Label, colour and width: where curves coincide, the first one is visible on both sides.
_CURVES = {
    tags.SNAPSHOT: ("snapshot", "#64748b", 3.4),
    tags.ENSEMBLE: ("ensemble", "#2563eb", 2.2),
    tags.SWA: ("average of weights", "#ea580c", 1.1),
}

_log = logging.getLogger("runner")


def snapshot_saver(experiment: Experiment, folder: Path, *, start: int) -> SnapshotSaver | None:
    """The saver of a run that trains from ``start``, or None if the run keeps no snapshots.

    Those of later steps are removed, as training writes them again.
    """
    if not experiment.config.training.snapshots:
        return None
    store = Snapshots(folder)
    store.discard_after(start)
    to_arrays = partial(snapshot_arrays, experiment.static)
    return SnapshotSaver(store, experiment.snapshot_ends, to_arrays=to_arrays)


def conclude_snapshots(
    experiment: Experiment,
    trained: TrainState,
    folder: Path,
    console: Console,
    ending: Ending,
    *,
    start: int,
) -> None:
    """Scores the snapshots of a run at its end, if it keeps any; writes and prints the results.

    The average of their weights is saved beside them.

    Args:
      start: the step that this attempt started at. TensorBoard hides what earlier attempts logged
        at that step and later.

    Raises:
      InterruptedRunError, TerminatedRunError: a signal stopped the scoring.
      StorageError: a file cannot be written.
    """
    if not experiment.config.training.snapshots:
        return
    store, table = Snapshots(folder), SnapshotTable(folder)
    steps = store.intact_steps()
    print_warnings(console, _missing(experiment, steps, int(trained.step)))
    if not steps:
        return

    def raise_if_stopped() -> None:
        problem = "stopped while the snapshots were scored"
        if stopped := ending.stop_error(problem, "resume the run to score them"):
            raise stopped

    scores = score_snapshots(
        experiment, trained, steps, store.load, raise_if_stopped=raise_if_stopped
    )
    store.save(SWA, scores.swa)
    curves = Curves(np.array(steps), scores.columns, experiment.config.ranking)
    try:
        png = snapshots_figure(curves)
    except Exception as error:  # a broken plotting library does not end the run
        _log.warning("%s was not drawn: %s", PICTURE, reason(error))
        png = None
    _log_curves(folder, curves, png, start=start, logged=table.last_step())
    cycles = np.asarray(experiment.schedule.cycle(curves.steps - 1))
    if png is not None:
        replaced(folder / PICTURE, partial(write_picture, png=png))
    table.replace({"step": curves.steps, "cycle": cycles, **curves.columns})
    console.print(snapshots_table(curves))


@dataclass(frozen=True, eq=False)
class Curves:
    """The scores of snapshots.

    Attributes:
      steps: int [snapshots], rising.
      columns: by tag, such as ``ensemble/eval/accuracy``: [snapshots].
      ranking: the metric that ranks evaluations.
    """

    steps: np.ndarray
    columns: Mapping[str, np.ndarray]
    ranking: Ranking

    @property
    def metrics(self) -> tuple[str, str]:
        """The metric that ranks evaluations, as measured on the validation and the test split."""
        metric = self.ranking.metric
        return metric, tags.metric_tag("test", metric.partition("/")[2])


def snapshots_figure(curves: Curves) -> bytes:
    """A PNG of the metric over steps: each snapshot, and the ensemble and average up to it.

    The left plot is of the validation examples, the right one of the test examples.
    """
    figure = new_figure(figsize=(9.0, 3.6), dpi=120)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, curves.metrics, strict=True):
        for kind, (label, colour, width) in _CURVES.items():
            values = curves.columns[tags.snapshot_tag(kind, metric)]
            style = {"color": colour, "linewidth": width, "markersize": 3 + width}
            axes.plot(curves.steps, values, "o-", label=label, **style)
        axes.set_title(metric.replace("/", " "), color=INK, fontsize=10)
        axes.set_xlabel("steps", color=INK)
        axes.tick_params(colors=INK)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, labelcolor=INK, fontsize=9)
    return as_png(figure)


def snapshots_table(curves: Curves) -> Table:
    """The last and the best snapshot, the ensemble of all, and the average of all weights."""
    values = curves.columns[tags.snapshot_tag(tags.SNAPSHOT, curves.ranking.metric)]
    best, count = int(np.argmax(curves.ranking.sign * values)), len(values)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(counted(count, "snapshot"))
    for metric in curves.metrics:
        table.add_column(metric.replace("/", " "), justify="right")
    rows = (
        ("last snapshot", tags.SNAPSHOT, -1),
        (f"best snapshot (step {curves.steps[best]:,})", tags.SNAPSHOT, best),
        ("ensemble", tags.ENSEMBLE, -1),
        ("average of weights (SWA)", tags.SWA, -1),
    )
    for label, kind, row in rows:
        cells = [
            metric_value(metric, curves.columns[tags.snapshot_tag(kind, metric)][row])
            for metric in curves.metrics
        ]
        table.add_row(label, *cells)
    return table


def _missing(experiment: Experiment, steps: Sequence[int], last: int) -> list[str]:
    """A warning if a cycle ended without a snapshot, or none ended at all."""
    ended = [end for end in experiment.snapshot_ends if end <= last]
    missing = [str(end) for end in ended if end not in steps]
    if not ended:
        return ["training ended before the first cycle did: there are no snapshots"]
    if not missing:
        return []
    shown = ", ".join([*missing[:_MOST_STEPS], *["..."] * (len(missing) > _MOST_STEPS)])
    return [f"{len(missing)} of {len(ended)} cycle ends have no snapshot (steps {shown})"]


def _log_curves(
    folder: Path, curves: Curves, png: bytes | None, *, start: int, logged: int
) -> None:
    """Writes to TensorBoard the part of the curves that it does not show yet.

    ``logged``: the last step that an earlier attempt wrote, 0 for none.
    """
    new = (curves.steps > logged) | (curves.steps >= start)
    writer = EventWriter(folder)
    columns = {tag: column[new] for tag, column in curves.columns.items()}
    writer.scalars(curves.steps[new], columns, np.full(new.sum(), time.time()))
    if png is not None:
        writer.picture("snapshots", png, step=int(curves.steps[-1]))
    writer.close()
