"""A span is exact at its ends, stays within them and loses nothing between close bounds."""

from fractions import Fraction

import jax
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.schedules.numerics import Span

at = jax.jit(Span.at)
bounds = (
    st.tuples(st.floats(0, 1e6), st.floats(0, 1e6))
    .map(sorted)
    .filter(lambda pair: all(bound == 0 or bound > 1e-30 for bound in pair))
)


@settings(max_examples=300, deadline=None)
@given(bounds=bounds, share=st.floats(0, 1, width=32))
@example(bounds=[0.66, 0.71], share=1 - 2.0**-24)  # the sum alone rounds to above 0.71
def test_values_stay_between_the_bounds_and_meet_them_at_the_ends(
    bounds: list[float], share: float
) -> None:
    low, high = (np.float32(bound) for bound in bounds)
    value, first, last = np.asarray(at(Span(*bounds), np.array([share, 0, 1], np.float32)))
    assert low <= value <= high
    assert (first, last) == (low, high)


def test_a_share_above_one_uses_the_bounds_before_rounding() -> None:
    low, high, share = 0.1, 0.1 + 1e-9, 1e6  # equal as float32 numbers
    expected = float(Fraction(low) + (Fraction(high) - Fraction(low)) * Fraction(share))
    value = float(at(Span(low, high), np.float32(share)))
    assert abs(value / expected - 1) < 2e-7


def test_a_share_too_small_for_float32_still_counts() -> None:
    value = at(Span(0, 1024.0), np.float32(1), np.int32(-135))
    assert float(value) == 2.0**-125
