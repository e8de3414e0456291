"""Whether the parts of a job are what they must be and fit each other; nothing is computed."""

import os
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from runner.data.dataset import Dataset
from runner.errors import ConfigError, DataError, OutOfMemoryError, RunnerError, reason
from runner.optimizers import Optimizer
from runner.registry import MEND
from runner.schedules import Schedule
from runner.training.state import Hyper, TrainState
from runner.training.step import init_state, schedule_values, train_step

Shape = jax.ShapeDtypeStruct

# Of the host's memory; the rest holds the program, the system and what a step computes.
HOST_SHARE = 0.9


def check_dataset(dataset: Any, name: str) -> Dataset:
    """Raises DataError where a factory has returned something else."""
    if not isinstance(dataset, Dataset):
        raise DataError(f"dataset {name}", f"is {_kind(dataset)}", "return a runner Dataset")
    return dataset


def check_schedule(schedule: Any, name: str) -> Schedule:
    """Raises ConfigError where a factory has returned no schedule, or one that is no pytree."""
    if not isinstance(schedule, Schedule):
        raise ConfigError(
            f"scheduler {name}",
            f"is {_kind(schedule)}, not a schedule with momentum(), cycle() and cycle_ends()",
            "return a runner.schedules.Schedule, such as CyclicLR",
        )
    if jax.tree.structure(schedule) == jax.tree.structure(0):
        raise ConfigError(
            f"scheduler {name}",
            f"is {_kind(schedule)}, which is no pytree",
            "register it with jax, as runner.schedules.Schedule says",
        )
    return schedule


def check_model(model: Any, name: str, example: Shape, *, num_classes: int) -> nn.Module:
    """Lets the model meet the data's shape.

    Raises:
      ConfigError: it is no module, cannot be part of a program, fails, or returns no logits.
    """
    key = f"model {name}"
    if not isinstance(model, nn.Module):
        raise ConfigError(key, f"is {_kind(model)}", "return a flax.linen.Module")
    try:
        hash(model)
    except TypeError as error:
        problem = f"cannot be part of a program ({reason(error)})"
        raise ConfigError(key, problem, "make its attributes tuples, not lists") from error
    try:
        forward = partial(model.init_with_output, train=False)
        logits, variables = jax.eval_shape(forward, jax.random.key(0), example)
    except RunnerError as error:
        raise error.under("model") from error
    except Exception as error:
        problem = f"cannot take inputs of shape {example.shape[1:]} ({reason(error)})"
        raise ConfigError(key, problem, "change its arguments, or the dataset") from error
    expected = (example.shape[0], num_classes)
    if not isinstance(logits, Shape) or logits.shape != expected:
        shape = logits.shape if isinstance(logits, Shape) else _kind(logits)
        raise ConfigError(key, f"returns {shape}", f"return logits of shape {expected}")
    if "params" not in variables:
        raise ConfigError(key, "has no parameters to train", "give it a layer that has some")
    return model


def check_update(model: nn.Module, optimizer: Optimizer, hyper: Hyper, example: Shape) -> None:
    """Goes through one update: for parts that are not the runner's own.

    Raises:
      ConfigError: the model or the optimizer fails in it, or changes the shape of the state.
    """
    key = f"model and optimizer {optimizer.name}"
    targets = Shape(example.shape[:1], np.int32)
    seed = Shape((), np.uint32)
    step = Shape((), np.int32)
    try:
        jax.eval_shape(schedule_values, hyper, step)
    except Exception as error:
        raise ConfigError("scheduler", f"failed ({reason(error)})", MEND) from error
    try:
        before = jax.eval_shape(
            lambda seed, hyper, inputs: init_state(
                model, optimizer, hyper, seed=seed, inputs=inputs
            ),
            seed,
            hyper,
            example,
        )
        after, _ = jax.eval_shape(
            partial(train_step, model, optimizer), before, hyper, (example, targets)
        )
    except RunnerError:
        raise
    except Exception as error:
        raise ConfigError(key, f"fail in an update ({reason(error)})", MEND) from error
    if before != after:
        raise ConfigError(key, "change the shapes or types of the state in an update", MEND)


def check_optimizer(optimizer: Optimizer, numbers: Any) -> None:
    """Raises ConfigError where a factory has returned no transformation."""
    tx = optimizer.build(0.0, {key: float(value) for key, value in numbers.items()})
    if not isinstance(tx, optax.GradientTransformation):
        problem = f"is {_kind(tx)}"
        raise ConfigError(
            f"optimizer {optimizer.name}", problem, "return an optax.GradientTransformation"
        )


def check_memory(state: TrainState, device: jax.Device) -> None:
    """Refuses a state, of shapes alone, that cannot fit: XLA may hang instead of failing.

    Raises:
      OutOfMemoryError: the state and the gradients are larger than the device's memory.
    """
    needed = _bytes(state.params) + _bytes((state.params, state.model_state, state.opt_state))
    limit = (device.memory_stats() or {}).get("bytes_limit") or _host_memory()
    if limit is not None and needed > limit:
        raise OutOfMemoryError(
            "memory",
            f"parameters, gradients and the optimizer's state take {needed / 2**30:,.1f} GiB, "
            f"of {limit / 2**30:,.1f} GiB that are there",
            "choose a smaller model (model.hidden, model.features, ...)",
        )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _host_memory() -> int | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return None
    return int(HOST_SHARE * total)


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
