"""Checks that the parts of an experiment fit each other; nothing is computed."""

import os
from functools import partial

import jax
import numpy as np

from runner import registry
from runner.config import Choice
from runner.config.by_name import Parts, PerGroup
from runner.config.choice import check_momentum, momentum_switch
from runner.config.markers import Series
from runner.config.signature import markers
from runner.data.dataset import Examples
from runner.data.feed import Source
from runner.errors import ConfigError, OutOfMemoryError, RunnerError, reason
from runner.experiment.build import Experiment
from runner.optimizers import Groups
from runner.registry import FIX, is_built_in
from runner.training.rates import schedule_values
from runner.training.state import TrainState, tree_bytes
from runner.training.step import init_state, train_step

# The rest of the host's memory is for the program, the system and intermediate values.
HOST_SHARE = 0.9

Shape = jax.ShapeDtypeStruct


def check(experiment: Experiment) -> None:
    """Checks everything that concerns more than one part.

    Raises:
      ConfigError: lists of rates or hyperparameters do not have one entry per group, the schedule
        cycles a momentum that the optimizer lacks, lookahead never synchronises, snapshots are to
        be kept but no cycle ends, or a plugin fails in an update or changes the shape of the state.
      OutOfMemoryError: the state cannot fit in memory.
    """
    _check_group_counts(experiment)
    _check_snapshots(experiment)
    config = experiment.config
    if experiment.schedule.cycles_momentum:
        key = momentum_switch(config.scheduler) or "scheduler"
        check_momentum(config.optimizer, key=key)
    _check_lookahead(experiment)
    factories = (
        registry.schedulers.get(config.scheduler.name),
        registry.optimizers.get(config.optimizer.name),
        registry.models.get(config.model.name),
    )
    if not is_built_in(registry.objectives.get(config.objective.name)):
        _check_objective(experiment)
    if not all(map(is_built_in, factories)):
        _check_update(experiment)
    _check_memory(experiment)


def _check_group_counts(experiment: Experiment) -> None:
    groups, hyperparams = experiment.static.groups, experiment.hyperparams
    for key, value in hyperparams.optimizer.items():
        if value.ndim:
            _check_count(len(value), groups, key=f"optimizer.{key}")
    if np.ndim(hyperparams.wrappers.multiplier):
        _check_count(len(hyperparams.wrappers.multiplier), groups, key="optimizer.multiplier")
    _check_rate_lists(experiment.config.scheduler, groups, "scheduler")
    try:
        shape = jax.eval_shape(experiment.schedule, np.int32(0)).shape
    except Exception as error:
        raise ConfigError("scheduler", f"failed ({reason(error)})", FIX) from error
    if shape:
        _check_count(shape[0], groups, key="scheduler")


def _check_rate_lists(scheduler: Choice, groups: Groups, key: str) -> None:
    """Checks that every list of rates of a scheduler, or of a part, has one rate per group."""
    factory = registry.schedulers.get(scheduler.name)
    for name in markers(factory, PerGroup):
        rates = getattr(scheduler.settings, name)
        if isinstance(rates, tuple):
            _check_count(len(rates), groups, key=f"{key}.{name}")
    for name, series in markers(factory, Series).items():
        for i, rates in enumerate(getattr(scheduler.settings, name)):
            if isinstance(series.item, PerGroup) and isinstance(rates, tuple):
                _check_count(len(rates), groups, key=f"{key}.{name}[{i}]")
    for name in markers(factory, Parts):
        for part, choice in getattr(scheduler.settings, name).items():
            _check_rate_lists(choice, groups, f"{key}.{name}.{part}")


def _check_count(count: int, groups: Groups, *, key: str) -> None:
    names = groups.names
    if count != len(names):
        given = "1 number" if count == 1 else f"{count} numbers"
        needed = f"{len(names)} groups" if len(names) > 1 else "one group"
        problem = f"{given}, but the parameters are in {needed} ({', '.join(names)})"
        raise ConfigError(key, problem, "write one for each group, or a number for all")


def _check_lookahead(experiment: Experiment) -> None:
    """Refuses a period longer than the run: the slow parameters, those evaluated, never change."""
    period, steps = experiment.config.wrappers.lookahead.sync_period, experiment.lengths.steps
    if period is not None and period > steps:
        problem = f"{period} is longer than the run of {steps} steps"
        raise ConfigError("optimizer.lookahead.sync_period", problem, f"write at most {steps}")


def _check_snapshots(experiment: Experiment) -> None:
    """Refuses to keep snapshots at cycle ends if there are none."""
    if experiment.config.training.snapshots and not experiment.snapshot_ends:
        option, steps = experiment.config.scheduler.option, experiment.lengths.steps
        raise ConfigError(
            "training.snapshots",
            f"true, but no cycle of scheduler={option} ends within the run of {steps} steps",
            "train longer, or choose a schedule with shorter cycles, such as "
            "scheduler=cosine_restarts scheduler.T_0=25%",
        )


def _check_update(experiment: Experiment) -> None:
    """Traces one update, to find errors in plugins."""
    static, hyperparams, example = experiment.static, experiment.hyperparams, experiment.example
    key = f"model and optimizer {static.optimizer.name}"
    batch = Examples(
        Shape((static.accumulate, *example.shape[1:]), example.dtype),
        _targets(experiment, static.accumulate),
    )
    try:
        values = partial(schedule_values, static.groups)
        jax.eval_shape(values, hyperparams, Shape((), np.int32))
    except Exception as error:
        raise ConfigError("scheduler", f"failed ({reason(error)})", FIX) from error
    try:
        init, seed = partial(init_state, static), Shape((), np.uint32)
        before = jax.eval_shape(init, hyperparams, seed=seed, inputs=example)
        after, _ = jax.eval_shape(partial(train_step, static), before, hyperparams, Source(), batch)
    except RunnerError:
        raise
    except Exception as error:
        raise ConfigError(key, f"fail in an update ({reason(error)})", FIX) from error
    if before != after:
        raise ConfigError(key, "change the shapes or types of the state in an update", FIX)


def _check_objective(experiment: Experiment) -> None:
    """Traces the loss and the metrics of a batch of two, to find errors in a plugin."""
    objective = experiment.hyperparams.objective
    key = f"objective {experiment.config.objective.name}"
    outputs, valid = Shape((2, *objective.output_shape), np.float32), Shape((2,), np.bool_)
    targets = _targets(experiment, 2)
    try:
        losses = jax.eval_shape(type(objective).losses, objective, outputs, targets)
        sums = jax.eval_shape(type(objective).sums, objective, outputs, targets, valid)
        metrics = jax.eval_shape(type(objective).metrics, objective, sums)
    except Exception as error:
        raise ConfigError(key, f"failed ({reason(error)})", FIX) from error
    if losses.shape != (2,):
        problem = f"returns losses of shape {losses.shape} for two examples"
        raise ConfigError(key, problem, "return one loss for each example")
    for name in ("loss", *objective.highest_is_best):
        if name not in metrics or metrics[name].shape:
            problem = f"its metrics have no scalar {name!r}"
            raise ConfigError(key, problem, "return it from metrics")


def _targets(experiment: Experiment, count: int) -> Shape:
    """Shape and type of the targets of ``count`` examples."""
    targets = experiment.dataset.train.targets
    return Shape((count, *targets.shape[1:]), targets.dtype)


def _check_memory(experiment: Experiment) -> None:
    """The state and gradients must fit, as XLA may hang instead of failing."""
    static = experiment.static
    state: TrainState = experiment.state_shapes()
    gradients = tree_bytes(static.groups.trained(state.params))
    # While microbatches are accumulated, the sum of their gradients needs memory too.
    needed = tree_bytes(state) + gradients * (1 if static.accumulate == 1 else 2)
    limit = (experiment.device.memory_stats() or {}).get("bytes_limit") or _host_memory()
    if limit is not None and needed > limit:
        raise OutOfMemoryError(
            "memory",
            f"parameters, gradients, the optimizer's state and averages take "
            f"{needed / 2**30:,.1f} GiB, but only {limit / 2**30:,.1f} GiB are available",
            "choose a smaller model (model.hidden, model.features, ...), or freeze some of it",
        )


def _host_memory() -> int | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not available on every system
        return None
    return int(HOST_SHARE * total)
