"""What every schedule promises, whatever its formula."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import runner.schedules
from runner.errors import ConfigError
from runner.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    CyclicLR,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Sequence,
    Step,
    WarmupCosine,
    triangular_lr,
)

LAST = 2**31 - 1
MODULES = [found.name for found in pkgutil.iter_modules(runner.schedules.__path__)]


def in_sequence(warmup: Any, cycles: Any) -> Sequence:
    return Sequence({"warmup": warmup, "cycles": cycles}, {"warmup": 9, "cycles": None})


# name → (factory, two settings that differ in every number, the keys that take lists)
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "constant": (Constant, {"base_lr": 0.1}, {"base_lr": 0.2}, ("base_lr",)),
    "cyclic": (
        CyclicLR,
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 7, "cycle_momentum": True},
        {
            "base_lr": 0.2,
            "max_lr": 0.7,
            "step_size_up": 11,
            "step_size_down": 4,
            "mode": "exp_range",
            "gamma": 0.99,
            "cycle_momentum": True,
        },
        ("base_lr", "max_lr"),
    ),
    "triangular_lr": (
        triangular_lr,
        {"base_lr": 0.1, "max_lr": 0.5, "step_size": 7},
        {"base_lr": 0.2, "max_lr": 0.7, "step_size": 11, "last_epoch": 3},
        ("base_lr", "max_lr"),
    ),
    "one_cycle": (
        OneCycle,
        {"max_lr": 0.5, "total_steps": 40},
        {
            "max_lr": 0.7,
            "total_steps": 31,
            "pct_start": 0.25,
            "anneal_strategy": "linear",
            "three_phase": True,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
            "base_momentum": 0.1,
            "max_momentum": 0.2,
        },
        ("max_lr",),
    ),
    "cosine": (
        Cosine,
        {"base_lr": 0.5, "T_max": 30},
        {"base_lr": 0.7, "T_max": 7, "eta_min": 0.1, "periodic": True},
        ("base_lr", "eta_min"),
    ),
    "cosine_restarts": (
        CosineRestarts,
        {"base_lr": 0.5, "T_0": 10},
        {"base_lr": 0.7, "T_0": 3, "T_mult": 2, "eta_min": 0.1},
        ("base_lr", "eta_min"),
    ),
    "warmup_cosine": (
        WarmupCosine,
        {"max_lr": 0.5, "warmup_steps": 5, "total_steps": 30},
        {"base_lr": 0.1, "max_lr": 0.7, "warmup_steps": 9, "total_steps": 40, "eta_min": 0.01},
        ("base_lr", "max_lr", "eta_min"),
    ),
    "linear": (
        Linear,
        {"base_lr": 0.5},
        {"base_lr": 0.7, "start_factor": 1.0, "end_factor": 0.0, "total_iters": 20},
        ("base_lr",),
    ),
    "polynomial": (
        Polynomial,
        {"base_lr": 0.5, "total_iters": 30},
        {"base_lr": 0.7, "total_iters": 20, "power": 2.5},
        ("base_lr",),
    ),
    "exponential": (
        Exponential,
        {"base_lr": 0.5, "gamma": 0.9},
        {"base_lr": 0.7, "gamma": 1.01},
        ("base_lr",),
    ),
    "step": (
        Step,
        {"base_lr": 0.5, "step_size": 10},
        {"base_lr": 0.7, "step_size": 7, "gamma": 0.5},
        ("base_lr",),
    ),
    "multistep": (
        MultiStep,
        {"base_lr": 0.5, "milestones": [5, 9]},
        {"base_lr": 0.7, "milestones": [1, 30], "gamma": 0.5},
        ("base_lr",),
    ),
    "sequence": (
        in_sequence,
        {"warmup": Linear(base_lr=0.1), "cycles": CyclicLR(step_size_up=4)},
        {
            "warmup": Linear(base_lr=0.2, total_iters=9),
            "cycles": CyclicLR(mode="triangular2", step_size_up=3),
        },
        (),
    ),
}
STEPS = np.arange(60)
everywhere = pytest.mark.parametrize("name", CASES)


def values(schedule: Any, steps: Any) -> tuple[jax.Array, ...]:
    found = schedule(steps), schedule.cycle(steps)
    return (*found, schedule.momentum(steps)) if schedule.cycles_momentum else found


def one_and_other(name: str) -> tuple[Any, Any]:
    factory, one, other, _ = CASES[name]
    return factory(**one), factory(**other)


@everywhere
def test_only_numbers_differ_and_so_nothing_is_compiled_twice(name: str) -> None:
    traced = []

    @jax.jit
    def compute(schedule: Any, step: jax.Array) -> tuple[jax.Array, ...]:
        traced.append(step)
        return values(schedule, step)

    for schedule in one_and_other(name):
        compute(schedule, jnp.int32(5))
    assert len(traced) == 1
    leaves = jax.tree.leaves(one_and_other(name))
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)


@everywhere
def test_stacked_lanes_equal_each_schedule_alone(name: str) -> None:
    lanes = one_and_other(name)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)
    together = jax.jit(jax.vmap(values, in_axes=(0, None)))(stacked, STEPS)
    alone = [jax.jit(values)(lane, STEPS) for lane in lanes]
    for part, column in enumerate(together):
        np.testing.assert_array_equal(column, np.stack([np.asarray(lane[part]) for lane in alone]))


@everywhere
def test_scan_and_single_steps_give_the_values_of_a_call_for_all(name: str) -> None:
    for schedule in one_and_other(name):
        together = np.asarray(schedule(STEPS))
        assert (together.dtype, together.shape) == (np.float32, STEPS.shape)
        _, scanned = jax.lax.scan(lambda s, _, f=schedule: (s + 1, f(s)), 0, length=len(STEPS))
        np.testing.assert_allclose(scanned, together, rtol=3e-7, atol=1e-38)
        single = [float(schedule(int(step))) for step in STEPS[:7]]
        np.testing.assert_allclose(single, together[:7], rtol=3e-7, atol=1e-38)


@everywhere
def test_values_are_float32_whatever_jax_is_set_to(name: str) -> None:
    for schedule in one_and_other(name):
        with jax.numpy_dtype_promotion("strict"):
            plain = values(schedule, np.arange(9))
        with jax.enable_x64(True):
            wide = values(schedule, np.arange(9))
        assert [value.dtype for value in plain[:2]] == [np.float32, np.int32]
        for one, other in zip(plain, wide, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@everywhere
def test_a_list_gives_each_group_the_rates_of_a_schedule_of_its_own(name: str) -> None:
    factory, chosen, other, lists = CASES[name]
    for settings in (chosen, other):
        listed = [key for key in lists if key in settings]
        if not listed:
            continue
        # Some lists and some numbers: the first key's rates differ, the others' may not.
        rates = {key: [settings[key], settings[key] * 1.25] for key in listed}
        together = factory(**settings | rates)
        assert together(3).shape == (2,)
        got = jax.vmap(together)(STEPS)
        for group in range(2):
            alone = factory(**settings | {key: rates[key][group] for key in listed})
            np.testing.assert_allclose(got[:, group], alone(STEPS), rtol=3e-7, atol=1e-38)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case[3]) > 1])
def test_lists_that_differ_in_length_are_refused_with_both_counts(name: str) -> None:
    factory, settings, _, (first, second, *_) = CASES[name]
    with pytest.raises(ConfigError, match=rf"^{second}: 3 rates, but {first} has 2; "):
        factory(**settings | {first: [0.5, 0.5], second: [0.5] * 3})


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3]])
def test_a_bad_rate_in_a_list_is_named_with_its_place(name: str) -> None:
    factory, settings, _, (first, *_) = CASES[name]
    with pytest.raises(ConfigError, match=rf"^{first}\[1\]: -0.5 is not "):
        factory(**settings | {first: [0.5, -0.5]})
    with pytest.raises(ConfigError, match=rf"^{first}: the list is empty"):
        factory(**settings | {first: []})


@everywhere
def test_every_step_to_the_last_has_a_rate_and_a_cycle(name: str) -> None:
    for schedule in one_and_other(name):
        rates, cycles, *_ = values(schedule, np.array([0, 10**6, 2**24 + 1, LAST]))
        grows = name == "exponential" and float(schedule(1)) > float(schedule(0))
        assert grows or np.isfinite(rates).all()
        assert (np.asarray(rates) >= 0).all()
        assert (np.diff(cycles) >= 0).all()


@everywhere
def test_the_cycle_counts_the_ends_that_are_behind(name: str) -> None:
    for schedule in one_and_other(name):
        ends = schedule.cycle_ends(60)
        assert all(type(end) is int for end in ends)
        behind = [len(schedule.cycle_ends(step)) for step in range(1, 61)]
        if name == "one_cycle":  # there is no second one
            behind = [0] * 60
        np.testing.assert_array_equal(schedule.cycle(np.arange(1, 61)), behind)


@pytest.mark.parametrize(
    "name", ["constant", "cosine", "linear", "polynomial", "exponential", "step", "multistep"]
)
def test_a_schedule_without_cycles_is_in_cycle_zero_and_sets_no_momentum(name: str) -> None:
    schedule, _ = one_and_other(name)
    np.testing.assert_array_equal(schedule.cycle(STEPS), np.zeros(60))
    assert schedule.cycle(STEPS).dtype == np.int32
    assert list(schedule.cycle_ends(LAST)) == []
    assert not schedule.cycles_momentum
    with pytest.raises(ValueError, match="no momentum"):
        schedule.momentum(0)


@everywhere
def test_steps_that_are_none_are_refused(name: str) -> None:
    schedule, _ = one_and_other(name)
    for method in (schedule, schedule.cycle):
        with pytest.raises(TypeError, match="integer"):
            method(1.0)
        with pytest.raises(ValueError, match="steps go from 0 to 2147483647"):
            method(-1)


@everywhere
def test_it_is_an_optax_learning_rate(name: str) -> None:
    schedule, _ = one_and_other(name)
    tx = optax.sgd(learning_rate=schedule)
    params = jnp.zeros(())
    state = tx.init(params)
    for step in range(3):
        updates, state = jax.jit(tx.update)(jnp.ones(()), state, params)
        np.testing.assert_allclose(-updates, schedule(step), rtol=3e-7)


@everywhere
def test_a_tree_of_it_can_hold_anything_and_names_its_leaves(name: str) -> None:
    schedule, _ = one_and_other(name)
    emptied = jax.tree.map(lambda leaf: object(), schedule)
    assert jax.tree.structure(emptied) == jax.tree.structure(schedule)
    for path, _ in jax.tree_util.tree_leaves_with_path(schedule):
        assert jax.tree_util.keystr(path, simple=True, separator="/")


def test_making_them_starts_no_backend() -> None:
    code = "import test_protocol as t; [t.one_and_other(name) for name in t.CASES]"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"JAX_PLATFORMS": "no_such_platform", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_the_documentation_are_true(module: str) -> None:
    found = importlib.import_module(f"runner.schedules.{module}")
    results = doctest.testmod(found)
    assert results.failed == 0
    assert results.attempted or module in ("base", "numerics")
