"""Scores the snapshots of a run: each one, their ensembles, and the averages of their weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from runner.data.feed import Feed, SplitName
from runner.experiment.build import Experiment
from runner.training.checkpoint import Arrays, stored_variables
from runner.training.evaluation import Variables, evaluate, evaluated_variables
from runner.training.snapshots import (
    averaged_params,
    ensemble_metrics,
    recompute_statistics,
    variables_arrays,
)
from runner.training.state import TrainState
from runner.training.step import Metrics
from runner.training.tags import ENSEMBLE, SNAPSHOT, SWA, metric_tag, snapshot_tag

_SPLITS: tuple[SplitName, ...] = ("validation", "test")


@dataclass(frozen=True, eq=False)
class SnapshotScores:
    """The scores of the snapshots of a run.

    Attributes:
      columns: by tag, such as ``ensemble/eval/accuracy``: float32 [snapshots]; row k - 1 is the
        score of snapshot k, or of the ensemble or average of the first k snapshots.
      swa: the average of all snapshots, with recomputed statistics, by path as in a checkpoint.
    """

    columns: Mapping[str, np.ndarray]
    swa: Arrays


def score_snapshots(
    experiment: Experiment,
    trained: TrainState,
    steps: Sequence[int],
    load: Callable[[int], Arrays],
    *,
    raise_if_stopped: Callable[[], None],
) -> SnapshotScores:
    """Scores the snapshots of ``steps`` on the validation and the test examples.

    Running statistics of the averages are recomputed over an epoch of training batches.

    Args:
      trained: the state at the end of training.
      load: reads the arrays of the snapshot at a step.
      raise_if_stopped: called after each model; what it raises ends the scoring.
    """
    template = evaluated_variables(experiment.static, trained)

    def variables_of(step: int) -> Variables:
        return stored_variables(template, load(step), source=f"the snapshot of step {step}")

    snapshots = [partial(variables_of, step) for step in steps]
    columns: dict[str, list[float]] = {}

    def add(kind: str, split: SplitName, metrics: Metrics) -> None:
        for name, value in metrics.items():
            if not np.ndim(value):
                tag = snapshot_tag(kind, metric_tag(split, name))
                columns.setdefault(tag, []).append(float(value))
        raise_if_stopped()

    swa: Variables = {}
    with closing(experiment.feed()) as feed:
        for snapshot in snapshots:
            _score(experiment, feed, snapshot(), partial(add, SNAPSHOT))
        for split in _SPLITS:
            ensembles = ensemble_metrics(
                experiment.static, experiment.hyperparams.objective, feed, split, snapshots
            )
            for metrics in ensembles:
                add(ENSEMBLE, split, metrics)
        for average in averaged_params(snapshots):
            swa = _with_statistics(experiment, feed, average, key=trained.key)
            _score(experiment, feed, swa, partial(add, SWA))
    arrays = {tag: np.array(values, np.float32) for tag, values in columns.items()}
    return SnapshotScores(arrays, variables_arrays(swa))


def _with_statistics(
    experiment: Experiment, feed: Feed, average: Variables, *, key: jax.Array
) -> Variables:
    steps = experiment.lengths.steps_per_epoch
    return recompute_statistics(experiment.static, average, feed, steps=steps, key=key)


def _score(
    experiment: Experiment,
    feed: Feed,
    variables: Variables,
    add: Callable[[SplitName, Metrics], None],
) -> None:
    """Scores one model on every split."""
    variables = jax.device_put(variables, experiment.device)
    static, objective = experiment.static, experiment.hyperparams.objective
    for split in _SPLITS:
        source, batches = feed.source(split), feed.split_batches(split)
        add(split, evaluate(static, variables, objective, source, batches))
