"""Scores a saved run on a split of its own data set or of another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from etils import epy

from runner.config import Config
from runner.config.markers import Whole
from runner.errors import ConfigError
from runner.records.ending import Ending
from runner.registry import register_task

with epy.lazy_imports():
    import jax
    import numpy as np

    from runner.experiment import device, parts, saved_run
    from runner.records import snapshot_files
    from runner.report import announce, text
    from runner.training import tags

if TYPE_CHECKING:
    from runner.data.dataset import Split
    from runner.experiment.saved_run import SavedRun


@register_task("evaluate")
def evaluate(
    config: Config,
    folder: Path,
    ending: Ending,
    *,
    split: Literal["test", "validation", "train"] = "test",
    predictions: bool = False,
    step: Annotated[int, Whole(0)] | None = None,
    best: bool = False,
    snapshot: Annotated[int, Whole(0)] | Literal["swa"] | None = None,
) -> None:
    """Writes ``evaluation.json`` and, with ``predictions``, ``predictions.npz`` to ``folder``.

    The run named by ``resume`` is scored on the data set of ``config``, which may be another one;
    the normalisation is the run's own.

    Raises:
      RunnerError: no run is named, or its checkpoint or the data set cannot be used.
    """
    chosen = device.prepare_device(config)
    screen = announce.open_screen(chosen)
    with jax.default_device(chosen):
        saved = snapshot_files.task_checkpoint(
            config.resume, step=step, best=best, snapshot=snapshot
        )
        run = saved_run.saved_run(config, saved)
        scored_state = f"step {run.step:,}" if snapshot is None else f"snapshot {snapshot}"
        announce.print_line(screen, f"{scored_state} of {run.origin['folder']}")
        dataset = parts.build_dataset(config.dataset, config.data)
        if split not in dataset.splits:
            problem = "the data set has no validation examples"
            raise ConfigError(
                "task.split", problem, "write test or train, or dataset.validation=0.1"
            )
        scored = dataset.splits[split]
        found = run.evaluate(scored, device=chosen)
        metrics = {tags.metric_tag(split, name): value for name, value in found.items()}
        _write_evaluation(folder, config, run, metrics, split=split, examples=len(scored))
        if predictions:
            _write_predictions(folder, scored, run)
    shown = " · ".join(f"{name} {text.metric_value(name, value)}" for name, value in found.items())
    counted = f"{len(scored):,} {split} examples of {config.dataset.option}"
    announce.print_line(screen, f"{shown} · {counted}", style="bold")
    announce.print_line(screen, text.short_path(folder))


def _write_evaluation(
    folder: Path,
    config: Config,
    run: SavedRun,
    metrics: Mapping[str, float],
    *,
    split: str,
    examples: int,
) -> None:
    evaluation = {
        # JSON has no NaN and no infinities.
        "metrics": {tag: value if isfinite(value) else None for tag, value in metrics.items()},
        "dataset": config.dataset.option,
        "split": split,
        "examples": examples,
        "checkpoint": str(run.checkpoint),
        "parent": run.origin,
    }
    text = json.dumps(evaluation, indent=2, ensure_ascii=False) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")


def _write_predictions(folder: Path, scored: Split, run: SavedRun) -> None:
    examples = scored.all()
    predictions, indices = run.predict(examples.inputs), np.arange(len(scored))
    path = folder / "predictions.npz"
    np.savez(path, predictions=predictions, targets=examples.targets, indices=indices)
