"""CyclicLR by hand: cycle boundaries, modes, scale_fn, momentum, and its behaviour as a pytree."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from schedule_cases import Case, Drawn, against_pytorch, random_gamma, random_momenta, random_tops

from runner.errors import ConfigError
from runner.registry import register_scale_fn, schedulers
from runner.schedules import CyclicLR

LAST = 2**31 - 1

CYCLE = {"base_lr": 0.1, "max_lr": 0.7, "step_size_up": 5, "step_size_down": 12}
MOMENTUM = {"cycle_momentum": True, "base_momentum": 0.7, "max_momentum": 0.9}


def draw_from_pytorch(random: np.random.Generator) -> Drawn:
    high = random_tops(random)
    base = [rate * random.uniform(0, 1) for rate in high]
    chosen = {
        "step_size_up": int(random.integers(1, 200)),
        "step_size_down": int(random.integers(1, 200)),
        "mode": str(random.choice(["triangular", "triangular2", "exp_range"])),
        "gamma": random_gamma(random),
        **random_momenta(random),
    }
    ours = CyclicLR(base_lr=base, max_lr=high, **chosen, cycle_momentum=True)
    return against_pytorch(ours, lambda s, o: s.CyclicLR(o, base, high, **chosen), high, 1000)


def draw_without_momentum(random: np.random.Generator) -> Drawn:
    high, up, down = random_tops(random), int(random.integers(1, 200)), int(random.integers(1, 200))
    ours = CyclicLR(base_lr=0.0, max_lr=high, step_size_up=up, step_size_down=down)

    def theirs(s: Any, o: Any) -> Any:
        return s.CyclicLR(o, 0.0, high, up, down, cycle_momentum=False)

    return against_pytorch(ours, theirs, high, 1000)


CASES = {
    "cyclic": Case(
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
        lists=("base_lr", "max_lr"),
        cyclic=True,
        formulas=(
            {**CYCLE, **MOMENTUM},
            {**CYCLE, **MOMENTUM, "mode": "triangular2", "last_epoch": 3},
            {**CYCLE, "mode": "exp_range", "gamma": 0.97, "last_epoch": 3},
            {**CYCLE, "mode": "triangular2", "scale_fn": lambda x: 1 / x},
            {**CYCLE, "scale_fn": lambda x: 1 / (1 + x), "scale_mode": "iterations"},
        ),
        pytorch={"cyclic": draw_from_pytorch, "cyclic, no momentum": draw_without_momentum},
    )
}


def rates(steps: Any, **settings: Any) -> list[float]:
    return np.asarray(CyclicLR(**settings)(np.asarray(steps))).tolist()


def test_halves_of_different_length_repeat_in_every_cycle() -> None:
    # Up 2, down 3, peaks at 2, 7, 12: braintools has only the first.
    got = rates(range(13), base_lr=0, max_lr=6, step_size_up=2, step_size_down=3)
    np.testing.assert_allclose(got, [0, 3, 6, 4, 2, 0, 3, 6, 4, 2, 0, 3, 6], rtol=1e-6)


def test_triangular2_halves_the_amplitude_and_not_the_base() -> None:
    # The documentation's example has 0.0055 and 0.00325 for these peaks; its formula gives these.
    got = rates([5, 15, 25], base_lr=1e-4, max_lr=1e-3, step_size_up=5, mode="triangular2")
    np.testing.assert_allclose(got, [1e-3, 5.5e-4, 3.25e-4], rtol=1e-6)


def test_exp_range_decays_with_the_position_and_not_within_the_cycle() -> None:
    got = rates([1, 2, 3, 5, 6], base_lr=0, max_lr=1, step_size_up=2, mode="exp_range", gamma=0.5)
    np.testing.assert_allclose(got, [0.25, 0.25, 0.0625, 2**-6, 2**-6], rtol=1e-6)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cycle_starts_and_peaks_are_exact_to_the_last_position(mode: str) -> None:
    up, down, base, top = 12_345, 67_891, 0.1, 0.7
    schedule = CyclicLR(base_lr=base, max_lr=top, step_size_up=up, step_size_down=down, mode=mode)
    starts = np.arange(0, LAST - up, up + down)
    starts = starts[:: len(starts) // 500]
    np.testing.assert_array_equal(schedule(starts), np.full(len(starts), base, np.float32))
    peaks = schedule(starts + up)
    if mode == "triangular2":
        assert float(peaks[0]) == np.float32(top)
    else:  # gamma is 1
        np.testing.assert_array_equal(peaks, np.full(len(starts), top, np.float32))


def test_momentum_cycles_inversely_to_the_rate_and_reaches_its_bounds() -> None:
    schedule = CyclicLR(base_lr=0, max_lr=1, step_size_up=4, cycle_momentum=True)
    got = schedule.momentum(np.arange(9))
    np.testing.assert_allclose(
        got, [0.9, 0.875, 0.85, 0.825, 0.8, 0.825, 0.85, 0.875, 0.9], rtol=1e-6
    )
    assert (got[0], got[4]) == (np.float32(0.9), np.float32(0.8))


def test_a_negative_scale_takes_the_momentum_above_its_upper_bound() -> None:
    bounds = {"cycle_momentum": True, "base_momentum": 0.25, "max_momentum": 0.5}
    schedule = CyclicLR(step_size_up=2, scale_fn=lambda cycle: -cycle, **bounds)
    # max_momentum - (max_momentum - base_momentum) * triangle * scale, with scales of -1 and -2.
    expected = [0.5, 0.625, 0.75, 0.625, 0.5, 0.75, 1.0, 0.75, 0.5]
    np.testing.assert_array_equal(schedule.momentum(np.arange(9)), expected)


def test_momentum_is_cycled_only_on_request() -> None:
    schedule = CyclicLR()
    assert not schedule.cycles_momentum
    with pytest.raises(ValueError, match="cycle_momentum=True"):
        schedule.momentum(0)


def test_last_epoch_is_the_position_of_the_first_update() -> None:
    settings = {"step_size_up": 7, "step_size_down": 4, "mode": "exp_range", "gamma": 0.99}
    fresh, shifted = CyclicLR(**settings), CyclicLR(**settings, last_epoch=10)
    steps = np.arange(50)
    np.testing.assert_array_equal(shifted(steps), fresh(steps + 10))
    np.testing.assert_array_equal(shifted.cycle(steps), (steps + 10) // 11)
    assert float(CyclicLR(last_epoch=LAST)(LAST)) == float(CyclicLR()((2**32 - 2) % 4000))


def test_the_cycle_is_right_where_a_float_floor_is_wrong() -> None:
    for total in range(2, 400):
        schedule = CyclicLR(step_size_up=1, step_size_down=total - 1)
        steps = np.array([k * total + d for k in (1, 2, 3, LAST // total - 1) for d in (-1, 0)])
        np.testing.assert_array_equal(schedule.cycle(steps), steps // total)


@pytest.mark.parametrize(
    ("settings", "steps", "ends"),
    [
        ({"step_size_up": 2, "step_size_down": 3}, 15, [5, 10, 15]),
        ({"step_size_up": 2, "step_size_down": 3}, 4, []),
        ({"step_size_up": 2, "step_size_down": 3, "last_epoch": 4}, 11, [1, 6, 11]),
        ({"step_size_up": 2, "step_size_down": 3, "last_epoch": 5}, 11, [5, 10]),
    ],
)
def test_cycle_ends_are_where_the_rate_is_back_at_base_lr(
    settings: dict[str, int], steps: int, ends: list[int]
) -> None:
    schedule = CyclicLR(**settings)
    assert list(schedule.cycle_ends(steps)) == ends
    low = np.flatnonzero(np.asarray(schedule(np.arange(1, steps + 1))) == np.float32(1e-3)) + 1
    assert low.tolist() == ends


def test_cycle_ends_of_a_long_run_take_no_memory() -> None:
    ends = CyclicLR(step_size_up=1).cycle_ends(LAST)
    assert len(ends) == LAST // 2
    assert ends[-1] == LAST - 1


def test_scale_fn_counts_cycles_from_one_or_positions_from_zero() -> None:
    settings = {"base_lr": 0.0, "max_lr": 1.0, "step_size_up": 2}
    halving = rates([2, 6, 10], **settings, scale_fn=lambda x: 1 / 2.0 ** (x - 1))
    assert halving == [1, 0.5, 0.25]
    by_position = rates([2, 6, 10], **settings, scale_fn="1 / x", scale_mode="iterations")
    np.testing.assert_allclose(by_position, [1 / 2, 1 / 6, 1 / 10], rtol=1e-6)


def test_scale_fn_overrides_the_mode_and_scale_mode_is_ignored_without_it() -> None:
    plain = rates(range(30), step_size_up=3)
    overridden = rates(range(30), step_size_up=3, scale_fn="1", mode="triangular2")
    np.testing.assert_allclose(overridden, plain, rtol=2e-7)  # another program may differ by an ulp
    assert rates(range(30), step_size_up=3, scale_mode="iterations") == plain
    decayed = rates(range(30), step_size_up=3, mode="triangular2", scale_mode="iterations")
    assert decayed == rates(range(30), step_size_up=3, mode="triangular2")


def test_scale_fn_may_be_the_name_of_a_registered_function() -> None:
    register_scale_fn("cyclic_test_third")(lambda cycle: 1 / 3**cycle)
    got = rates([1, 3], base_lr=0, max_lr=9, step_size_up=1, scale_fn="cyclic_test_third")
    np.testing.assert_allclose(got, [3, 1], rtol=1e-6)
    with pytest.raises(ConfigError, match="cyclic_test_fourth"):
        CyclicLR(scale_fn="cyclic_test_fourth")


def test_an_unresolved_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^step_size_up: '4ep'"):
        CyclicLR(step_size_up="4ep")  # type: ignore[arg-type]


def test_all_modes_and_numbers_share_one_pytree_structure_and_one_compilation() -> None:
    traced = []

    @jax.jit
    def rate(schedule: CyclicLR, step: jax.Array) -> jax.Array:
        traced.append(step)
        return schedule(step)

    schedules = [
        CyclicLR(),
        CyclicLR(base_lr=0, max_lr=3, step_size_up=7, step_size_down=900, last_epoch=5),
        CyclicLR(mode="triangular2"),
        CyclicLR(mode="exp_range", gamma=0.9999),
        CyclicLR(mode="exp_range", gamma=1.0001, base_momentum=0, max_momentum=0.5),
    ]
    for schedule in schedules:
        rate(schedule, jnp.int32(100))
    assert len(traced) == 1
    assert len({jax.tree.structure(schedule) for schedule in schedules}) == 1
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(schedules))
    with_text = {jax.tree.structure(CyclicLR(max_lr=top, scale_fn="1 / x")) for top in (0.1, 0.2)}
    assert len(with_text) == 1


def test_stacked_lanes_equal_each_schedule_alone() -> None:
    lanes = [
        CyclicLR(cycle_momentum=True, mode=mode, gamma=gamma, step_size_up=up, last_epoch=up)
        for mode, gamma, up in (
            ("triangular", 1.0, 10),
            ("triangular2", 1.0, 33),
            ("exp_range", 0.9997, 2**20),
            ("exp_range", 1.00001, 71),
        )
    ]
    steps = np.arange(0, 10**6, 997)

    def values(schedule: CyclicLR, step: Any) -> tuple[jax.Array, ...]:
        return schedule(step), schedule.momentum(step), schedule.cycle(step)

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)
    together = jax.jit(jax.vmap(values, in_axes=(0, None)))(stacked, steps)
    alone = [jax.jit(values)(lane, steps) for lane in lanes]
    for part, column in enumerate(together):
        np.testing.assert_array_equal(column, np.stack([np.asarray(lane[part]) for lane in alone]))


def test_scan_and_jit_give_the_values_of_the_bare_call() -> None:
    schedule = CyclicLR(step_size_up=13, mode="exp_range", gamma=0.999)
    _, scanned = jax.lax.scan(lambda step, _: (step + 1, schedule(step)), 0, None, length=100)
    np.testing.assert_allclose(scanned, schedule(np.arange(100)), rtol=2e-7)


def test_every_kind_of_integer_is_a_step() -> None:
    schedule = CyclicLR(step_size_up=50)
    expected = np.float32(schedule(60))
    for step in (np.int64(60), np.uint8(60), np.int32(60), jnp.int32(60), jnp.uint32(60)):
        value = schedule(step)
        assert (value.dtype, value.shape, value) == (np.float32, (), expected)
    assert schedule(np.full((2, 3), 60)).shape == (2, 3)


@pytest.mark.parametrize("step", [1.0, True, np.float32(3)])
def test_a_step_that_is_not_an_integer_is_refused(step: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        CyclicLR()(step)


@pytest.mark.parametrize("step", [-1, 2**31, np.array([3, -2])])
def test_a_concrete_step_out_of_range_is_refused(step: Any) -> None:
    with pytest.raises(ValueError, match="steps go from 0 to 2147483647"):
        CyclicLR()(step)


def test_values_are_float32_in_every_configuration_of_jax() -> None:
    settings: dict[str, Any] = {"cycle_momentum": True, "mode": "exp_range", "gamma": 0.9}
    for more in ({}, {"scale_fn": "1 / (1 + 0.5 ** x)"}):
        schedule = CyclicLR(**settings, **more)
        with jax.numpy_dtype_promotion("strict"):
            plain = schedule(np.arange(9)), schedule.momentum(np.arange(9))
        with jax.enable_x64(True):
            wide = schedule(jnp.arange(9)), schedule.momentum(np.arange(9))
        for one, other in zip(plain, wide, strict=True):
            assert one.dtype == other.dtype == np.float32
            np.testing.assert_array_equal(one, other)


def test_it_is_an_optax_learning_rate() -> None:
    tx = optax.sgd(learning_rate=CyclicLR(base_lr=0.25, max_lr=1.25, step_size_up=2))
    params = jnp.zeros(())
    state = tx.init(params)
    used = []
    for _ in range(5):
        updates, state = jax.jit(tx.update)(jnp.ones(()), state, params)
        used.append(-float(updates))
    assert used == [0.25, 0.75, 1.25, 0.75, 0.25]


def test_the_registry_builds_it_and_prefixes_the_keys_of_errors() -> None:
    built = schedulers.build("cyclic", {"base_lr": 0.25, "max_lr": 1.25, "step_size_up": 2})
    assert float(built(2)) == 1.25
    with pytest.raises(ConfigError, match=r"^scheduler\.gamma: "):
        schedulers.build("cyclic", {"gamma": 0})


def test_its_leaves_may_be_any_objects_and_have_names() -> None:
    schedule = CyclicLR()
    emptied = jax.tree.map(lambda leaf: object(), schedule)
    assert jax.tree.structure(emptied) == jax.tree.structure(schedule)
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(schedule)
    ]
    assert "lr/high" in paths
    assert "step_size_up" in paths


def test_construction_starts_no_backend() -> None:
    code = "from runner.schedules import CyclicLR; CyclicLR(mode='exp_range', gamma=0.9)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"JAX_PLATFORMS": "no_such_platform"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
