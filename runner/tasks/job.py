"""A job: everything a config names, built and checked against the data, ready to run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from runner import data, models, registry  # noqa: F401 - the first two register themselves
from runner.config import Choice, Config, Training
from runner.data.dataset import Dataset
from runner.data.feed import Placement, choose_placement
from runner.errors import ConfigError, RunnerError
from runner.lengths import is_length, resolve_length
from runner.optimizers import Optimizer, split
from runner.schedules import Schedule
from runner.training.loop import Plan
from runner.training.program import Dispatch, choose_dispatch
from runner.training.state import Hyper


@dataclass(frozen=True)
class Job:
    """What a task works with; lengths are in steps.

    example: shape and type of one normalised example, as a batch of one.
    """

    dataset: Dataset
    model: nn.Module
    schedule: Schedule
    optimizer: Optimizer
    hyper: Hyper
    plan: Plan
    dispatch: Dispatch
    placement: Placement
    example: jax.ShapeDtypeStruct
    steps_per_epoch: int
    log_every: int


def build_job(config: Config, device: jax.Device) -> Job:
    """Builds all parts from the registry.

    Raises:
      ConfigError: parts that do not fit each other or the data.
      DataError: a data file is missing or damaged.
    """
    registry.load_plugins(list(config.plugins))
    training = config.training
    dataset = registry.datasets.build(config.dataset.name, config.dataset.arguments)
    steps_per_epoch = _steps_per_epoch(dataset, training.batch_size)
    steps = _run_length(training, steps_per_epoch)

    def in_steps(key: str, value: Any) -> int:
        return resolve_length(value, key=key, steps_per_epoch=steps_per_epoch, total_steps=steps)

    schedule = _schedule(config.scheduler, in_steps)
    model = registry.models.build(
        config.model.name, {**config.model.arguments, "num_classes": dataset.num_classes}
    )
    optimizer, numbers = split(config.optimizer.name, config.optimizer.arguments)
    _check_momentum(schedule, optimizer)
    every = training.eval_every
    plan = Plan(
        steps=steps,
        eval_every=None if every is None else in_steps("training.eval_every", every),
        chunk=training.chunk,
    )
    example = jax.ShapeDtypeStruct((1, *dataset.train.inputs.shape[1:]), np.float32)
    _check_shapes(model, example, config.model.name)
    return Job(
        dataset=dataset,
        model=model,
        schedule=schedule,
        optimizer=optimizer,
        hyper=jax.device_put(Hyper(schedule, numbers), device),
        plan=plan,
        dispatch=(
            choose_dispatch(model, example, device.platform)
            if training.dispatch == "auto"
            else training.dispatch
        ),
        placement=(choose_placement(dataset, device) if training.feed == "auto" else training.feed),
        example=example,
        steps_per_epoch=steps_per_epoch,
        log_every=in_steps("training.log_every", training.log_every),
    )


def _steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    examples = len(dataset.train)
    if batch_size > examples:
        raise ConfigError(
            "training.batch_size",
            f"{batch_size} is more than the {examples} training examples",
            f"write a number from 1 to {examples}",
        )
    return examples // batch_size


def _run_length(training: Training, steps_per_epoch: int) -> int:
    if training.steps is not None:
        return resolve_length(training.steps, key="training.steps", steps_per_epoch=steps_per_epoch)
    return resolve_length(
        f"{training.epochs}ep", key="training.epochs", steps_per_epoch=steps_per_epoch
    )


def _schedule(scheduler: Choice, in_steps: Callable[[str, Any], int]) -> Schedule:
    """Builds the schedule; an argument written with a unit of length becomes steps first."""
    arguments = {
        name: in_steps(f"scheduler.{name}", value)
        if isinstance(value, str) and is_length(value)
        else value
        for name, value in scheduler.arguments.items()
    }
    return registry.schedulers.build(scheduler.name, arguments)


def _check_momentum(schedule: Schedule, optimizer: Optimizer) -> None:
    if schedule.cycles_momentum and optimizer.momentum_key is None:
        raise ConfigError(
            "scheduler.cycle_momentum",
            f"true, but the optimizer {optimizer.name!r} has no momentum here",
            "give it one (optimizer.momentum=0.9), choose adam, or set cycle_momentum=false",
        )


def _check_shapes(model: nn.Module, example: jax.ShapeDtypeStruct, name: str) -> None:
    """Lets the model meet the data's shape without computing anything."""
    try:
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), example)
    except RunnerError as error:
        raise error.under("model") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model {name}",
            f"cannot take inputs of shape {example.shape[1:]} ({reason})",
            "change its arguments, or the dataset",
        ) from error
