"""Half a cosine without cancellation, and precise powers of quotients."""

import math
from fractions import Fraction

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.schedules.numerics import half_cosine, ldexp, power_of_ratio

LAST = 2**31 - 1

curve = jax.jit(half_cosine)
power = jax.jit(lambda *arguments: ldexp(*power_of_ratio(*arguments)))


def test_half_a_cosine_is_precise_down_to_the_smallest_shares() -> None:
    shares = np.concatenate([np.linspace(0, 1, 200_001), 2.0 ** -np.arange(1.0, 60)])
    shares = shares.astype(np.float32)
    exact = np.array([math.sin(math.pi * float(share) / 2) ** 2 for share in shares])
    got = np.asarray(curve(shares)).astype(np.float64)
    inside = exact > 0
    assert np.abs(got[inside] / exact[inside] - 1).max() < 3e-7


def test_half_a_cosine_is_exact_at_its_ends_and_in_the_middle_and_stays_within() -> None:
    np.testing.assert_array_equal(curve(np.float32([0, 1])), [0, 1])
    np.testing.assert_allclose(curve(np.float32(0.5)), 0.5, rtol=1.2e-7)
    got = np.asarray(curve(np.linspace(0, 1, 100_001).astype(np.float32)))
    assert (got >= 0).all()
    assert (got <= 1).all()


@settings(max_examples=300, deadline=None)
@given(
    length=st.one_of(st.integers(1, 100), st.integers(1, LAST)),
    share=st.one_of(st.floats(0, 1), st.floats(-30, 0).map(lambda bits: 2**bits)),
    exponent=st.integers(1, 60),
)
def test_a_power_of_a_quotient_equals_exact_arithmetic(
    length: int, share: float, exponent: int
) -> None:
    covered = min(length, int(share * length))
    exact = Fraction(covered, length) ** exponent
    got = float(power(np.uint32(covered), np.uint32(length), np.float32(exponent), np.float32(0)))
    if exact < Fraction(2) ** -126:
        assert got <= 2.0**-126
    else:
        assert abs(Fraction(got) / exact - 1) <= Fraction(3, 10**7)
