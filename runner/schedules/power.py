"""Powers with exponents up to 2³², to float32's full precision, for any base and without float64.

``gamma ** t`` in float32 is off by 28% at t = 10⁷ for a gamma near 1: the rounding error of
log(gamma) is multiplied by t. Here log2(gamma) is a fixed-point number of 64 fractional bits and
the product with t is integer arithmetic, so that t may be as large as a step can be.
"""

import math
from dataclasses import dataclass
from decimal import Context, Decimal

import jax
import jax.numpy as jnp
import numpy as np

from runner.schedules.base import fill, pytree

FRACTION_DIGITS = 4  # of 16 bits each; a rounding error of 2⁻⁶⁵ times 2³² is still nothing
DIGITS = FRACTION_DIGITS + 1
WHOLE_LIMIT = 1000  # exponents of two saturate here, far outside float32 and far inside int32

# 2**x - 1 = x * (ln 2 + x (ln 2)²/2! + ...): eight terms leave 6e-10 relative error for |x| ≤ 1/2.
_SERIES = [math.log(2) ** k / math.factorial(k) for k in range(1, 9)]


@pytree
@dataclass(frozen=True, init=False, eq=False)
class Power:
    """``base ** exponent`` for integer exponents from 0 to 2³² - 1, as a pytree of arrays.

    ``log2_digits`` ([5] uint32, lowest first) are the base-2¹⁶ digits of |log2(base)| · 2⁶⁴;
    ``direction`` (int32) is -1 for a base below one and 1 otherwise.
    """

    log2_digits: np.ndarray | jax.Array
    direction: np.ndarray | jax.Array

    def __init__(self, base: float) -> None:
        scaled = _scaled_log2(float(base))
        digits = [abs(scaled) >> (16 * place) & 0xFFFF for place in range(DIGITS)]
        direction = -1 if scaled < 0 else 1
        fill(
            self, log2_digits=np.array(digits, np.uint32), direction=np.asarray(direction, np.int32)
        )

    def split(self, exponent: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``base ** exponent`` as ``(1 + excess) * 2 ** whole``, with -0.3 < excess < 0.42.

        The excess (float32) keeps its own precision where the power is close to one, and the
        whole exponent (int32, saturating at ±1000) can be added to others before it is applied.
        """
        whole, fraction = _times(jnp.asarray(self.log2_digits), exponent)
        direction = jnp.asarray(self.direction)
        # A fraction of a half or more, read as a signed number, is the distance to the next whole.
        nearest = jnp.minimum(whole + (fraction >> 31), np.uint32(WHOLE_LIMIT)).astype(jnp.int32)
        signed = jax.lax.bitcast_convert_type(fraction, jnp.int32).astype(jnp.float32)
        remainder = signed * np.float32(2.0**-32)
        excess = _two_to_minus_one(remainder * direction.astype(jnp.float32))
        return excess, nearest * direction


def times_two_to(value: jax.Array, whole: jax.Array) -> jax.Array:
    """``value * 2 ** whole`` without rounding; out of float32's range it ends in 0 or infinity.

    The power is assembled from bits: XLA has no ldexp, and its ``pow`` need not be exact. Two
    factors reach every normal result from a value below 2¹²⁶.
    """
    half = jnp.clip(whole, -252, 254) >> 1
    rest = jnp.clip(whole, -252, 254) - half
    return value * _two_to(half) * _two_to(rest)


def _scaled_log2(base: float) -> int:
    """log2(base) · 2⁶⁴ to the nearest integer; decimal's logarithm is correctly rounded."""
    context = Context(prec=60)
    log2 = context.divide(context.ln(Decimal(base)), context.ln(Decimal(2)))
    return int(context.to_integral_value(context.multiply(log2, Decimal(2**64))))


def _times(digits: jax.Array, exponent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The fixed-point product: its whole part and the first 32 bits of its fraction, uint32.

    Long multiplication in base 2¹⁶, in which every digit product fits 32 bits and every column,
    four halves of such products and a carry, does too.
    """
    low, high = exponent & 0xFFFF, exponent >> 16
    by_low = [digits[..., place] * low for place in range(DIGITS)]
    by_high = [digits[..., place] * high for place in range(DIGITS)]
    carry = jnp.zeros_like(exponent)
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


def _two_to_minus_one(x: jax.Array) -> jax.Array:
    """``2**x - 1`` for |x| ≤ 1/2, precise also where it is close to zero (Horner's scheme)."""
    total = jnp.full_like(x, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        total = total * x + np.float32(coefficient)
    return total * x


def _two_to(whole: jax.Array) -> jax.Array:
    """``2.0**whole`` for -126 ≤ whole ≤ 127: the exponent bits of a float32."""
    return jax.lax.bitcast_convert_type((whole + 127) << 23, jnp.float32)
