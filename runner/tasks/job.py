"""A job: everything a config names, built and checked against the data, ready to run."""

from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from runner import data, models, registry  # noqa: F401 - the first two register themselves
from runner.config import Choice, Config, Training
from runner.config.choice import momentum_key
from runner.data.dataset import Dataset
from runner.data.feed import Feed, Placement, choose_placement
from runner.errors import ConfigError
from runner.lengths import resolve_length
from runner.optimizers import Optimizer, split
from runner.schedules import Schedule
from runner.tasks.fitting import (
    check_dataset,
    check_memory,
    check_model,
    check_optimizer,
    check_update,
)
from runner.tasks.scheduling import build_schedule
from runner.training.loop import Plan
from runner.training.program import Dispatch, Program, choose_dispatch, compile_program
from runner.training.state import Hyper, TrainState


@dataclass(frozen=True, eq=False)
class Job:
    """What a task works with; lengths are in steps.

    example: shape and type of one normalised example, as a batch of one.
    """

    device: jax.Device
    seed: int
    dataset: Dataset
    model: nn.Module
    schedule: Schedule
    optimizer: Optimizer
    hyper: Hyper
    plan: Plan
    dispatch: Dispatch
    placement: Placement
    batch_size: int
    example: jax.ShapeDtypeStruct
    steps_per_epoch: int
    log_every: int

    def program(self) -> Program:
        """The compiled programs, the same for every job of this structure."""
        return compile_program(self.model, self.optimizer, self.dispatch)

    def initial_state(self) -> TrainState:
        """The state before the first update."""
        inputs = np.zeros(self.example.shape, self.example.dtype)
        state = self.program().init(np.uint32(self.seed), self.hyper, inputs)
        # Bound to the device as what comes out of a chunk is, or the second would compile anew.
        return jax.device_put(state, self.device)

    def feed(self) -> Feed:
        """The examples, sent to the device where they are to live there."""
        return Feed(
            self.dataset,
            batch_size=self.batch_size,
            seed=self.seed,
            placement=self.placement,
            device=self.device,
        )


def build_job(config: Config, device: jax.Device) -> Job:
    """Builds all parts from the registry.

    Raises:
      ConfigError: parts that do not fit each other or the data.
      DataError: a data file is missing or damaged.
      OutOfMemoryError: the model cannot fit.
    """
    training = config.training
    name = config.dataset.name
    dataset = check_dataset(registry.datasets.build(name, config.dataset.arguments), name)
    steps_per_epoch = _steps_per_epoch(dataset, training.batch_size)
    steps = _run_length(training, steps_per_epoch)

    def in_steps(key: str, value: Any) -> int:
        return resolve_length(value, key=key, steps_per_epoch=steps_per_epoch, total_steps=steps)

    every = training.eval_every
    eval_every = None if every is None else in_steps("training.eval_every", every)
    schedule = build_schedule(config.scheduler, steps_per_epoch=steps_per_epoch, total_steps=steps)
    optimizer, numbers = split(config.optimizer.name, config.optimizer.arguments)
    check_optimizer(optimizer, numbers)
    _check_momentum(config.scheduler, schedule, optimizer)
    example = jax.ShapeDtypeStruct((1, *dataset.train.inputs.shape[1:]), np.float32)
    model = check_model(
        registry.models.build(
            config.model.name, {**config.model.arguments, "num_classes": dataset.num_classes}
        ),
        config.model.name,
        example,
        num_classes=dataset.num_classes,
    )
    hyper = jax.device_put(Hyper(schedule, numbers), device)
    if not registry.all_ours(config.scheduler.name, config.optimizer.name, config.model.name):
        check_update(model, optimizer, hyper, example)
    _check_groups(schedule)
    dispatch = training.dispatch
    if dispatch == "auto":
        dispatch = choose_dispatch(model, example, device.platform)
    job = Job(
        device=device,
        seed=config.seed,
        dataset=dataset,
        model=model,
        schedule=schedule,
        optimizer=optimizer,
        hyper=hyper,
        plan=Plan(steps=steps, eval_every=eval_every, chunk=training.chunk),
        dispatch=dispatch,
        placement=choose_placement(dataset, device) if training.feed == "auto" else training.feed,
        batch_size=training.batch_size,
        example=example,
        steps_per_epoch=steps_per_epoch,
        log_every=in_steps("training.log_every", training.log_every),
    )
    check_memory(jax.eval_shape(job.initial_state), device)
    return job


def with_scheduler(job: Job, config: Config) -> Job:
    """``job`` under the scheduler of ``config``, which is in all else the job's.

    Raises:
      ConfigError: the schedule is wrong, or the optimizer has no momentum for it.
    """
    schedule = build_schedule(
        config.scheduler, steps_per_epoch=job.steps_per_epoch, total_steps=job.plan.steps
    )
    _check_momentum(config.scheduler, schedule, job.optimizer)
    hyper = jax.device_put(replace(job.hyper, schedule=schedule), job.device)
    if not registry.all_ours(config.scheduler.name, config.optimizer.name, config.model.name):
        check_update(job.model, job.optimizer, hyper, job.example)
    _check_groups(schedule)
    return replace(job, schedule=schedule, hyper=hyper)


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


def _check_groups(schedule: Schedule) -> None:
    shape = jax.eval_shape(schedule, np.int32(0)).shape
    if shape:
        problem = f"gives {shape[0]} rates, but there is one group of parameters"
        raise ConfigError("scheduler", problem, "write numbers instead of lists")


def _check_momentum(scheduler: Choice, schedule: Schedule, optimizer: Optimizer) -> None:
    if schedule.cycles_momentum and optimizer.momentum_key is None:
        raise ConfigError(
            momentum_key(scheduler) or "scheduler",
            f"cycles the momentum, but the optimizer {optimizer.name!r} has none here",
            "give it one (optimizer.momentum=0.9), choose adam, or set cycle_momentum=false",
        )
