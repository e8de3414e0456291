"""CyclicLR against exact arithmetic: 5e-7 relative at every position to 2³¹ - 1."""

from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.schedules import CyclicLR

LAST = 2**31 - 1
TINY, HUGE = Decimal(2) ** -126, Decimal(2) ** 120
EXACT = Context(prec=60, Emin=-(10**12), Emax=10**12)

values = jax.jit(lambda schedule, steps: (schedule(steps), schedule.momentum(steps)))

sizes = st.one_of(st.integers(1, 50), st.integers(1, 10**6), st.integers(1, 10**9))
tops = st.floats(-6, 2).map(lambda power: 10**power)
shares = st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-9, 1))
gammas = st.one_of(
    st.floats(-15, -0.3).map(lambda power: 1 - 10**power),
    st.floats(-15, -3).map(lambda power: 1 + 10**power),
    st.floats(0.01, 1),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], np.ndarray]:
    """Settings, and 32 positions: the joints of some cycles, their neighbours, and any others."""
    top, floor = draw(tops), draw(st.one_of(st.just(0.8), st.floats(0.001, 0.9)))
    up, down = draw(sizes), draw(sizes)
    chosen = {
        "base_lr": top * draw(shares),
        "max_lr": top,
        "step_size_up": up,
        "step_size_down": down,
        "mode": draw(st.sampled_from(["triangular", "triangular2", "exp_range"])),
        "gamma": draw(gammas),
        "base_momentum": floor,
        "max_momentum": 0.9,
        "cycle_momentum": True,
    }
    anywhere = st.one_of(st.integers(0, LAST), st.floats(0, 31).map(lambda bits: int(2**bits) - 1))
    starts = [(up + down) * draw(st.integers(0, LAST // (up + down))) for _ in range(3)]
    joints = [start + offset for start in starts for offset in (-1, 0, 1, up - 1, up, up + 1)]
    positions = [LAST, *joints, *(draw(anywhere) for _ in range(13))]
    return chosen, np.clip(positions, 0, LAST)


def exactly(chosen: dict[str, Any], position: int) -> tuple[Decimal, Decimal, Decimal]:
    """The rate, the momentum and the scale; rational but for the division by the half's length."""
    up, down = chosen["step_size_up"], chosen["step_size_down"]
    cycle, r = divmod(position, up + down)
    triangle = Fraction(r, up) if r <= up else Fraction(up + down - r, down)
    scale = {
        "triangular": lambda: Decimal(1),
        "triangular2": lambda: EXACT.power(Decimal("0.5"), cycle),
        "exp_range": lambda: EXACT.power(Decimal(chosen["gamma"]), position),
    }[chosen["mode"]]()
    share = EXACT.multiply(EXACT.divide(triangle.numerator, triangle.denominator), scale)
    rate = between(chosen["base_lr"], chosen["max_lr"], share)
    return rate, between(chosen["max_momentum"], chosen["base_momentum"], share), scale


def between(first: float, last: float, share: Decimal) -> Decimal:
    width = EXACT.subtract(Decimal(last), Decimal(first))
    return EXACT.add(Decimal(first), EXACT.multiply(width, share))


def error(got: float, expected: Decimal) -> float:
    return float(abs(EXACT.divide(EXACT.subtract(Decimal(float(got)), expected), expected)))


@settings(max_examples=500, deadline=None)
@given(case=cases())
def test_rate_and_momentum_equal_exact_arithmetic(case: tuple[dict[str, Any], np.ndarray]) -> None:
    chosen, positions = case
    got = zip(*map(np.asarray, values(CyclicLR(**chosen), positions)), strict=True)
    for position, (rate, momentum) in zip(positions.tolist(), got, strict=True):
        exact_rate, exact_momentum, scale = exactly(chosen, position)
        if exact_rate < TINY:  # float32 has no normal number for it
            assert rate <= float(TINY)
        elif exact_rate < HUGE:
            assert error(rate, exact_rate) <= 5e-7, position
        if scale <= 1:
            assert error(momentum, exact_momentum) <= 5e-7, position


def test_momentum_does_not_round_above_its_bound() -> None:
    schedule = CyclicLR(
        base_lr=0,
        max_lr=1,
        step_size_up=1,
        step_size_down=17_239_848,
        mode="exp_range",
        gamma=0.9,
        cycle_momentum=True,
    )
    assert np.asarray(values(schedule, np.arange(1000))[1]).max() == np.float32(0.9)


@settings(max_examples=200, deadline=None)
@given(case=cases())
def test_the_rate_stays_within_its_bounds_and_cycles_start_exactly(
    case: tuple[dict[str, Any], np.ndarray],
) -> None:
    chosen, positions = case
    chosen["gamma"] = min(chosen["gamma"], 1.0)
    rates, momenta = map(np.asarray, values(CyclicLR(**chosen), positions))
    base, top = np.float32(chosen["base_lr"]), np.float32(chosen["max_lr"])
    assert ((base <= rates) & (rates <= top)).all()
    low, high = np.float32(chosen["base_momentum"]), np.float32(chosen["max_momentum"])
    assert ((low <= momenta) & (momenta <= high)).all()
    at_start = positions % (chosen["step_size_up"] + chosen["step_size_down"]) == 0
    assert (rates[at_start] == base).all()
    assert (momenta[at_start] == high).all()
