"""Powers stay precise where float32 powers are off by a quarter."""

from decimal import Context, Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.schedules import Polynomial
from runner.schedules.numerics import Power, ldexp

EXACT = Context(prec=60, Emin=-(10**12), Emax=10**12)

split = jax.jit(Power.split)


def exact(base: float, exponent: int, whole: int) -> float:
    """base ** exponent / 2 ** whole."""
    power = EXACT.power(Decimal(base), Decimal(exponent))
    return float(EXACT.divide(power, EXACT.power(Decimal(2), Decimal(whole))))


@settings(max_examples=500, deadline=None)
@given(
    base=st.one_of(
        st.floats(2.0**-126, 1.0),
        st.floats(1.0, 2.0**127),
        st.integers(1, 2**53 - 1).map(lambda n: 1 - n * 2.0**-53),
        st.floats(-15, -1).map(lambda n: 1 - 10**n),
        st.floats(-15, -1).map(lambda n: 1 + 10**n),
    ),
    exponent=st.integers(0, 2**32 - 1),
)
def test_a_power_is_precise_for_every_base_and_exponent(base: float, exponent: int) -> None:
    excess, whole = (np.asarray(part) for part in split(Power(base), np.uint32(exponent)))
    if abs(whole) >= 1000:
        bits = abs(float(EXACT.divide(EXACT.ln(Decimal(base)), EXACT.ln(Decimal(2))))) * exponent
        assert bits > 999
    else:
        assert float(1 + excess) == pytest.approx(exact(base, exponent, int(whole)), rel=2e-7)
    assert -0.3 < excess < 0.42


def test_the_excess_is_precise_where_the_power_is_close_to_one() -> None:
    base, exponent = 1 - 1e-6, 3
    excess, whole = split(Power(base), np.uint32(exponent))
    assert int(whole) == 0
    expected = float(Decimal(base) ** 3 - 1)
    assert float(excess) == pytest.approx(expected, rel=1e-4)  # 2⁻³³ of one


def test_the_excess_is_precise_up_to_the_square_root_of_two() -> None:
    for base in (2**0.4999, 2**-0.4999, 1.2, 0.9):
        excess, whole = split(Power(base), np.uint32(1))
        assert int(whole) == 0
        assert float(excess) == pytest.approx(base - 1, rel=3e-7)


@pytest.mark.parametrize("exponent", [0, 1, 2**16, 2**31 - 1, 2**32 - 1])
def test_one_to_any_power_is_one_to_the_bit(exponent: int) -> None:
    excess, whole = split(Power(1.0), np.uint32(exponent))
    assert (float(excess), int(whole)) == (0.0, 0)


def test_powers_of_two_are_exact() -> None:
    for base, sign in ((0.5, -1), (2.0, 1), (0.25, -2)):
        excess, whole = split(Power(base), np.arange(100, dtype=np.uint32))
        np.testing.assert_array_equal(excess, np.zeros(100))
        np.testing.assert_array_equal(whole, sign * np.arange(100))


@pytest.mark.parametrize(
    "exponent", [1000, 2**16 - 1, 2**16, 2**16 + 3, 2**17 - 1, 2**17, 2**32 - 1]
)
def test_powers_of_two_far_out_of_the_range_of_float32_stay_there(exponent: int) -> None:
    """They saturate at 1,000, also where 16 bits cannot hold them."""
    for base, sign in ((0.5, -1), (2.0, 1)):
        excess, whole = split(Power(base), np.uint32(exponent))
        assert (float(excess), int(whole)) == (0.0, sign * 1000)


def test_multiplying_by_a_power_of_two_rounds_nothing_and_saturates() -> None:
    whole = np.arange(-1200, 1200, dtype=np.int32)
    for value in (1.0, 0.7, 1.3e-38, 1e30):
        start = np.float32(value)
        got = np.asarray(jax.jit(ldexp)(jnp.full(whole.shape, start), whole))
        with np.errstate(over="ignore"):
            expected = np.ldexp(np.float64(start), whole).astype(np.float32)
        normal = (expected >= np.finfo(np.float32).tiny) & np.isfinite(expected)
        np.testing.assert_array_equal(got[normal], expected[normal])
        assert (got[expected < np.finfo(np.float32).tiny] < np.finfo(np.float32).tiny).all()
        assert np.isinf(got[np.isinf(expected)]).all()


@pytest.mark.parametrize("power", [1.0, 3.0, 0.5, 1.5])
def test_the_power_of_a_ratio_is_as_precise_as_a_float32_where_it_does_not_underflow(
    power: float,
) -> None:
    """Within 1.25 units in the last place, of 2⁻²³; the square of its root has twice the error."""
    steps = np.arange(1000)
    found = np.asarray(Polynomial(base_lr=1.0, total_iters=1000, power=power)(steps))
    ratios = [EXACT.divide(Decimal(1000 - step), Decimal(1000)) for step in steps.tolist()]
    for rate, ratio in zip(found.tolist(), ratios, strict=True):
        right = EXACT.power(ratio, Decimal(power))
        assert abs(Decimal(rate) / right - 1) < Decimal(1.25 * 2**-23)
