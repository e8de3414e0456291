"""Builds every part that a config names, fitted to the data and to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, subjaxprs

from runner import optimizers
from runner.config import Choice, Config, Training, WrapperSettings
from runner.data.augmentation import Augmentation
from runner.data.dataset import Dataset
from runner.data.feed import Feed, Placement
from runner.errors import ConfigError
from runner.experiment.lengths import Lengths, resolve_lengths
from runner.experiment.model import FittedModel, fit_model
from runner.experiment.parts import (
    build_augmentation,
    build_dataset,
    build_objective,
    placement_of,
    prepared_example,
    targets_of,
)
from runner.experiment.schedule import Clock, build_schedule
from runner.objectives import Targets
from runner.optimizers import Groups
from runner.schedules import Schedule
from runner.schedules.plateau import Plateau
from runner.training.checkpoint import from_arrays
from runner.training.plan import Dispatch, Plan
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import init_state

# (static, hyperparams, *, seed, inputs) → TrainState. It runs only once: at this lower level of
# optimisation it compiles in a quarter of the time, with the same results.
compiled_init = jax.jit(
    init_state,
    static_argnames="static",
    compiler_options={"xla_backend_optimization_level": 1},
)


@dataclass(frozen=True, eq=False)
class Experiment:
    """A config with every part built.

    targets: what the objective needs to know about the targets of the data set.
    example: shape and type of one example as the model sees it, as a batch of one.
    lengths: in steps.
    """

    config: Config
    device: jax.Device
    dataset: Dataset
    targets: Targets
    example: jax.ShapeDtypeStruct
    lengths: Lengths
    static: Static
    hyperparams: Hyperparams
    plan: Plan
    placement: Placement
    augmentation: Augmentation | None

    @property
    def schedule(self) -> Schedule:
        return self.hyperparams.schedule

    @property
    def snapshot_ends(self) -> Sequence[int]:
        """The steps at which cycles end, if snapshots are kept there."""
        kept = self.config.training.snapshots
        return self.schedule.cycle_ends(self.lengths.steps) if kept else ()

    @property
    def samples_text(self) -> bool:
        """Whether the model continues a text: its inputs and its targets are tokens."""
        dataset = self.dataset
        return not dataset.normalized and dataset.train.shape == dataset.train.targets.shape[1:]

    def under(self, scheduler: Choice) -> "Experiment":
        """The same experiment under another scheduler; no other part is rebuilt.

        Raises:
          ConfigError: an argument of the scheduler is wrong.
        """
        schedule = _schedule(scheduler, self.lengths, self.device)
        return replace(
            self,
            config=replace(self.config, scheduler=scheduler),
            hyperparams=replace(self.hyperparams, schedule=schedule),
            plan=_with_cycle_ends(self.plan, self.config, schedule),
        )

    def seeded(self, seed: int) -> "Experiment":
        """The same experiment with other initial parameters and another order of examples."""
        return replace(self, config=replace(self.config, seed=seed))

    def lasting(self, steps: int) -> "Experiment":
        """The same experiment with a schedule for a run of that many steps.

        Raises:
          ConfigError: its lengths do not fit into such a run.
        """
        lengths = replace(self.lengths, steps=steps)
        schedule = _schedule(self.config.scheduler, lengths, self.device)
        return replace(
            self, lengths=lengths, hyperparams=replace(self.hyperparams, schedule=schedule)
        )

    def changed(self, config: Config) -> "Experiment":
        """The experiment of another ``config`` on the same data set, which is not read again.

        Raises:
          ConfigError: see ``build``.
        """
        return _assemble(config, self.device, self.dataset)

    def initial_state(self) -> TrainState:
        """The state before the first update."""
        state = compiled_init(self.static, self.hyperparams, **self._init_arguments())
        # Committed to the device like the output of a chunk, or the second chunk would recompile.
        return jax.device_put(state, self.device)

    def restored_state(self, arrays: Mapping[str, np.ndarray], *, source: str) -> TrainState:
        """The state stored in ``arrays``; ``source`` names it in errors.

        Raises:
          StorageError: it does not fit the experiment.
        """
        state = from_arrays(self.state_shapes(), arrays, source=source)
        return jax.device_put(state, self.device)

    def state_shapes(self) -> TrainState:
        """Shapes and types of the state; nothing is computed or compiled."""
        init = partial(init_state, self.static)
        return jax.eval_shape(init, self.hyperparams, **self._init_arguments())

    def _init_arguments(self) -> dict[str, Any]:
        inputs = np.zeros(self.example.shape, self.example.dtype)
        return {"seed": np.uint32(self.config.seed), "inputs": inputs}

    def feed(self) -> Feed:
        """The feed of examples; sends a resident data set to the device."""
        return Feed(
            self.dataset,
            batch_size=self.lengths.examples_per_step,
            seed=self.config.seed,
            placement=self.placement,
            device=self.device,
            augmentation=self.augmentation,
        )


def build(config: Config, device: jax.Device) -> Experiment:
    """Builds every part from the registry; ``check`` verifies that they fit each other.

    Raises:
      ConfigError: a part cannot be built, or cannot take the data.
      DataError: a data file is missing or damaged.
    """
    return _assemble(config, device, build_dataset(config.dataset, config.data))


def _assemble(config: Config, device: jax.Device, dataset: Dataset) -> Experiment:
    training = config.training
    targets = targets_of(dataset)
    objective = build_objective(config.objective, targets)
    lengths = resolve_lengths(
        training, examples=len(dataset.train), save_every=config.checkpoint.every
    )
    example = prepared_example(dataset.train.shape, dataset.train.inputs.dtype, dataset.normalized)
    model = fit_model(config.model, example, objective)
    groups = _groups(config.wrappers, model)
    optimizer, optimizer_hyperparams = optimizers.split(
        config.optimizer.name, dict(config.optimizer.settings)
    )
    wrappers = _wrappers(config.wrappers, groups, ema_decay=training.ema_decay)
    schedule = _schedule(config.scheduler, lengths, device)
    return Experiment(
        config=config,
        device=device,
        dataset=dataset,
        targets=targets,
        example=example,
        lengths=lengths,
        static=Static(
            model=model.module,
            optimizer=optimizer,
            groups=groups,
            accumulate=training.accumulate,
            compute_dtype=training.compute_dtype,
            backs_off=training.on_divergence == "back_off",
        ),
        hyperparams=Hyperparams(
            schedule=schedule,
            optimizer=jax.device_put(optimizer_hyperparams, device),
            wrappers=jax.device_put(wrappers, device),
            objective=jax.device_put(objective, device),
            stopping=jax.device_put(_stopping(training), device),
        ),
        plan=_with_cycle_ends(
            Plan(
                steps=lengths.steps,
                eval_every=lengths.eval_every,
                chunk=training.chunk,
                dispatch=_dispatch(config, model, device),
                save_every=lengths.save_every,
                ranking=config.ranking,
            ),
            config,
            schedule,
        ),
        placement=placement_of(config.data.placement, dataset, device),
        augmentation=build_augmentation(config.augmentation, dataset),
    )


def _stopping(training: Training) -> Plateau | None:
    if training.patience is None:
        return None
    # Training ends at the evaluation that exhausts the patience, not at the one after it.
    patience = training.patience - 1
    return Plateau(patience=patience, threshold=training.min_delta, is_relative=False)


def _groups(wrappers: WrapperSettings, model: FittedModel) -> Groups:
    depths: tuple[tuple[str, int], ...] = ()
    try:
        if wrappers.layer_decay is not None:
            layer_order = getattr(model.module, "layer_order", None)
            depths = optimizers.layer_depths(layer_order, model.params)
        return optimizers.assign(
            model.params, wrappers.groups, frozen=wrappers.frozen, depths=depths
        )
    except ConfigError as error:
        raise error.under("optimizer") from error


def _wrappers(
    wrappers: WrapperSettings, groups: Groups, *, ema_decay: float | None
) -> optimizers.Wrappers:
    """The hyperparameters of the wrappers around the optimizer, as arrays."""
    multiplier = wrappers.multiplier
    if isinstance(multiplier, Mapping):
        for name in multiplier:
            if name not in groups.names:
                problem = f"there is no {name} group, as every parameter is in another one"
                raise ConfigError(f"optimizer.multiplier.{name}", problem, "leave it out")
        multiplier = tuple(multiplier.get(name, 1.0) for name in groups.names)
    return optimizers.Wrappers.of(
        multiplier=multiplier,
        layer_decay=wrappers.layer_decay,
        clip_value=wrappers.clip_value,
        clip_norm=wrappers.clip_norm,
        sync_period=wrappers.lookahead.sync_period,
        slow_step_size=wrappers.lookahead.slow_step_size,
        ema_decay=ema_decay,
    )


def _schedule(scheduler: Choice, lengths: Lengths, device: jax.Device) -> Schedule:
    schedule = build_schedule(scheduler, Clock(lengths.steps_per_epoch, lengths.steps))
    return jax.device_put(schedule, device)


def _with_cycle_ends(plan: Plan, config: Config, schedule: Schedule) -> Plan:
    """The plan with the saves, snapshots and evaluations that are configured at cycle ends."""
    checkpoint, training = config.checkpoint, config.training
    saves = training.snapshots or (checkpoint.every is not None and checkpoint.cycle_ends)
    evaluates = training.eval_at_cycle_end
    if not (saves or evaluates):
        return plan
    ends = schedule.cycle_ends(plan.steps)
    return replace(plan, cycle_ends=ends if saves else (), evaluated_ends=ends if evaluates else ())


def _dispatch(config: Config, model: FittedModel, device: jax.Device) -> Dispatch:
    if config.training.dispatch != "auto":
        return config.training.dispatch
    return "scan" if may_loop(model.forward, device.platform) else "step"


def may_loop(forward: Jaxpr, platform: str) -> bool:
    """Whether a model may run in a while loop: on the CPU backend, not if it has a convolution.

    XLA's CPU backend runs a convolution about twenty times slower inside a while loop than outside.
    """
    return platform != "cpu" or "conv_general_dilated" not in _primitives(forward)


def _primitives(jaxpr: Jaxpr) -> set[str]:
    nested = (_primitives(inner) for inner in subjaxprs(jaxpr))
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*nested)
