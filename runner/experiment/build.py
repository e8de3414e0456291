"""A job: everything a config names, built and checked against the data, ready to run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from runner import data, models, optimizers, registry  # noqa: F401 - data and models register
from runner.config import Choice, Config, Wrappers
from runner.config.choice import momentum_key
from runner.data.dataset import Dataset
from runner.data.feed import Feed, Placement, choose_placement
from runner.errors import ConfigError
from runner.experiment.check import (
    Outline,
    check_count,
    check_dataset,
    check_memory,
    check_model,
    check_rates,
    check_update,
)
from runner.experiment.lengths import RunLength, run_length
from runner.experiment.schedule import build_schedule
from runner.optimizers import Groups, Optimizer
from runner.schedules import Schedule
from runner.training.loop import Plan
from runner.training.program import Dispatch, Program, compile_program, may_loop
from runner.training.state import Hyper, TrainState
from runner.training.static import Structure


@dataclass(frozen=True, eq=False)
class Job:
    """What a task works with; lengths are in steps.

    example: shape and type of one normalised example, as a batch of one.
    """

    device: jax.Device
    seed: int
    dataset: Dataset
    structure: Structure
    hyper: Hyper
    plan: Plan
    dispatch: Dispatch
    placement: Placement
    example: jax.ShapeDtypeStruct
    length: RunLength

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
            batch_size=self.length.examples_per_step,
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
    training, name = config.training, config.dataset.name
    dataset = check_dataset(registry.datasets.build(name, config.dataset.arguments), name)
    length = run_length(training, examples=len(dataset.train))
    example = jax.ShapeDtypeStruct((1, *dataset.train.inputs.shape[1:]), np.float32)
    model = _model(config.model, example, num_classes=dataset.num_classes)
    groups = _groups(config.wrappers, model.params)
    optimizer, numbers = _optimizer(config.optimizer, groups)
    auto_dispatch = "scan" if may_loop(model.forward, device.platform) else "step"
    job = Job(
        device=device,
        seed=config.seed,
        dataset=dataset,
        structure=Structure(
            model.module,
            optimizer,
            groups,
            accumulate=training.accumulate,
            compute_dtype=training.compute_dtype,
        ),
        hyper=Hyper(
            _schedule(config.scheduler, groups, length),
            numbers,
            _wrappers(config.wrappers, groups, ema_decay=training.ema_decay, steps=length.steps),
        ),
        plan=Plan(steps=length.steps, eval_every=length.eval_every, chunk=training.chunk),
        dispatch=auto_dispatch if training.dispatch == "auto" else training.dispatch,
        placement=choose_placement(dataset, device) if training.feed == "auto" else training.feed,
        example=example,
        length=length,
    )
    return _settled(job, config)


def with_scheduler(job: Job, config: Config) -> Job:
    """``job`` under the scheduler of ``config``, which is in all else the job's.

    Raises:
      ConfigError: the schedule is wrong, or does not fit the optimizer or its groups.
    """
    schedule = _schedule(config.scheduler, job.structure.groups, job.length)
    return _settled(replace(job, hyper=replace(job.hyper, schedule=schedule)), config)


def _settled(job: Job, config: Config) -> Job:
    """``job`` with its numbers on the device, once its parts are seen to work together."""
    _check_momentum(config.scheduler, job)
    job = replace(job, hyper=jax.device_put(job.hyper, job.device))
    if not registry.all_ours(config.scheduler.name, config.optimizer.name, config.model.name):
        check_update(job.structure, job.hyper, job.example)
    check_memory(job.structure, jax.eval_shape(job.initial_state), job.device)
    return job


def _model(choice: Choice, example: jax.ShapeDtypeStruct, *, num_classes: int) -> Outline:
    arguments = {**choice.arguments, "num_classes": num_classes}
    module = registry.models.build(choice.name, arguments)
    return check_model(module, choice.name, example, num_classes=num_classes)


def _optimizer(choice: Choice, groups: Groups) -> tuple[Optimizer, dict[str, np.ndarray]]:
    optimizer, numbers = optimizers.split(choice.name, choice.arguments)
    for key, number in numbers.items():
        if number.ndim:
            check_count(len(number), groups, key=f"optimizer.{key}")
    return optimizer, numbers


def _schedule(choice: Choice, groups: Groups, length: RunLength) -> Schedule:
    _check_counts(choice, groups, "scheduler")
    schedule = build_schedule(
        choice, steps_per_epoch=length.steps_per_epoch, total_steps=length.steps
    )
    check_rates(schedule, groups)
    return schedule


def _check_counts(choice: Choice, groups: Groups, key: str) -> None:
    """Where a scheduler, or a part of one, has lists of rates, they have one for each group."""
    for name, value in choice.arguments.items():
        if isinstance(value, Mapping):
            for part, item in value.items():
                if isinstance(item, Choice):
                    _check_counts(item, groups, f"{key}.{name}.{part}")
        elif isinstance(value, tuple) and all(isinstance(item, float) for item in value):
            check_count(len(value), groups, key=f"{key}.{name}")


def _groups(wrappers: Wrappers, params: Any) -> Groups:
    try:
        return optimizers.assign(params, wrappers.patterns(), frozen=wrappers.frozen)
    except ConfigError as error:
        raise error.under("optimizer") from error


def _wrappers(
    wrappers: Wrappers, groups: Groups, *, ema_decay: float | None, steps: int
) -> optimizers.Wrappers:
    """The numbers of what surrounds the optimizer, as arrays."""
    lookahead, multiplier = wrappers.lookahead, wrappers.multiplier
    if lookahead.sync_period is not None and lookahead.sync_period > steps:
        # The slow parameters, which are evaluated, would still be those of the beginning.
        problem = f"{lookahead.sync_period} is longer than the run of {steps} steps"
        raise ConfigError("optimizer.lookahead.sync_period", problem, f"write at most {steps}")
    if isinstance(multiplier, Mapping):
        for name in multiplier:
            if name not in groups.names:
                problem = f"there is no {name} group, as every parameter is in another one"
                raise ConfigError(f"optimizer.multiplier.{name}", problem, "leave it out")
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


def _check_momentum(scheduler: Choice, job: Job) -> None:
    """A momentum of zero is none: cycling would make it up."""
    optimizer = job.structure.optimizer
    if job.schedule.cycles_momentum and not job.hyper.optimizer.get(optimizer.momentum_key or ""):
        raise ConfigError(
            momentum_key(scheduler) or "scheduler",
            f"cycles the momentum, but the optimizer {optimizer.name!r} has none here",
            "give it one (optimizer.momentum=0.9), choose adam, or set cycle_momentum=false",
        )
