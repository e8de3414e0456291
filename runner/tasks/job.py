"""A job: everything a config names, built and checked against the data, ready to run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from runner import data, models, optimizers, registry  # noqa: F401 - data and models register
from runner.config import Choice, Config, Training, Wrappers
from runner.config.choice import momentum_key
from runner.data.dataset import Dataset
from runner.data.feed import Feed, Placement, choose_placement
from runner.errors import ConfigError
from runner.lengths import resolve_length
from runner.optimizers import Groups, Optimizer
from runner.schedules import Schedule
from runner.tasks.fitting import (
    check_count,
    check_dataset,
    check_memory,
    check_model,
    check_optimizer,
    check_rates,
    check_update,
)
from runner.tasks.scheduling import build_schedule
from runner.training.loop import Plan
from runner.training.program import Dispatch, Program, compile_program, may_loop
from runner.training.state import Hyper, TrainState
from runner.training.structure import Structure


@dataclass(frozen=True, eq=False)
class Job:
    """What a task works with; lengths are in steps.

    example: shape and type of one normalised example, as a batch of one.
    examples_per_step: of all batches that are accumulated for an update.
    """

    device: jax.Device
    seed: int
    dataset: Dataset
    structure: Structure
    hyper: Hyper
    plan: Plan
    dispatch: Dispatch
    placement: Placement
    examples_per_step: int
    example: jax.ShapeDtypeStruct
    steps_per_epoch: int
    log_every: int

    @property
    def schedule(self) -> Schedule:
        return self.hyper.schedule

    def program(self) -> Program:
        """The compiled programs, the same for every job of this structure."""
        return compile_program(self.structure, self.dispatch)

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
            batch_size=self.examples_per_step,
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
    steps_per_epoch = _steps_per_epoch(dataset, training)
    steps = _run_length(training, steps_per_epoch)

    def in_steps(key: str, value: Any) -> int:
        return resolve_length(value, key=key, steps_per_epoch=steps_per_epoch, total_steps=steps)

    every = training.eval_every
    eval_every = None if every is None else in_steps("training.eval_every", every)
    schedule = build_schedule(config.scheduler, steps_per_epoch=steps_per_epoch, total_steps=steps)
    optimizer, numbers = optimizers.split(config.optimizer.name, config.optimizer.arguments)
    check_optimizer(optimizer, numbers)
    _check_momentum(config.scheduler, schedule, optimizer)
    example = jax.ShapeDtypeStruct((1, *dataset.train.inputs.shape[1:]), np.float32)
    outline = check_model(
        registry.models.build(
            config.model.name, {**config.model.arguments, "num_classes": dataset.num_classes}
        ),
        config.model.name,
        example,
        num_classes=dataset.num_classes,
    )
    groups = _groups(config.wrappers, outline.params)
    check_rates(schedule, groups)
    for key, number in numbers.items():
        if number.ndim:
            check_count(len(number), groups, key=f"optimizer.{key}")
    wrappers = _wrappers(config.wrappers, groups, ema_decay=training.ema_decay)
    hyper = jax.device_put(Hyper(schedule, numbers, wrappers), device)
    in_loops = may_loop(outline.forward, device.platform)
    structure = Structure(
        outline.model,
        optimizer,
        groups,
        accumulate=training.accumulate,
        compute_dtype=training.compute_dtype,
        in_loops=in_loops,
    )
    if not registry.all_ours(config.scheduler.name, config.optimizer.name, config.model.name):
        check_update(structure, hyper, example)
    auto_dispatch = "scan" if in_loops else "step"
    job = Job(
        device=device,
        seed=config.seed,
        dataset=dataset,
        structure=structure,
        hyper=hyper,
        plan=Plan(steps=steps, eval_every=eval_every, chunk=training.chunk),
        dispatch=auto_dispatch if training.dispatch == "auto" else training.dispatch,
        placement=choose_placement(dataset, device) if training.feed == "auto" else training.feed,
        examples_per_step=training.accumulate * training.batch_size,
        example=example,
        steps_per_epoch=steps_per_epoch,
        log_every=in_steps("training.log_every", training.log_every),
    )
    check_memory(jax.eval_shape(job.initial_state), device)
    return job


def with_scheduler(job: Job, config: Config) -> Job:
    """``job`` under the scheduler of ``config``, which is in all else the job's.

    Raises:
      ConfigError: the schedule is wrong, or does not fit the optimizer or its groups.
    """
    schedule = build_schedule(
        config.scheduler, steps_per_epoch=job.steps_per_epoch, total_steps=job.plan.steps
    )
    _check_momentum(config.scheduler, schedule, job.structure.optimizer)
    check_rates(schedule, job.structure.groups)
    hyper = jax.device_put(replace(job.hyper, schedule=schedule), job.device)
    if not registry.all_ours(config.scheduler.name, config.optimizer.name, config.model.name):
        check_update(job.structure, hyper, job.example)
    return replace(job, hyper=hyper)


def _steps_per_epoch(dataset: Dataset, training: Training) -> int:
    examples, batch_size = len(dataset.train), training.batch_size
    per_step = training.accumulate * batch_size
    if training.accumulate > 1 and batch_size <= examples < per_step:
        raise ConfigError(
            "training.accumulate",
            f"{training.accumulate} batches of {batch_size} are more than the {examples} training "
            "examples",
            f"write a number from 1 to {examples // batch_size}",
        )
    if batch_size > examples:
        raise ConfigError(
            "training.batch_size",
            f"{batch_size} is more than the {examples} training examples",
            f"write a number from 1 to {examples}",
        )
    return examples // per_step


def _run_length(training: Training, steps_per_epoch: int) -> int:
    if training.steps is not None:
        return resolve_length(training.steps, key="training.steps", steps_per_epoch=steps_per_epoch)
    return resolve_length(
        f"{training.epochs}ep", key="training.epochs", steps_per_epoch=steps_per_epoch
    )


def _groups(wrappers: Wrappers, params: Any) -> Groups:
    try:
        return optimizers.assign(params, wrappers.patterns(), frozen=wrappers.frozen)
    except ConfigError as error:
        raise error.under("optimizer") from error


def _wrappers(
    wrappers: Wrappers, groups: Groups, *, ema_decay: float | None
) -> optimizers.Wrappers:
    """The numbers of what surrounds the optimizer, as arrays."""
    lookahead, multiplier = wrappers.lookahead, wrappers.multiplier
    if isinstance(multiplier, Mapping):
        multiplier = tuple(multiplier.get(name, 1.0) for name in groups.names)
    if isinstance(multiplier, tuple):
        check_count(len(multiplier), groups, key="optimizer.multiplier")
    return optimizers.Wrappers.of(
        multiplier=multiplier,
        clip_value=wrappers.clip_value,
        clip_norm=wrappers.clip_norm,
        sync_period=lookahead.sync_period,
        slow_step_size=lookahead.slow_step_size,
        ema_decay=ema_decay,
    )


def _check_momentum(scheduler: Choice, schedule: Schedule, optimizer: Optimizer) -> None:
    if schedule.cycles_momentum and optimizer.momentum_key is None:
        raise ConfigError(
            momentum_key(scheduler) or "scheduler",
            f"cycles the momentum, but the optimizer {optimizer.name!r} has none here",
            "give it one (optimizer.momentum=0.9), choose adam, or set cycle_momentum=false",
        )
