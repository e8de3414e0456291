"""What a run would be, as a table: lengths, schedules, shapes, groups of parameters, memory."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from rich.table import Table
from rich.text import Text

from runner.config import Config
from runner.experiment.build import Job
from runner.optimizers.base import of_group
from runner.optimizers.groups import path_name
from runner.tasks.comparing import Policy
from runner.training.state import count, count_bytes

_DISPATCHES = {"scan": "a chunk at a time", "step": "step by step"}


def inventory(chosen: Policy, others: list[Policy]) -> Table:
    """A row for each thing that makes up the run; ``others`` are schedules to compare."""
    config, job = chosen.config, chosen.job
    state = jax.eval_shape(job.initial_state)  # computes nothing
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    table.add_row("run", _run(config, job))
    table.add_row("schedule", _described(chosen))
    for number, other in enumerate(others):
        table.add_row("" if number else "compared", _described(other))
    table.add_row("optimizer", ", ".join([config.optimizer.option, *_around(config)]))
    table.add_row("data", _data(config, job))
    table.add_row("model", _model(config, state.params))
    for name, lines in _parameters(job, state.params):
        table.add_row(name, Text("\n".join(lines)))
    table.add_row("memory", _memory(job, state))
    table.add_row("dispatch", _DISPATCHES[job.dispatch])
    return table


def _run(config: Config, job: Job) -> str:
    """``880 steps, 40 epochs of 22 steps``."""
    steps, per_epoch, training = job.plan.steps, job.length.steps_per_epoch, config.training
    told = f"{steps:,} steps, {steps / per_epoch:.4g} epochs of {per_epoch} steps"
    if training.accumulate == 1:
        return told
    return f"{told} of {training.accumulate} batches of {training.batch_size}"


def _data(config: Config, job: Job) -> str:
    train, test = job.dataset.train, job.dataset.test
    shape = "×".join(map(str, train.inputs.shape[1:]))
    return (
        f"{config.dataset.option}, {len(train):,} training and {len(test):,} test examples of "
        f"{shape}, {job.dataset.num_classes} classes"
    )


def _model(config: Config, params: Any) -> str:
    told = f"{config.model.option}, {count(params):,} parameters"
    computed = config.training.compute_dtype
    return told if computed == "float32" else f"{told}, computed in {computed}"


def _memory(job: Job, state: Any) -> str:
    train, test = job.dataset.train, job.dataset.test
    arrays = train.inputs, train.targets, test.inputs, test.targets
    parts = {
        "parameters": state.params,
        "optimizer": state.opt_state,
        "lookahead": state.slow,
        "average": state.average,
    }
    told = [f"{_megabytes(part)} {name}" for name, part in parts.items() if part is not None]
    return (
        f"{_megabytes(state)} for the state ({', '.join(told)}), {_megabytes(arrays)} for the "
        f"data, on the {job.placement}"
    )


def _around(config: Config) -> list[str]:
    """What surrounds the optimizer, in words."""
    wrappers, decay = config.wrappers, config.training.ema_decay
    clips = {"values of": wrappers.clip_value, "a norm of": wrappers.clip_norm}
    limits = [f"{what} {limit:g}" for what, limit in clips.items() if limit is not None]
    told = [f"gradients clipped to {' and '.join(limits)}"] if limits else []
    if isinstance(wrappers.multiplier, float) and wrappers.multiplier != 1:
        told.append(f"rates × {wrappers.multiplier:g}")
    if wrappers.lookahead.sync_period is not None:
        share = wrappers.lookahead.slow_step_size
        told.append(f"lookahead every {wrappers.lookahead.sync_period} steps by {share:g}")
    return told + ([f"average of decay {decay:g} evaluated"] if decay is not None else [])


def _parameters(job: Job, params: Any) -> Iterator[tuple[str, list[str]]]:
    """Each group with what is to be written beside it: size, what sets it apart, its parameters."""
    groups = job.structure.groups
    group_of = dict(groups.members)
    leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    shapes = {path: f"{path} {'×'.join(map(str, leaf.shape))}" for path, leaf in leaves.items()}
    if not group_of:
        yield "", list(shapes.values())
        return
    for place, name in enumerate(groups.names):
        members = [path for path in shapes if group_of[path] == name]
        about = f"{count([leaves[path] for path in members]):,} parameters"
        apart = ", ".join([about, *_apart(job, name, place)])
        yield f"group {name}", [apart, *(shapes[path] for path in members)]


def _apart(job: Job, name: str, place: int) -> list[str]:
    """What a group has of its own: that it is frozen, its multiplier, its weight decay."""
    if name in job.structure.groups.frozen:
        return ["frozen"]
    factor = np.ravel(job.hyper.wrappers.multiplier)
    own = [f"rate × {factor[place]:g}"] if len(factor) > 1 else []
    numbers = of_group(
        {key: number for key, number in job.hyper.optimizer.items() if number.ndim}, place
    )
    return own + [f"{key} {number:g}" for key, number in numbers.items()]


def _described(policy: Policy) -> Text:
    """``triangular, 4 whole cycles, rates 0.01 to 0.2``."""
    steps = policy.job.plan.steps
    ends = policy.job.schedule.cycle_ends(steps)
    cycles = f"{len(ends)} whole cycle{'' if len(ends) == 1 else 's'}" + (
        "" if not ends or ends[-1] == steps else f" and {steps - ends[-1]:,} steps"
    )
    rates = [_range(name, low, high) for name, (low, high) in policy.ranges.items()]
    return Text(", ".join([policy.option, cycles if ends else "no cycle ends", *rates]))


def _range(name: str, low: float, high: float) -> str:
    """``rates 0.01 to 0.2``, of a group of parameters ``body: rate 0.1``."""
    _, slash, group = name.partition("/")
    about = f"{group}: " if slash else ""
    return f"{about}rate {low:.3g}" if low == high else f"{about}rates {low:.3g} to {high:.3g}"


def _megabytes(tree: Any) -> str:
    return f"{count_bytes(tree) / 2**20:.2f} MiB"
