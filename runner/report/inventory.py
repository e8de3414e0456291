"""A table that describes a run: lengths, schedules, shapes, parameter groups, memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from rich.table import Table
from rich.text import Text

from runner.config import Config
from runner.experiment.build import Experiment
from runner.experiment.timeline import Timeline
from runner.optimizers.base import of_group
from runner.optimizers.groups import path_name
from runner.registry import rate_scale_of
from runner.report.announce import examples_of
from runner.report.text import counted
from runner.training.state import TrainState, tree_bytes, tree_size

_DISPATCHES = {"scan": "a chunk at a time", "step": "step by step"}


def inventory(timeline: Timeline, compared: Sequence[Timeline] = ()) -> Table:
    """A row for each part of the run, and one for each schedule ``compared`` with its own."""
    experiment = timeline.experiment
    config = experiment.config
    state: TrainState = experiment.state_shapes()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    table.add_row("run", _run(experiment))
    table.add_row("schedule", _schedule(timeline))
    for index, other in enumerate(compared):
        table.add_row("" if index else "compared", _schedule(other))
    table.add_row("optimizer", ", ".join([config.optimizer.option, *_scale(config)]))
    table.add_row("data", _data(experiment))
    table.add_row("model", _model(config, state.params))
    for name, lines in _parameters(experiment, state.params):
        table.add_row(name, Text("\n".join(lines)))
    table.add_row("memory", _memory(experiment, state))
    table.add_row("dispatch", _DISPATCHES[experiment.plan.dispatch])
    return table


def _run(experiment: Experiment) -> str:
    """``880 steps, 40 epochs of 22 steps``."""
    lengths, training = experiment.lengths, experiment.config.training
    epochs = counted(lengths.steps / lengths.steps_per_epoch, "epoch")
    per_epoch = counted(lengths.steps_per_epoch, "step")
    text = f"{counted(lengths.steps, 'step')}, {epochs} of {per_epoch}"
    if training.accumulate == 1:
        return text
    return f"{text} of {training.accumulate} batches of {training.batch_size}"


def _schedule(timeline: Timeline) -> Text:
    """``triangular, 4 whole cycles, rates 0.01 to 0.2``."""
    experiment = timeline.experiment
    steps = experiment.lengths.steps
    ends = experiment.schedule.cycle_ends(steps)
    cycles = counted(len(ends), "whole cycle") + (
        "" if not ends or ends[-1] == steps else f" and {counted(steps - ends[-1], 'step')}"
    )
    rates = [_range(name, low, high) for name, (low, high) in timeline.ranges.items()]
    option = experiment.config.scheduler.option
    return Text(", ".join([option, cycles if ends else "no cycle ends", *rates]))


def _range(name: str, low: float, high: float) -> str:
    """``rates 0.01 to 0.2``, or for the parameter group ``body``: ``body: rate 0.1``."""
    _, slash, group = name.partition("/")
    prefix = f"{group}: " if slash else ""
    return f"{prefix}rate {low:.3g}" if low == high else f"{prefix}rates {low:.3g} to {high:.3g}"


def _scale(config: Config) -> list[str]:
    """The factor of the schedulers' default rates, if it is not 1, and the wrappers."""
    scale = rate_scale_of(config.optimizer.name)
    return [*([] if scale == 1 else [f"default rates × {scale:g}"]), *_wrappers(config)]


def _wrappers(config: Config) -> list[str]:
    """The wrappers around the optimizer."""
    wrappers, decay = config.wrappers, config.training.ema_decay
    clips = {"values of": wrappers.clip_value, "a norm of": wrappers.clip_norm}
    limits = [f"{what} {limit:g}" for what, limit in clips.items() if limit is not None]
    texts = [f"gradients clipped to {' and '.join(limits)}"] if limits else []
    if isinstance(wrappers.multiplier, float) and wrappers.multiplier != 1:
        texts.append(f"rates × {wrappers.multiplier:g}")
    if wrappers.lookahead.sync_period is not None:
        step_size = wrappers.lookahead.slow_step_size
        texts.append(f"lookahead every {wrappers.lookahead.sync_period} steps by {step_size:g}")
    return texts + ([f"evaluates the average of decay {decay:g}"] if decay is not None else [])


def _data(experiment: Experiment) -> str:
    dataset = experiment.dataset
    shape = "×".join(map(str, dataset.train.inputs.shape[1:]))
    classes = "" if dataset.num_classes is None else f", {dataset.num_classes} classes"
    return f"{experiment.config.dataset.option}, {examples_of(dataset)} of {shape}{classes}"


def _model(config: Config, params: Any) -> str:
    text = f"{config.model.option}, {tree_size(params):,} parameters"
    compute_dtype = config.training.compute_dtype
    return text if compute_dtype == "float32" else f"{text}, computed in {compute_dtype}"


def _parameters(experiment: Experiment, params: Any) -> Iterator[tuple[str, list[str]]]:
    """A title for each group, and lines with its size, settings and parameters."""
    groups = experiment.static.groups
    group_of = dict(groups.members)
    leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    shapes = {path: f"{path} {'×'.join(map(str, leaf.shape))}" for path, leaf in leaves.items()}
    if not group_of:
        yield "", list(shapes.values())
        return
    for index, name in enumerate(groups.names):
        members = [path for path in shapes if group_of[path] == name]
        size = f"{tree_size([leaves[path] for path in members]):,} parameters"
        first = ", ".join([size, *_group_settings(experiment, name, index)])
        yield f"group {name}", [first, *(shapes[path] for path in members)]


def _group_settings(experiment: Experiment, name: str, index: int) -> list[str]:
    """The settings of one group: that it is frozen, or its multiplier and weight decay."""
    if name in experiment.static.groups.frozen:
        return ["frozen"]
    hyperparams = experiment.hyperparams
    multipliers = np.ravel(hyperparams.wrappers.multiplier)
    texts = [f"rate × {multipliers[index]:g}"] if len(multipliers) > 1 else []
    by_group = {key: value for key, value in hyperparams.optimizer.items() if value.ndim}
    return texts + [f"{key} {value:g}" for key, value in of_group(by_group, index).items()]


def _memory(experiment: Experiment, state: TrainState) -> str:
    splits = experiment.dataset.splits.values()
    data = sum(len(split) * split.example_bytes for split in splits)
    trees = {
        "parameters": state.params,
        "optimizer": state.opt_state,
        "lookahead": state.slow,
        "average": state.average,
    }
    texts = [f"{_mebibytes(tree)} {name}" for name, tree in trees.items() if tree is not None]
    return (
        f"{_mebibytes(state)} for the state ({', '.join(texts)}), {data / 2**20:.2f} MiB for the "
        f"data, on the {experiment.placement}"
    )


def _mebibytes(tree: Any) -> str:
    return f"{tree_bytes(tree) / 2**20:.2f} MiB"
