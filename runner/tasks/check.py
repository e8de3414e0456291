"""No training: what a run would be, its schedule as table and picture, and what to think over."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table
from rich.text import Text

from runner.config import Config, Training
from runner.device import describe_device, select_device, use_compilation_cache
from runner.optimizers.base import of_group
from runner.optimizers.groups import path_name
from runner.records.plots import comparison_figure, schedule_figure, write_schedule_csv
from runner.records.screen import screen
from runner.tasks.advice import warnings
from runner.tasks.announce import line, short_path
from runner.tasks.comparing import Policy, compared, policy
from runner.tasks.job import Job, build_job
from runner.tasks.timeline import blocks
from runner.training.state import count


def run(config: Config, folder: Path) -> None:
    """Writes ``schedule.csv`` and ``schedule.png`` and prints what the run would be.

    Each scheduler that it is compared with gets a curve and a ``schedule_<option>.csv`` as well.

    Raises:
      RunnerError: whatever would have kept the run from starting.
    """
    console = screen()
    use_compilation_cache(config.compilation_cache)
    device = select_device(config.accelerator)
    line(console, describe_device(device))
    with jax.default_device(device):
        job = build_job(config, device)
        chosen, others = policy(config, job), compared(config, job)
        (folder / "schedule.png").write_bytes(_picture(chosen, others))
        tables = {"schedule.csv": job} | {f"schedule_{p.option}.csv": p.job for p in others}
        for name, its_job in tables.items():
            write_schedule_csv(folder / name, blocks(its_job))
        console.print(_table(chosen, others))
    said = warnings(config, job)
    said += [f"{p.option}: {warning}" for p in others for warning in warnings(p.config, p.job)]
    for warning in said:
        line(console, f"warning: {warning}", style="yellow")
    line(console, f"{short_path(folder)}/{', '.join(tables)}, schedule.png")


def _picture(chosen: Policy, others: list[Policy]) -> bytes:
    if others:
        return comparison_figure({p.option: p.values for p in (chosen, *others)})
    job = chosen.job
    ends = job.schedule.cycle_ends(job.plan.steps)
    return schedule_figure(chosen.values, cycle_ends=ends, title=chosen.option)


def _table(chosen: Policy, others: list[Policy]) -> Table:
    config, job = chosen.config, chosen.job
    state = jax.eval_shape(job.initial_state)  # computes nothing
    train, test = job.dataset.train, job.dataset.test
    steps, per_epoch = job.plan.steps, job.steps_per_epoch
    arrays = train.inputs, train.targets, test.inputs, test.targets
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    epochs = f"{steps / per_epoch:.4g} epochs of {per_epoch} steps"
    table.add_row("run", f"{steps:,} steps, {epochs}{_batches(config.training)}")
    table.add_row("schedule", _described(chosen))
    for number, other in enumerate(others):
        table.add_row("" if number else "compared", _described(other))
    table.add_row("optimizer", ", ".join([config.optimizer.option, *_around(config)]))
    shape = "×".join(map(str, train.inputs.shape[1:]))
    table.add_row(
        "data",
        f"{config.dataset.option}, {len(train):,} training and {len(test):,} test examples of "
        f"{shape}, {job.dataset.num_classes} classes",
    )
    computed = config.training.compute_dtype
    in_type = "" if computed == "float32" else f", computed in {computed}"
    table.add_row("model", f"{config.model.option}, {count(state.params):,} parameters{in_type}")
    for name, lines in _parameters(job, state.params).items():
        table.add_row(name, "\n".join(lines))
    table.add_row(
        "memory",
        f"{_megabytes(state)} for the state ({_megabytes(state.params)} parameters, "
        f"{_megabytes(state.opt_state)} optimizer), {_megabytes(arrays)} for the data, "
        f"on the {job.placement}",
    )
    table.add_row("dispatch", {"scan": "a chunk at a time", "step": "step by step"}[job.dispatch])
    return table


def _batches(training: Training) -> str:
    """What a step consists of, where it takes several batches."""
    if training.accumulate == 1:
        return ""
    return f" of {training.accumulate} batches of {training.batch_size}"


def _around(config: Config) -> list[str]:
    """What surrounds the optimizer, in words."""
    wrappers, decay = config.wrappers, config.training.ema_decay
    clips = {"values of": wrappers.clip_value, "a norm of": wrappers.clip_norm}
    limits = [f"{what} {limit:g}" for what, limit in clips.items() if limit is not None]
    told = [f"gradients clipped to {' and '.join(limits)}"] if limits else []
    if wrappers.lookahead.sync_period is not None:
        told.append(f"lookahead every {wrappers.lookahead.sync_period} steps")
    return told + ([f"average of decay {decay:g} evaluated"] if decay is not None else [])


def _parameters(job: Job, params: Any) -> dict[str, list[str]]:
    """What to write beside each group: its size and what sets it apart, then its parameters."""
    groups = job.structure.groups
    group_of = dict(groups.members)
    leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    shapes = {path: f"{path} {'×'.join(map(str, leaf.shape))}" for path, leaf in leaves.items()}
    if not group_of:
        return {"": list(shapes.values())}
    listed = {}
    for place, name in enumerate(groups.names):
        members = [path for path in shapes if group_of[path] == name]
        about = f"{count([leaves[path] for path in members]):,} parameters"
        listed[f"group {name}"] = [
            ", ".join([about, *_apart(job, name, place)]),
            *(shapes[path] for path in members),
        ]
    return listed


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
    _, of_group, group = name.partition("/")
    about = f"{group}: " if of_group else ""
    return f"{about}rate {low:.3g}" if low == high else f"{about}rates {low:.3g} to {high:.3g}"


def _megabytes(tree: Any) -> str:
    leaves = jax.tree.leaves(tree)
    return f"{sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / 2**20:.2f} MiB"
