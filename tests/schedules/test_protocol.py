"""The properties that all schedules have."""

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
from sampling import slow_except
from schedule_cases import LAST, discovered, errors

import runner.schedules
from runner.errors import ConfigError
from runner.registry import is_built_in, schedulers

MODULES = [found.name for found in pkgutil.iter_modules(runner.schedules.__path__)]

CASES = discovered()
STEPS = np.arange(60)
everywhere = pytest.mark.parametrize("name", CASES)
# One of each form, for what compiles several programs per schedule.
SAMPLE = ["cyclic", "one_cycle", "sequence"]
sampled = pytest.mark.parametrize("name", slow_except(SAMPLE, CASES))


def values(schedule: Any, steps: Any) -> tuple[jax.Array, ...]:
    found = schedule(steps), schedule.cycle(steps)
    return (*found, schedule.momentum(steps)) if schedule.cycles_momentum else found


def test_every_registered_schedule_has_a_case() -> None:
    built_in = {name for name in schedulers.names() if is_built_in(schedulers.get(name))}
    # A run replaces auto by its policy before schedules are built.
    assert set(CASES) == built_in - {"auto"}


@pytest.mark.slow
@everywhere
def test_schedules_that_differ_in_numbers_share_a_program(name: str) -> None:
    traced = []

    @jax.jit
    def compute(schedule: Any, step: jax.Array) -> tuple[jax.Array, ...]:
        traced.append(step)
        return values(schedule, step)

    for schedule in CASES[name].schedules():
        compute(schedule, jnp.int32(5))
    assert len(traced) == 1
    leaves = jax.tree.leaves(CASES[name].schedules())
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)


@sampled
def test_stacked_lanes_equal_each_schedule_alone(name: str) -> None:
    lanes = CASES[name].schedules()
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)
    together = jax.jit(jax.vmap(values, in_axes=(0, None)))(stacked, STEPS)
    alone = [jax.jit(values)(lane, STEPS) for lane in lanes]
    for part, column in enumerate(together):
        np.testing.assert_array_equal(column, np.stack([np.asarray(lane[part]) for lane in alone]))


@sampled
def test_scan_and_single_steps_equal_one_call_for_all_steps(name: str) -> None:
    for schedule in CASES[name].schedules():
        together = np.asarray(schedule(STEPS))
        assert (together.dtype, together.shape) == (np.float32, STEPS.shape)
        _, scanned = jax.lax.scan(lambda s, _, f=schedule: (s + 1, f(s)), 0, length=len(STEPS))
        np.testing.assert_allclose(scanned, together, rtol=3e-7, atol=1e-38)
        single = [float(schedule(int(step))) for step in STEPS[:7]]
        np.testing.assert_allclose(single, together[:7], rtol=3e-7, atol=1e-38)


@sampled
def test_values_are_float32_in_every_configuration_of_jax(name: str) -> None:
    for schedule in CASES[name].schedules():
        with jax.numpy_dtype_promotion("strict"):
            plain = values(schedule, np.arange(9))
        with jax.enable_x64(True):
            wide = values(schedule, np.arange(9))
        assert [value.dtype for value in plain[:2]] == [np.float32, np.int32]
        for one, other in zip(plain, wide, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@sampled
def test_a_list_gives_each_group_the_rates_of_a_separate_schedule(name: str) -> None:
    case = CASES[name]
    for settings in (case.one, case.other):
        listed = [key for key in case.lists if key in settings]
        if not listed:
            continue
        # Some lists and some numbers: the first key's rates differ, the others' may not.
        rates = {key: [settings[key], settings[key] * 1.25] for key in listed}
        together = case.factory(**settings | rates)
        assert together(3).shape == (2,)
        got = jax.vmap(together)(STEPS)
        for group in range(2):
            alone = case.factory(**settings | {key: rates[key][group] for key in listed})
            np.testing.assert_allclose(got[:, group], alone(STEPS), rtol=3e-7, atol=1e-38)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.lists) > 1])
def test_lists_that_differ_in_length_are_refused_with_both_counts(name: str) -> None:
    case = CASES[name]
    settings, (first, second, *_) = case.one, case.lists
    with pytest.raises(ConfigError, match=rf"^{second}: 3 rates, but {first} has 2; "):
        case.factory(**settings | {first: [0.5, 0.5], second: [0.5] * 3})


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.lists])
def test_a_bad_rate_in_a_list_is_named_with_its_place(name: str) -> None:
    case = CASES[name]
    settings, (first, *_) = case.one, case.lists
    with pytest.raises(ConfigError, match=rf"^{first}\[1\]: -0.5 is not "):
        case.factory(**settings | {first: [0.5, -0.5]})
    with pytest.raises(ConfigError, match=rf"^{first}: the list is empty"):
        case.factory(**settings | {first: []})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.exact])
def test_random_schedules_equal_exact_arithmetic_to_the_last_step(name: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        drawn = CASES[name].exact(random)
        assert errors(drawn)[0] <= drawn.bound, drawn.schedule


@pytest.mark.slow
@everywhere
def test_every_step_to_the_last_has_a_rate_and_a_cycle(name: str) -> None:
    for schedule in CASES[name].schedules():
        rates, cycles, *_ = values(schedule, np.array([0, 10**6, 2**24 + 1, LAST]))
        grows = name == "exponential" and float(schedule(9)) > float(schedule(0))
        assert grows or np.isfinite(rates).all()
        assert (np.asarray(rates) >= 0).all()
        assert (np.diff(cycles) >= 0).all()


@everywhere
def test_the_cycle_counts_the_past_cycle_ends(name: str) -> None:
    for schedule in CASES[name].schedules():
        ends = schedule.cycle_ends(60)
        assert all(type(end) is int for end in ends)
        behind = [len(schedule.cycle_ends(step)) for step in range(1, 61)]
        last = max(len(schedule.cycle_ends(LAST)) - 1, 0)  # none follows the last end
        behind = np.minimum(behind, last)
        np.testing.assert_array_equal(schedule.cycle(np.arange(1, 61)), behind)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.cyclic])
def test_a_schedule_without_cycles_is_in_cycle_zero_and_sets_no_momentum(name: str) -> None:
    schedule, _ = CASES[name].schedules()
    np.testing.assert_array_equal(schedule.cycle(STEPS), np.zeros(60))
    assert schedule.cycle(STEPS).dtype == np.int32
    assert list(schedule.cycle_ends(LAST)) == []
    assert not schedule.cycles_momentum
    with pytest.raises(ValueError, match="does not set the momentum"):
        schedule.momentum(0)


@everywhere
def test_its_base_rate_is_base_lr(name: str) -> None:
    case = CASES[name]
    for settings in (case.one, case.other):
        if "base_lr" in settings:
            base_rate = case.factory(**settings).base_rate
            np.testing.assert_array_equal(base_rate, np.float32(settings["base_lr"]))


@everywhere
def test_invalid_steps_are_refused(name: str) -> None:
    schedule, _ = CASES[name].schedules()
    for method in (schedule, schedule.cycle):
        with pytest.raises(TypeError, match="integer"):
            method(1.0)
        with pytest.raises(ValueError, match="steps go from 0 to 2147483647"):
            method(-1)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (runner.schedules.Constant(0.5), "Constant(base_lr=0.5)"),
        (runner.schedules.Constant(0.5, total_iters=3), "Constant(base_lr=0.5, total_iters=3)"),
        (runner.schedules.Step(step_size=7, base_lr=1), "Step(base_lr=1, step_size=7)"),
    ],
)
def test_its_repr_has_the_arguments_that_were_passed(schedule: Any, expected: str) -> None:
    assert repr(schedule) == expected


def test_the_repr_of_a_schedule_that_jax_has_rebuilt_has_its_leaves() -> None:
    rebuilt = jax.tree.map(float, runner.schedules.Constant(0.5, factor=0.5, total_iters=3))
    assert repr(rebuilt) == "Constant(base_lr=0.5, reduced=0.25, total_iters=3.0)"


def test_a_plugin_that_sets_the_momentum_must_say_which() -> None:
    class Silent(runner.schedules.Constant):
        cycles_momentum = True

    with pytest.raises(ValueError, match=r"^Silent does not implement _momentum"):
        Silent(0.5).momentum(0)


def test_which_schedules_are_constant_in_stages() -> None:
    staged = {name for name in CASES if getattr(schedulers.get(name), "staged", False)}
    assert staged == {"constant", "multistep", "piecewise", "reduce_on_plateau"}


def test_no_steps_have_no_rates() -> None:
    rates = runner.schedules.Constant(0.5)(np.zeros((0, 3), int))
    assert (rates.shape, rates.dtype) == ((0, 3), np.float32)


@everywhere
def test_it_is_an_optax_learning_rate(name: str) -> None:
    schedule, _ = CASES[name].schedules()
    tx = optax.sgd(learning_rate=schedule)
    params = jnp.zeros(())
    state = tx.init(params)
    for step in range(3):
        updates, state = jax.jit(tx.update)(jnp.ones(()), state, params)
        np.testing.assert_allclose(-updates, schedule(step), rtol=3e-7)


@everywhere
def test_its_leaves_may_be_any_objects_and_have_names(name: str) -> None:
    schedule, _ = CASES[name].schedules()
    emptied = jax.tree.map(lambda leaf: object(), schedule)
    assert jax.tree.structure(emptied) == jax.tree.structure(schedule)
    for path, _ in jax.tree_util.tree_leaves_with_path(schedule):
        assert jax.tree_util.keystr(path, simple=True, separator="/")


def test_construction_starts_no_backend() -> None:
    code = "import test_protocol as t; [case.schedules() for case in t.CASES.values()]"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"JAX_PLATFORMS": "no_such_platform", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_doctests_pass(module: str) -> None:
    found = importlib.import_module(f"runner.schedules.{module}")
    results = doctest.testmod(found)
    assert results.failed == 0
    assert results.attempted or module in ("base", "numerics")
