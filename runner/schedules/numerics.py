"""Precise arithmetic that schedules share: powers, ratios, interpolation between two bounds.

``gamma ** t`` in float32 is off by 28% at t = 10⁷ for a gamma near 1: the rounding error of
log(gamma) is multiplied by t. ``Power`` keeps log2(gamma) as a fixed-point number of 64 fractional
bits and multiplies it by t in integers, so t may be as large as a step can be.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from typing import Any

from etils import epy

from runner.pytree import Leaf, Pytree

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

FRACTION_DIGITS = 4  # of 16 bits each; a rounding error of 2⁻⁶⁵, times 2³², is negligible
DIGITS = FRACTION_DIGITS + 1
DIRECT_POWER = 2.0**-120  # smaller powers lose digits to underflow
MOST_CORRECTION = 80.0  # for a power that has underflowed to zero; exp overflows from 89 on
EXPONENT_LIMIT = 1000  # exponents of two saturate here, far outside float32 and far inside int32

# 2**x - 1 = x * (ln 2 + x (ln 2)²/2! + ...): eight terms leave 6e-10 relative error for |x| ≤ 1/2.
_EXP2_SERIES = [math.log(2) ** k / math.factorial(k) for k in range(1, 9)]
# (1 - cos πx)/2 = t (π²/4 - t (π⁴/48 - ...)) with t = x²: eight terms leave 1e-13 for |x| ≤ 1/2.
_COSINE_SERIES = [
    (-1) ** (k + 1) * math.pi ** (2 * k) / (2 * math.factorial(2 * k)) for k in range(1, 9)
]


class Span(Pytree):
    """``low + (high - low) * share``, as a pytree of float32 arrays.

    The width is computed before rounding to float32: the difference of rounded bounds that are
    close to each other has lost digits, which matters for shares above one.
    """

    def __init__(self, low: Any, high: Any) -> None:
        """``low`` and ``high``: numbers, or lists [groups]; a number applies to all groups."""
        lows, highs = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
        self.low = np.asarray(lows, np.float32)
        self.high = np.asarray(highs, np.float32)
        self.width = np.asarray(highs - lows, np.float32)

    def at(self, share: jax.Array, exponent: jax.Array | None = None) -> jax.Array:
        """The value at ``share * 2 ** exponent`` (an exponent of None is 0), float32.

        All terms have the same sign, so nothing cancels. A share of one gives exactly ``high``,
        and a share below one never exceeds it. ``exponent`` is applied last, so that a share too
        small for float32 still counts if its product with the width is not.
        """
        low, high, width = self.low, self.high, self.width
        if exponent is None:
            value, share = low + width * share, share
        else:
            value, share = low + ldexp(width * share, exponent), ldexp(share, exponent)
        return jnp.where(share < 1, jnp.minimum(value, high), jnp.where(share == 1, high, value))


class Power(Pytree):
    """``base ** (n / root)`` for integers n from 0 to 2³² - 1, as a pytree of arrays.

    ``log2_digits`` ([5] uint32, lowest first) are the base-2¹⁶ digits of |log2(base)| / root · 2⁶⁴;
    ``direction`` (int32) is -1 for a base below one and 1 otherwise.
    """

    def __init__(self, base: float, root: int = 1) -> None:
        scaled = _scaled_log2(float(base), root)
        digits = [abs(scaled) >> (16 * place) & 0xFFFF for place in range(DIGITS)]
        self.log2_digits = np.array(digits, np.uint32)
        self.direction = np.asarray(-1 if scaled < 0 else 1, np.int32)

    def split(self, n: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The power as (excess, exponent): ``(1 + excess) * 2 ** exponent``, -0.3 < excess < 0.42.

        The excess (float32) is precise even where the power is close to one, and the exponent
        (int32, saturating at ±1000) can be added to others before it is applied.
        """
        whole, fraction = _times(self.log2_digits, n)
        # Read as a signed number, a fraction of 1/2 or more is the distance to the next integer.
        nearest = jnp.minimum(whole + (fraction >> 31), np.uint32(EXPONENT_LIMIT))
        signed = jax.lax.bitcast_convert_type(fraction, jnp.int32).astype(jnp.float32)
        remainder = signed * np.float32(2.0**-32)
        excess = exp2m1(remainder * self.direction.astype(jnp.float32))
        return excess, nearest.astype(jnp.int32) * self.direction


def ldexp(value: Leaf, exponent: jax.Array) -> jax.Array:
    """``value * 2 ** exponent`` without rounding; 0 or infinity outside the range of float32.

    The power of two is assembled from bits, as XLA's ``pow`` need not be exact, and applied in two
    factors, which reach every normal result from a value below 2¹²⁶.
    """
    half = jnp.clip(exponent, -252, 254) >> 1
    rest = jnp.clip(exponent, -252, 254) - half
    return value * _exp2(half) * _exp2(rest)


def ratio(covered: Leaf, length: Leaf) -> jax.Array:
    """``covered / length`` in float32, of integers or of float32 numbers; exactly 1 if equal."""
    return covered.astype(jnp.float32) / length.astype(jnp.float32)


def exp2m1(x: jax.Array) -> jax.Array:
    """``2**x - 1`` for |x| ≤ 1/2, precise even where it is close to zero (Horner's scheme)."""
    total = jnp.full_like(x, _EXP2_SERIES[-1])
    for coefficient in reversed(_EXP2_SERIES[:-1]):
        total = total * x + np.float32(coefficient)
    return total * x


def half_cosine(share: jax.Array) -> jax.Array:
    """``(1 - cos(π share)) / 2`` for shares from 0 to 1, with a relative error of at most 3e-7.

    The textbook formula cancels near zero and has no correct digits below a share of 2e-4. A
    series in ``share²`` does not cancel, needs no sine, and is the same arithmetic on every
    device. Above one half, the curve is one minus its mirror image.
    """
    near = jnp.minimum(share, 1 - share)
    squared = near * near
    total = jnp.full_like(squared, _COSINE_SERIES[-1])
    for coefficient in reversed(_COSINE_SERIES[:-1]):
        total = total * squared + np.float32(coefficient)
    return jnp.where(share <= 0.5, squared * total, 1 - squared * total)


def power_of_ratio(
    covered: Leaf, length: Leaf, power: Leaf, rest: Leaf
) -> tuple[jax.Array, jax.Array]:
    """``(covered / length) ** (power + rest)``; ``rest`` is the rounding error of ``power``.

    Returns (value, exponent), which stand for ``value * 2 ** exponent``, as the result may be far
    below the range of float32. A power multiplies the relative error of its base, so the rounding
    error of the quotient is computed exactly, from the remainder of the division, and corrected to
    first order, as is that of the power.
    """
    share = ratio(covered, length)
    error = _remainder(covered, length, share) / jnp.maximum(covered.astype(jnp.float32), 1)
    log = jnp.log(jnp.where(covered > 0, share, 1))
    direct = jnp.power(share, power)
    # Where the result underflows, its square root need not.
    mantissa, exponent = _mantissa_and_exponent(jnp.power(share, power / 2))
    holds = direct > DIRECT_POWER
    value = jnp.where(holds, direct, mantissa * mantissa)
    correction = jnp.exp(jnp.minimum(power * error + rest * log, MOST_CORRECTION))
    return value * correction, jnp.where(holds, 0, 2 * exponent)


def _scaled_log2(base: float, root: int) -> int:
    """log2(base) / root · 2⁶⁴, to the nearest integer; decimal's logarithm is correctly rounded."""
    context = Context(prec=60)
    log2 = context.divide(context.ln(Decimal(base)), context.ln(Decimal(2)))
    log2 = context.divide(log2, Decimal(root))
    return int(context.to_integral_value(context.multiply(log2, Decimal(2**64))))


def _times(digits: Leaf, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The fixed-point product: its integer part and the first 32 bits of its fraction, uint32.

    Long multiplication in base 2¹⁶: the product of two digits fits in 32 bits, and so does a
    column, the sum of four 16-bit halves of such products and a carry.
    """
    low, high = n & 0xFFFF, n >> 16
    by_low = [digits[..., place] * low for place in range(DIGITS)]
    by_high = [digits[..., place] * high for place in range(DIGITS)]
    carry = jnp.zeros_like(n)
    column: list[jax.Array] = []
    for place in range(DIGITS):
        total = carry + (by_low[place] & 0xFFFF)
        if place >= 1:
            total = total + (by_low[place - 1] >> 16) + (by_high[place - 1] & 0xFFFF)
        if place >= 2:
            total = total + (by_high[place - 2] >> 16)
        column.append(total & 0xFFFF)
        carry = total >> 16
    beyond = carry + (by_low[-1] >> 16) + by_high[-1] + (by_high[-2] >> 16)
    whole = jnp.where(beyond > 0, np.uint32(0xFFFF), column[FRACTION_DIGITS])
    fraction = column[FRACTION_DIGITS - 1] << 16 | column[FRACTION_DIGITS - 2]
    return whole, fraction


def _exp2(exponent: jax.Array) -> jax.Array:
    """``2.0**exponent`` for -126 ≤ exponent ≤ 127: the exponent bits of a float32."""
    return jax.lax.bitcast_convert_type((exponent + 127) << 23, jnp.float32)


def _mantissa_and_exponent(value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A non-negative float32 as a mantissa, from 1/2 to below 1, and an exponent of two."""
    bits = jax.lax.bitcast_convert_type(value, jnp.int32)
    mantissa = jax.lax.bitcast_convert_type(bits & 0x007FFFFF | 0x3F000000, jnp.float32)
    normal = value >= 2.0**-126
    return jnp.where(normal, mantissa, 0), jnp.where(normal, (bits >> 23) - 126, 0)


def _remainder(covered: jax.Array, length: jax.Array, share: jax.Array) -> jax.Array:
    """``covered - length * share``, in products of 12-bit numbers, which are exact."""
    (c, c_rest), (n, n_rest) = _as_floats(covered), _as_floats(length)
    n_high, share_high = _high(n), _high(share)
    n_low, share_low = n - n_high, share - share_high
    left = c - n_high * share_high - n_high * share_low - n_low * share_high - n_low * share_low
    return left + (c_rest - n_rest * share)


def _as_floats(number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A uint32 below 2³¹ as the sum of two float32 numbers."""
    near = number.astype(jnp.float32)
    rest = jax.lax.bitcast_convert_type(number - near.astype(jnp.uint32), jnp.int32)
    return near, rest.astype(jnp.float32)


def _high(value: jax.Array) -> jax.Array:
    """The leading 12 bits of a float32."""
    bits = jax.lax.bitcast_convert_type(value, jnp.uint32) & np.uint32(0xFFFFF000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
