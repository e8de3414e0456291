"""Whether the parts of a job are what they must be and fit each other; nothing is computed."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.extend.core import Jaxpr

from runner.data.dataset import Dataset
from runner.errors import ConfigError, DataError, OutOfMemoryError, RunnerError, kind, reason
from runner.optimizers import Groups
from runner.registry import MEND
from runner.schedules import Schedule
from runner.training.state import Hyper, TrainState, count_bytes
from runner.training.static import Structure
from runner.training.step import init_state, schedule_values, train_step

Shape = jax.ShapeDtypeStruct

# Of the host's memory; the rest holds the program, the system and what a step computes.
HOST_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Outline:
    """What the shape of the data makes of a model, before anything is computed.

    params: the shapes and types of its parameters.
    forward: its computation for one example.
    """

    module: nn.Module
    params: Any
    forward: Jaxpr


def check_dataset(dataset: Any, name: str) -> Dataset:
    """Raises DataError where a factory has returned something else."""
    if not isinstance(dataset, Dataset):
        raise DataError(f"dataset {name}", f"is {kind(dataset)}", "return a runner Dataset")
    return dataset


def check_schedule(schedule: Any, name: str) -> Schedule:
    """Raises ConfigError where a factory has returned no schedule, or one that is no pytree."""
    if not isinstance(schedule, Schedule):
        raise ConfigError(
            f"scheduler {name}",
            f"is {kind(schedule)}, not a schedule with momentum(), cycle() and cycle_ends()",
            "return a runner.schedules.Schedule, such as CyclicLR",
        )
    if jax.tree.structure(schedule) == jax.tree.structure(0):
        raise ConfigError(
            f"scheduler {name}",
            f"is {kind(schedule)}, which is no pytree",
            "register it with jax, as runner.schedules.Schedule says",
        )
    return schedule


def check_model(model: Any, name: str, example: Shape, *, num_classes: int) -> Outline:
    """Lets the model meet the data's shape: the one time that it is only looked at.

    Raises:
      ConfigError: it is no module, cannot be part of a program, fails, or returns no logits.
    """
    key = f"model {name}"
    if not isinstance(model, nn.Module):
        raise ConfigError(key, f"is {kind(model)}", "return a flax.linen.Module")
    try:
        hash(model)
    except TypeError as error:
        problem = f"cannot be part of a program ({reason(error)})"
        raise ConfigError(key, problem, "make its attributes tuples, not lists") from error
    try:
        forward = jax.make_jaxpr(partial(model.init_with_output, train=False), return_shape=True)
        jaxpr, (logits, variables) = forward(jax.random.key(0), example)
    except RunnerError as error:
        raise error.under("model") from error
    except Exception as error:
        problem = f"cannot take inputs of shape {example.shape[1:]} ({reason(error)})"
        raise ConfigError(key, problem, "change its arguments, or the dataset") from error
    expected = (example.shape[0], num_classes)
    if not isinstance(logits, Shape) or logits.shape != expected:
        shape = logits.shape if isinstance(logits, Shape) else kind(logits)
        raise ConfigError(key, f"returns {shape}", f"return logits of shape {expected}")
    if "params" not in variables:
        raise ConfigError(key, "has no parameters to train", "give it a layer that has some")
    return Outline(model, variables["params"], jaxpr.jaxpr)


def check_update(structure: Structure, hyper: Hyper, example: Shape) -> None:
    """Goes through one update: for parts that are not the runner's own.

    Raises:
      ConfigError: the model or the optimizer fails in it, or changes the shape of the state.
    """
    key = f"model and optimizer {structure.optimizer.name}"
    inputs = Shape((structure.accumulate, *example.shape[1:]), example.dtype)
    targets = Shape(inputs.shape[:1], np.int32)
    seed = Shape((), np.uint32)
    step = Shape((), np.int32)
    try:
        jax.eval_shape(partial(schedule_values, structure.groups), hyper, step)
    except Exception as error:
        raise ConfigError("scheduler", f"failed ({reason(error)})", MEND) from error
    try:
        before = jax.eval_shape(
            lambda seed, hyper, inputs: init_state(structure, hyper, seed=seed, inputs=inputs),
            seed,
            hyper,
            example,
        )
        after, _ = jax.eval_shape(partial(train_step, structure), before, hyper, (inputs, targets))
    except RunnerError:
        raise
    except Exception as error:
        raise ConfigError(key, f"fail in an update ({reason(error)})", MEND) from error
    if before != after:
        raise ConfigError(key, "change the shapes or types of the state in an update", MEND)


def check_rates(schedule: Schedule, groups: Groups) -> None:
    """Raises ConfigError where the schedule has not one rate, or one for each group."""
    try:
        shape = jax.eval_shape(schedule, np.int32(0)).shape
    except Exception as error:
        raise ConfigError("scheduler", f"failed ({reason(error)})", MEND) from error
    if shape:
        check_count(shape[0], groups, key="scheduler")


def check_count(count: int, groups: Groups, *, key: str) -> None:
    """Raises ConfigError where ``count`` numbers are not one for each group."""
    names = groups.names
    if count != len(names):
        numbers = "1 number" if count == 1 else f"{count} numbers"
        many = f"{len(names)} groups" if len(names) > 1 else "one group"
        problem = f"{numbers}, but the parameters are in {many} ({', '.join(names)})"
        raise ConfigError(key, problem, "write one for each group, or a number for all")


def check_memory(structure: Structure, state: TrainState, device: jax.Device) -> None:
    """Refuses a state, of shapes alone, that cannot fit: XLA may hang instead of failing.

    Raises:
      OutOfMemoryError: the state and the gradients, those of a batch and their sum where batches
        are accumulated, are larger than the device's memory.
    """
    gradients = count_bytes(structure.groups.trained(state.params))
    needed = count_bytes(state) + gradients * (1 if structure.accumulate == 1 else 2)
    limit = (device.memory_stats() or {}).get("bytes_limit") or _host_memory()
    if limit is not None and needed > limit:
        raise OutOfMemoryError(
            "memory",
            f"parameters, gradients, the optimizer's state and averages take "
            f"{needed / 2**30:,.1f} GiB, "
            f"of {limit / 2**30:,.1f} GiB that are there",
            "choose a smaller model (model.hidden, model.features, ...), or freeze some of it",
        )


def _host_memory() -> int | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return None
    return int(HOST_SHARE * total)
