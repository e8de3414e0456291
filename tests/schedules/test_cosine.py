"""Cosine, CosineRestarts and WarmupCosine by hand, and where they depart from PyTorch's."""

import math
from decimal import Context, Decimal
from itertools import accumulate
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import (
    Case,
    Drawn,
    against_closed_form,
    against_pytorch,
    at_steps,
    random_gamma,
    random_length,
    random_places,
    random_top,
    random_tops,
)

from runner.errors import ConfigError
from runner.schedules import Cosine, CosineRestarts, WarmupCosine

LAST = 2**31 - 1
EXACT = Context(prec=50, Emin=-(10**12), Emax=10**12)


def draw_cosine(random: np.random.Generator) -> Drawn:
    high, T_max = random_tops(random), int(random.integers(1, 300))
    low = random.uniform(0, 1) * min(high)
    ours = Cosine(base_lr=high, T_max=T_max, eta_min=low, periodic=True)
    return against_closed_form(
        ours, lambda s, o: s.CosineAnnealingLR(o, T_max, low), high, 5 * T_max
    )


def draw_restarts_exactly(random: np.random.Generator) -> Drawn:
    base, T_0 = random_top(random), random_length(random)
    T_mult = int(random.choice([1, 1, 2, 3]))
    decay = float(random.choice([1, 0.5, random_gamma(random)]))
    warmup = random_length(random, T_0) - 1
    low = base * random.uniform(0, 1) * int(random.integers(0, 2))
    sizes = [T_0 * T_mult**i for i in range(33 if T_mult > 1 else 1)]
    ends = list(accumulate(sizes))

    def exact(step: int) -> float:
        if T_mult == 1:
            cycle, done, size = step // T_0, step % T_0, T_0
        else:
            cycle = sum(end <= step for end in ends)
            done, size = step - sum(sizes[:cycle]), sizes[cycle]
        peak = max(float(EXACT.multiply(Decimal(base), EXACT.power(Decimal(decay), cycle))), low)
        if done < warmup:
            return low + (peak - low) * (done / warmup)
        return half_cosine(low, peak, size - done, size)

    ours = CosineRestarts(
        base_lr=base, T_0=T_0, T_mult=T_mult, eta_min=low, cycle_decay=decay, warmup=warmup
    )
    seams = [warmup, T_0, T_0 + warmup, *(end for end in ends[1:9] if end <= LAST)]
    return at_steps(ours, random_places(random, seams), exact)


def draw_restarts(random: np.random.Generator) -> Drawn:
    high, T_0, T_mult = random_tops(random), int(random.integers(1, 60)), int(random.integers(1, 4))
    low = random.uniform(0, 1) * min(high)
    ours = CosineRestarts(base_lr=high, T_0=T_0, T_mult=T_mult, eta_min=low)
    return against_pytorch(
        ours, lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0, T_mult, low), high, 500
    )


CASES = {
    "cosine": Case(
        Cosine,
        {"base_lr": 0.5, "T_max": 30},
        {"base_lr": 0.7, "T_max": 7, "eta_min": 0.1, "periodic": True},
        lists=("base_lr", "eta_min"),
        formulas=(
            {"base_lr": 0.7, "T_max": 17, "eta_min": 0.1},
            {"base_lr": 0.7, "T_max": 17, "eta_min": 0.1, "periodic": True},
        ),
        pytorch={"cosine": draw_cosine},
    ),
    "cosine_restarts": Case(
        CosineRestarts,
        {"base_lr": 0.5, "T_0": 10},
        {
            "base_lr": 0.7,
            "T_0": 3,
            "T_mult": 2,
            "eta_min": 0.1,
            "cycle_decay": 0.6,
            "warmup": 2,
        },
        lists=("base_lr", "eta_min"),
        cyclic=True,
        formulas=(
            {"base_lr": 0.7, "T_0": 7, "eta_min": 0.1},
            {"base_lr": 0.7, "T_0": 5, "T_mult": 2, "eta_min": 0.1},
            {"base_lr": 0.7, "T_0": 8, "eta_min": 0.1, "cycle_decay": 0.5, "warmup": 3},
        ),
        exact=draw_restarts_exactly,
        pytorch={"cosine_restarts": draw_restarts},
    ),
    "warmup_cosine": Case(
        WarmupCosine,
        {"max_lr": 0.5, "warmup_steps": 5, "total_steps": 30},
        {"base_lr": 0.1, "max_lr": 0.7, "warmup_steps": 9, "total_steps": 40, "eta_min": 0.01},
        lists=("base_lr", "max_lr", "eta_min"),
        formulas=(
            {"base_lr": 0.1, "max_lr": 0.7, "warmup_steps": 9, "total_steps": 41},
            {"base_lr": 0.1, "max_lr": 0.7, "warmup_steps": 0, "total_steps": 41},
        ),
    ),
}

values = jax.jit(lambda schedule, steps: (schedule(steps), schedule.cycle(steps)))
tops = st.floats(1e-6, 10)
shares = st.one_of(st.just(0.0), st.floats(1e-9, 1))
anywhere = st.one_of(st.integers(0, LAST), st.floats(0, 31).map(lambda bits: int(2**bits) - 1))


def half_cosine(low: float, high: float, left: int, length: int) -> float:
    """As a sine squared, which float64 has all digits of; ``left`` of ``length`` are to go."""
    return low + (high - low) * math.sin(math.pi / 2 * (left / length)) ** 2


def test_it_falls_once_and_stays_low() -> None:
    """PyTorch's CosineAnnealingLR rises again after T_max."""
    schedule = Cosine(base_lr=1, T_max=4, eta_min=0.5)
    middle = [0.5 + 0.25 * (1 + math.cos(math.pi * step / 4)) for step in (1, 2, 3)]
    np.testing.assert_allclose(schedule(np.arange(9)), [1, *middle, *[0.5] * 5], rtol=1e-6)
    assert float(schedule(LAST)) == 0.5


@pytest.mark.oracle
def test_pytorch_rises_again(live: Any) -> None:
    expected, _ = live(lambda s, optimizer: s.CosineAnnealingLR(optimizer, 4), [1.0], 9)
    assert expected[8, 0] == pytest.approx(1)
    periodic = Cosine(base_lr=1, T_max=4, periodic=True)
    np.testing.assert_allclose(periodic(np.arange(9)), expected[:, 0], rtol=1e-6, atol=1e-9)


@pytest.mark.oracle
def test_pytorch_rises_to_an_eta_min_above_the_rate(live: Any) -> None:
    expected, _ = live(lambda s, optimizer: s.CosineAnnealingLR(optimizer, 4, 3.0), [1.0], 5)
    assert expected[4, 0] == pytest.approx(3)
    with pytest.raises(ConfigError, match=r"^eta_min: 3.0 is above base_lr"):
        Cosine(base_lr=1.0, T_max=4, eta_min=3.0)


def test_a_periodic_cosine_ends_a_cycle_at_every_low_point() -> None:
    schedule = Cosine(base_lr=1, T_max=3, periodic=True)
    np.testing.assert_array_equal(schedule.cycle(np.arange(10)), [0, 0, 0, 1, 1, 1, 1, 1, 1, 2])
    assert list(schedule.cycle_ends(15)) == [3, 9, 15]
    np.testing.assert_array_equal(schedule(np.array([3, 9, 15])), [0, 0, 0])
    np.testing.assert_array_equal(schedule(np.array([0, 6, 12])), [1, 1, 1])
    assert list(Cosine(base_lr=1, T_max=3).cycle_ends(15)) == []


@settings(max_examples=300, deadline=None)
@given(
    top=tops,
    share=shares,
    T_max=st.one_of(st.integers(1, 100), st.integers(1, LAST)),
    steps=st.lists(anywhere, min_size=20, max_size=20),
    periodic=st.booleans(),
)
def test_a_cosine_is_precise_near_its_low_points_too(
    top: float, share: float, T_max: int, steps: list[int], periodic: bool
) -> None:
    low = share * top
    near = [T_max - 2, T_max - 1, T_max, T_max + 1, 3 * T_max - 1, 3 * T_max + 1]
    steps = np.clip([*steps, *near], 0, LAST).tolist()
    schedule = Cosine(base_lr=top, T_max=T_max, eta_min=low, periodic=periodic)
    rates, cycles = map(np.asarray, values(schedule, np.array(steps)))
    for step, rate, cycle in zip(steps, rates, cycles, strict=True):
        r = step % (2 * T_max) if periodic else min(step, T_max)
        assert rate == pytest.approx(half_cosine(low, top, abs(T_max - r), T_max), rel=5e-7)
        assert cycle == ((step + T_max) // (2 * T_max) if periodic else 0)


def test_restarts_by_hand() -> None:
    schedule = CosineRestarts(base_lr=1, T_0=2, T_mult=2, eta_min=0)
    eighth = [(1 + math.cos(math.pi * r / 4)) / 2 for r in range(4)]
    np.testing.assert_allclose(schedule(np.arange(7)), [1, 0.5, *eighth, 1], rtol=1e-6)
    np.testing.assert_array_equal(schedule.cycle(np.arange(7)), [0, 0, 1, 1, 1, 1, 2])
    assert list(schedule.cycle_ends(100)) == [2, 6, 14, 30, 62]
    assert list(CosineRestarts(base_lr=1, T_0=3).cycle_ends(10)) == [3, 6, 9]


def test_every_restart_is_at_base_lr_exactly_if_peaks_do_not_decay() -> None:
    """The sum of ``eta_min`` and the width rounds to another number for some of these bounds."""
    tops, shares = np.random.default_rng(0).uniform(0, 1, (2, 200))
    schedule = CosineRestarts(base_lr=tops.tolist(), T_0=3, eta_min=(tops * shares).tolist())
    for step in (0, 3, 9):
        np.testing.assert_array_equal(schedule(step), tops.astype(np.float32))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    top=tops,
    share=shares,
    T_0=st.one_of(st.integers(1, 10), st.integers(1, 10**5), st.integers(1, LAST)),
    T_mult=st.one_of(st.integers(1, 3), st.integers(1, LAST)),
    steps=st.lists(anywhere, min_size=20, max_size=20),
)
def test_restarts_are_counted_exactly_to_the_last_step(
    top: float, share: float, T_0: int, T_mult: int, steps: list[int]
) -> None:
    low = share * top
    sizes = [T_0 * T_mult**i for i in range(40 if T_mult > 1 else 1)]
    ends = [end for end in accumulate(sizes) if end <= LAST]
    near = [end + offset for end in ends for offset in (-1, 0, 1)]
    steps = np.clip([*steps, 0, LAST, *near], 0, LAST).tolist()
    steps += [0] * (128 - len(steps))  # of one shape, so that all examples share a program
    schedule = CosineRestarts(base_lr=top, T_0=T_0, T_mult=T_mult, eta_min=low)
    rates, cycles = map(np.asarray, values(schedule, np.array(steps)))
    for step, rate, cycle in zip(steps, rates, cycles, strict=True):
        if T_mult == 1:
            expected, done, size = step // T_0, step % T_0, T_0
        else:
            expected = sum(end <= step for end in ends)
            done, size = step - sum(sizes[:expected]), sizes[expected]
        assert cycle == expected, step
        assert rate == pytest.approx(half_cosine(low, top, size - done, size), rel=1e-6), step
    if T_mult > 1:
        assert list(schedule.cycle_ends(LAST)) == ends


def timm(t: int, cycle_mul: int = 1, **chosen: Any) -> float:
    """``CosineLRScheduler._get_lr`` of timm 1.0 with ``warmup_prefix`` and ``k_decay`` left out.

    The cycle is found by counting, as ``floor(log(...))`` there is one too low at some restarts.
    """
    if t < chosen["warmup_t"]:
        step = (chosen["base"] - chosen["warmup_lr_init"]) / chosen["warmup_t"]
        return chosen["warmup_lr_init"] + t * step
    i, t_curr, t_i = 0, t, chosen["t_initial"]
    while t_curr >= t_i:
        i, t_curr, t_i = i + 1, t_curr - t_i, t_i * cycle_mul
    lr_max, lr_min = chosen["base"] * chosen["cycle_decay"] ** i, chosen["lr_min"]
    return lr_min + 0.5 * (lr_max - lr_min) * (1 + math.cos(math.pi * t_curr / t_i))


@pytest.mark.parametrize("cycle_mul", [1, 2])
def test_decayed_restarts_with_a_warm_up_are_those_of_timm(cycle_mul: int) -> None:
    warmed = {"base": 0.8, "t_initial": 20, "lr_min": 0.1, "cycle_decay": 0.7, "warmup_t": 6}
    chosen = {"base_lr": 0.8, "T_0": 20, "T_mult": cycle_mul, "eta_min": 0.1, "cycle_decay": 0.7}
    expected = [timm(t, cycle_mul, **warmed, warmup_lr_init=0.1) for t in range(120)]
    got = np.asarray(CosineRestarts(**chosen, warmup=6)(np.arange(120)), np.float64)
    plain = np.asarray(CosineRestarts(**chosen)(np.arange(120)), np.float64)
    # timm warms up once: from the second cycle on, it is ours without a warm-up.
    np.testing.assert_allclose(got[:20], expected[:20], rtol=5e-7)
    np.testing.assert_allclose(plain[6:], expected[6:], rtol=5e-7)


def test_every_cycle_warms_up_to_its_own_peak() -> None:
    schedule = CosineRestarts(base_lr=8, T_0=8, eta_min=0, cycle_decay=0.5, warmup=4)
    falling = [8 * (1 + math.cos(math.pi * r / 8)) / 2 for r in range(4, 8)]
    first = [0, 2, 4, 6, *falling]
    expected = [*first, *(rate / 2 for rate in first), *(rate / 4 for rate in first)]
    np.testing.assert_allclose(schedule(np.arange(24)), expected, rtol=2e-7)
    assert list(schedule.cycle_ends(24)) == [8, 16, 24]


def test_a_peak_stays_at_eta_min_where_it_would_fall_below() -> None:
    """timm's cosine then rises, from the decayed peak to ``lr_min``."""
    schedule = CosineRestarts(base_lr=1, T_0=2, eta_min=0.25, cycle_decay=0.5)
    rates = np.asarray(schedule(np.arange(4, 20)))
    np.testing.assert_array_equal(rates, np.full(16, np.float32(0.25)))


def test_a_warm_up_and_a_cosine_by_hand_and_as_in_optax() -> None:
    chosen = {"base_lr": 0.1, "max_lr": 0.9, "warmup_steps": 4, "total_steps": 12, "eta_min": 0.3}
    got = WarmupCosine(**chosen)(np.arange(15))
    climb = [0.1, 0.3, 0.5, 0.7, 0.9]
    descent = [0.3 + 0.3 * (1 + math.cos(math.pi * step / 8)) for step in range(1, 9)]
    np.testing.assert_allclose(got, [*climb, *descent, 0.3, 0.3], rtol=1e-6)
    theirs = optax.warmup_cosine_decay_schedule(0.1, 0.9, 4, 12, 0.3)
    np.testing.assert_allclose(got, [float(theirs(step)) for step in range(15)], rtol=1e-5)


def test_without_a_warm_up_the_descent_begins_at_once() -> None:
    schedule = WarmupCosine(max_lr=0.8, warmup_steps=0, total_steps=6, eta_min=0.2)
    cosine = Cosine(base_lr=0.8, T_max=6, eta_min=0.2)
    np.testing.assert_array_equal(schedule(np.arange(9)), cosine(np.arange(9)))


@settings(max_examples=200, deadline=None)
@given(
    top=tops,
    bottom=st.tuples(shares, shares),
    sizes=st.tuples(st.integers(1, 10**6), st.integers(1, 10**9)),
    places=st.lists(st.floats(0, 1.1), min_size=20, max_size=20),
)
def test_a_warm_up_and_a_cosine_are_precise_everywhere(
    top: float, bottom: tuple[float, float], sizes: tuple[int, int], places: list[float]
) -> None:
    base, low, (warmup, rest) = bottom[0] * top, bottom[1] * top, sizes
    total = warmup + rest
    steps = [int(place * total) for place in places] + [0, warmup, warmup + 1, total - 1, total]
    schedule = WarmupCosine(
        base_lr=base, max_lr=top, warmup_steps=warmup, total_steps=total, eta_min=low
    )
    for step, rate in zip(steps, np.asarray(schedule(np.array(steps))), strict=True):
        if step <= warmup:
            expected = base + (top - base) * (step / warmup)
        else:
            expected = half_cosine(low, top, total - min(step, total), rest)
        assert rate == pytest.approx(expected, rel=5e-7, abs=0)


@pytest.mark.parametrize(
    ("factory", "change", "key"),
    [
        (Cosine, {"T_max": 0}, "T_max"),
        (Cosine, {"T_max": "100%"}, "T_max"),
        (Cosine, {"T_max": 5, "eta_min": 2}, "eta_min"),
        (Cosine, {"T_max": 5, "eta_min": -1}, "eta_min"),
        (Cosine, {"T_max": 5, "periodic": 1}, "periodic"),
        (Cosine, {"T_max": 5, "base_lr": [1, 2], "eta_min": [0, 0, 0]}, "eta_min"),
        (CosineRestarts, {"T_0": 0}, "T_0"),
        (CosineRestarts, {"T_0": 5, "T_mult": 0}, "T_mult"),
        (CosineRestarts, {"T_0": 5, "T_mult": 1.5}, "T_mult"),
        (CosineRestarts, {"T_0": 5, "cycle_decay": 0}, "cycle_decay"),
        (CosineRestarts, {"T_0": 5, "cycle_decay": 1.1}, "cycle_decay"),
        (CosineRestarts, {"T_0": 5, "warmup": 5}, "warmup"),
        (CosineRestarts, {"T_0": 5, "warmup": -1}, "warmup"),
        (WarmupCosine, {"max_lr": 0.5, "warmup_steps": 1, "total_steps": 9}, "base_lr"),
        (WarmupCosine, {"max_lr": 2, "warmup_steps": 9, "total_steps": 9}, "warmup_steps"),
        (WarmupCosine, {"max_lr": 2, "warmup_steps": -1, "total_steps": 9}, "warmup_steps"),
        (
            WarmupCosine,
            {"max_lr": 2, "warmup_steps": 1, "total_steps": 9, "eta_min": 3},
            "eta_min",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(factory: Any, change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        factory(**{"base_lr": 1} | change)
    assert caught.value.key == key
