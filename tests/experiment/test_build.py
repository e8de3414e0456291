"""Errors in the parts of an experiment are reported before anything is computed."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from runner.cli.commands import configure
from runner.config import Choice
from runner.data.order import batch_indices
from runner.errors import ConfigError, OutOfMemoryError, RunnerError
from runner.experiment.build import build
from runner.experiment.check import check
from runner.experiment.lengths import Lengths, resolve_lengths
from runner.experiment.parts import build_objective
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.registry import (
    register_dataset,
    register_model,
    register_objective,
    register_optimizer,
    register_scheduler,
)
from runner.schedules import Schedule


class Net(nn.Module):
    """A linear classifier with one fault, if ``fault`` names one."""

    num_outputs: int
    fault: str = ""
    widths: list[int] | tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x_bhwc, *, train):
        if self.fault == "no parameters":
            return jnp.zeros((len(x_bhwc), self.num_outputs))
        if self.fault == "fails in training" and train:
            raise RuntimeError("only in\ntraining")
        logits = nn.Dense(self.num_outputs)(x_bhwc.reshape(len(x_bhwc), -1))
        return (logits, 1) if self.fault == "a pair" else logits


class Normalised(nn.Module):
    """A model with running statistics and dropout."""

    num_outputs: int

    @nn.compact
    def __call__(self, x_bhwc, *, train):
        x = nn.BatchNorm(use_running_average=not train)(x_bhwc.reshape(len(x_bhwc), -1))
        x = nn.Dropout(0.2, deterministic=not train)(nn.Dense(32)(x))
        return nn.Dense(self.num_outputs)(nn.relu(x))


def growing(learning_rate):
    """A transformation whose state changes its type in an update."""
    sgd = optax.sgd(learning_rate)
    return optax.GradientTransformation(
        lambda params: (sgd.init(params), 0),
        lambda grads, state, params: (
            sgd.update(grads, state[0], params)[0],
            (state[0], jnp.zeros(2)),
        ),
    )


def fails(*_, **__):
    raise RuntimeError("boom\nsecond line")


class Fails(Schedule):
    """A schedule that has no rate."""

    _rate = fails


class Momentum(Schedule):
    """A schedule that cycles the momentum, and has no setting that says so."""

    cycles_momentum = True

    def _rate(self, steps):
        return jnp.full(jnp.shape(steps), 0.1, jnp.float32)

    def _momentum(self, steps):
        return jnp.full(jnp.shape(steps), 0.9, jnp.float32)


MODELS = {
    "fails": (fails, "model: 'model_fails' failed (RuntimeError: boom); fix it"),
    "none": (lambda *, num_outputs: None, "model model_none: is None; return a flax"),
    "no_module": (lambda *, num_outputs: len, "is a builtin_function_or_method; return a flax"),
    "no_parameters": (lambda *, num_outputs: Net(num_outputs, "no parameters"), "no parameters to"),
    "pair": (lambda *, num_outputs: Net(num_outputs, "a pair"), "returns a tuple; return outputs"),
    "few": (lambda *, num_outputs: Net(3), "returns (1, 3); return outputs of shape (1, 10)"),
    "lists": (lambda *, num_outputs: Net(10, widths=[1]), "cannot be part of a program"),
    "training": (
        lambda *, num_outputs: Net(10, "fails in training"),
        "fail in an update (RuntimeError: only in); fix it",
    ),
}
OPTIMIZERS = {
    "fails": (fails, "optimizer: 'optimizer_fails' failed (RuntimeError: boom); fix it"),
    "none": (lambda learning_rate: None, "optimizer optimizer_none: is None; return an optax"),
    "lbfgs": (optax.lbfgs, "optimizer optimizer_lbfgs: fail in an update (TypeError"),
    "growing": (growing, "change the shapes or types of the state"),
    "branches": (
        lambda learning_rate: optax.sgd(learning_rate if learning_rate > 0 else 1.0),
        "'optimizer_branches' failed (TracerBoolConversionError",
    ),
}
SCHEDULERS = {
    "fails": (fails, "scheduler: 'scheduler_fails' failed (RuntimeError: boom); fix it"),
    "none": (lambda: None, "scheduler scheduler_none: is None, not a schedule"),
    "broken": (Fails, "scheduler: failed (RuntimeError: boom); fix it"),
}


class Whole(Classification):
    """An objective with one loss for the whole batch."""

    def losses(self, outputs, targets):
        return outputs.mean()


class Nameless(Classification):
    """An objective that does not report what it ranks by."""

    highest_is_best = {"f1": True}  # noqa: RUF012


class Spread(Classification):
    """An objective whose accuracy is an array."""

    def metrics(self, sums):
        found = Classification.metrics(self, sums)
        return {**found, "accuracy": jnp.stack([found["accuracy"]] * 2)}


class Broken(Classification):
    """An objective that fails."""

    sums = fails


OBJECTIVES = {
    "fails": (fails, "objective: 'objective_fails' failed (RuntimeError: boom); fix it"),
    "none": (lambda *, targets: None, "is None; return a runner Objective"),
    "whole": (Whole, "returns losses of shape () for two examples; return one loss for each"),
    "nameless": (Nameless, "its metrics have no scalar 'f1'; return it from metrics"),
    "spread": (Spread, "its metrics have no scalar 'accuracy'; return it from metrics"),
    "broken": (Broken, "objective objective_broken: failed (RuntimeError: boom); fix it"),
}
DATASETS = {
    "fails": (fails, "dataset: 'dataset_fails' failed (RuntimeError: boom); fix it"),
    "none": (lambda: None, "dataset dataset_none: is None; return a runner Dataset"),
}
GROUPS = {
    "model": (register_model, MODELS, 2),
    "optimizer": (register_optimizer, OPTIMIZERS, 2),
    "scheduler": (register_scheduler, SCHEDULERS, 2),
    "objective": (register_objective, OBJECTIVES, 2),
    "dataset": (register_dataset, DATASETS, 3),
}
CASES = [
    (group, f"{group}_{name}", factory, code, says)
    for group, (_, cases, code) in GROUPS.items()
    for name, (factory, says) in cases.items()
]


def checked(*overrides, **parts):
    """The experiment of a command line with other registered parts, built and checked."""
    config = configure(*overrides)
    choices = {group: Choice(name, name, {}) for group, name in parts.items()}
    experiment = build(replace(config, **choices), jax.devices("cpu")[0])
    check(experiment)
    return experiment


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name", "factory", "code", "says"), CASES)
def test_an_error_in_a_plugin_is_reported(group, name, factory, code, says):
    GROUPS[group][0](name)(factory)
    with pytest.raises(RunnerError) as caught:
        checked(**{group: name})
    assert caught.value.exit_code == code
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_with_running_statistics_and_dropout_is_accepted():
    register_model("normalised")(lambda *, num_outputs: Normalised(num_outputs))
    experiment = checked(model="normalised")
    assert experiment.initial_state().model_state["batch_stats"]


def test_accumulation_with_a_plugins_model_is_accepted():
    register_model("accumulated")(lambda *, num_outputs: Normalised(num_outputs))
    experiment = checked("training.accumulate=3", "training.batch_size=4", model="accumulated")
    assert experiment.static.accumulate == 3


def test_layer_decay_reaches_the_layers_of_the_model():
    experiment = checked("optimizer.layer_decay=0.5")
    depths = dict(experiment.static.groups.depths)
    assert [depths[f"Dense_{i}/kernel"] for i in range(3)] == [2, 1, 0]
    assert experiment.hyperparams.wrappers.layer_decay == 0.5


def test_layer_decay_needs_a_model_that_declares_its_layers():
    register_model("orderless")(lambda *, num_outputs: Net(num_outputs))
    with pytest.raises(RunnerError, match=r"optimizer\.layer_decay: .* property layer_order"):
        checked("optimizer.layer_decay=0.5", model="orderless")


@pytest.mark.parametrize(
    ("kept", "copies"),
    [
        ([], 3),
        (["training.accumulate=2"], 4),  # the sum of the gradients
        (["training.ema_decay=0.9"], 4),
        (["training.ema_decay=0.9", "optimizer.lookahead.sync_period=5"], 5),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_it_is_built(kept, copies):
    # Parameters, gradients, momentum and averages, in 4 bytes of float32 each.
    gigabytes = copies * 4 * (64 * 2e6 + 2e6 + 2e6 * 2e6 + 2e6 + 2e6 * 10 + 10) / 2**30
    with pytest.raises(OutOfMemoryError, match=f"take {gigabytes:,.1f} GiB"):
        checked("model.hidden=[2000000,2000000]", *kept)


def test_the_slow_parameters_must_be_reached_within_the_run():
    """Lookahead may synchronise once, at the last update."""
    run = "model=linear", "training.steps=22"
    assert checked(*run, "optimizer.lookahead.sync_period=22").lengths.steps == 22
    with pytest.raises(ConfigError, match=r"sync_period: 23 is longer than the run of 22 steps"):
        checked(*run, "optimizer.lookahead.sync_period=23")


def test_another_scheduler_replaces_the_schedule_and_nothing_else():
    experiment = checked("task=check", "task.compare=[one_cycle]")
    (scheduler,) = experiment.config.task.settings.compare
    other = experiment.under(scheduler)
    alone = checked("scheduler=one_cycle")
    assert other.config.scheduler.option == "one_cycle"
    assert jax.tree.structure(other.hyperparams) == jax.tree.structure(alone.hyperparams)
    pairs = zip(jax.tree.leaves(other.hyperparams), jax.tree.leaves(alone.hyperparams), strict=True)
    assert all((one == two).all() for one, two in pairs)
    for part in ("device", "dataset", "lengths", "static", "plan", "placement"):
        assert getattr(other, part) is getattr(experiment, part)
    assert experiment.config.scheduler.option == "triangular"


def test_saves_and_evaluations_at_cycle_ends_are_those_of_the_schedule_that_is_applied():
    ends = "checkpoint.cycle_ends=true", "training.eval_at_cycle_end=true"
    steps = "scheduler.step_size_up=50", "task=check", "task.compare=[triangular2,one_cycle]"
    experiment = checked(*ends, *steps)
    same, one_cycle = map(experiment.under, experiment.config.task.settings.compare)
    assert (
        list(same.plan.cycle_ends) == list(same.plan.evaluated_ends) == list(range(100, 881, 100))
    )
    assert list(one_cycle.plan.cycle_ends) == list(one_cycle.plan.evaluated_ends) == [880]


@pytest.mark.parametrize(
    ("checkpoint", "training", "saves", "evaluates"),
    [
        ({"cycle_ends": True}, {}, True, False),
        ({"cycle_ends": True, "every": None}, {}, False, False),
        ({"every": None}, {"snapshots": True}, True, False),
        ({"cycle_ends": False}, {"eval_at_cycle_end": True}, False, True),
        ({"cycle_ends": False}, {}, False, False),
    ],
)
def test_the_host_intervenes_at_cycle_ends_only_for_what_is_wanted_there(
    default, checkpoint, training, saves, evaluates
):
    config = replace(
        default.config,
        checkpoint=replace(default.config.checkpoint, **checkpoint),
        training=replace(default.config.training, **training),
    )
    plain = replace(default, config=config, plan=replace(default.plan, cycle_ends=()))
    plan = plain.under(config.scheduler).plan
    assert list(plan.cycle_ends) == ([220, 440, 660, 880] if saves else [])
    assert list(plan.evaluated_ends) == ([220, 440, 660, 880] if evaluates else [])


@pytest.fixture(scope="module")
def default():
    return checked("model=linear")


def test_the_settings_of_training_and_augmentation_reach_the_experiment():
    experiment = checked(
        "model=linear",
        "training.patience=3",
        "training.min_delta=0.125",
        "training.on_divergence=back_off",
        "training.dispatch=step",
        "training.chunk=7",
        "augmentation={crop_padding: 2, flip: true, cutout: 3, mixup: 0.5, cutmix: 0.25}",
    )
    stopping, augmentation = experiment.hyperparams.stopping, experiment.augmentation
    assert (int(stopping.patience), float(stopping.threshold)) == (2, 0.125)
    assert not stopping.is_relative
    assert experiment.static.backs_off
    assert (experiment.plan.dispatch, experiment.plan.chunk) == ("step", 7)
    assert (augmentation.crop_padding, augmentation.flip, augmentation.cutout_size) == (2, True, 3)
    assert (float(augmentation.mixup), float(augmentation.cutmix)) == (0.5, 0.25)


def test_nothing_of_a_run_is_changed_unless_it_is_wanted(default):
    assert default.augmentation is None
    assert default.hyperparams.stopping is None
    assert not default.static.backs_off
    assert default.snapshot_ends == ()


def test_lengths_are_shares_of_the_run(default):
    training = replace(
        default.config.training, steps=200, eval_every="25%", log_every="5%", batch_size=64
    )
    lengths = resolve_lengths(training, examples=64, save_every="50%")
    assert lengths == Lengths(64, 1, 200, 50, 10, 100)
    for every in (None, "auto"):
        assert resolve_lengths(training, examples=64, save_every=every).save_every is None
    with pytest.raises(ConfigError, match=r"^training\.batch_size: 64 is more than the 63 "):
        resolve_lengths(training, examples=63)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_initial_parameters_are_drawn_by_the_seed_of_the_run(seed):
    experiment = build(configure(f"seed={seed}", "model=linear"), jax.devices()[0])
    state = experiment.initial_state()
    key, _ = jax.random.split(jax.random.key(seed))
    inputs = jnp.zeros((1, 8, 8, 1))
    drawn = experiment.static.model.init(key, inputs, train=False)["params"]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), state.params, drawn)


def test_an_epoch_has_as_many_steps_as_it_has_updates(default):
    training = replace(default.config.training, epochs=3, accumulate=4, batch_size=16)
    lengths = resolve_lengths(training, examples=200)
    assert (lengths.examples_per_step, lengths.steps_per_epoch, lengths.steps) == (64, 3, 9)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_order_of_examples_is_that_of_the_runs_seed(seed):
    batches = checked(f"seed={seed}").feed().batches(0, 30, capacity=30)
    expected = batch_indices(seed=seed, first_step=0, count=30, batch_size=64, n=1437)
    np.testing.assert_array_equal(batches, expected)


@pytest.mark.parametrize("objective", ["classification", "regression", "next_token"])
def test_data_that_do_not_suit_an_objective_are_an_error_of_its_section(objective):
    targets = {
        "classification": Targets((2,)),
        "regression": Targets((), 3),
        "next_token": Targets(),
    }
    with pytest.raises(ConfigError, match=rf"^objective: {objective} needs .*; choose "):
        build_objective(Choice(objective, objective, {}), targets[objective])


def test_a_plugin_that_cycles_the_momentum_needs_an_optimizer_with_one():
    register_scheduler("cycles_momentum")(Momentum)
    assert checked(scheduler="cycles_momentum").schedule.cycles_momentum
    for overrides, says in (
        (["optimizer.momentum=null"], "optimizer.momentum is null; set optimizer.momentum (0.9)"),
        (["optimizer=adagrad"], "the optimizer adagrad has no momentum to cycle; choose one"),
    ):
        with pytest.raises(ConfigError) as raised:
            checked(*overrides, scheduler="cycles_momentum")
        assert str(raised.value).startswith(f"scheduler: cycles the momentum, but {says}")
