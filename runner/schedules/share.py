"""How far a step has come on its way, and the curve of a cosine over it; exact at both ends."""

import math

import jax
import jax.numpy as jnp
import numpy as np

# (1 - cos πx)/2 = t (π²/4 - t (π⁴/48 - ...)) with t = x²: eight terms leave 1e-13 for |x| ≤ 1/2.
_SERIES = [(-1) ** (k + 1) * math.pi ** (2 * k) / (2 * math.factorial(2 * k)) for k in range(1, 9)]


def ratio(covered: jax.Array, length: jax.Array) -> jax.Array:
    """``covered / length`` of integers, or of what is float32 already; one is one to the bit."""
    return covered.astype(jnp.float32) / length.astype(jnp.float32)


def half_cosine(share: jax.Array) -> jax.Array:
    """``(1 - cos(π share)) / 2`` for shares from 0 to 1, to 3e-7 relative however small it is.

    The textbook's form subtracts numbers close to each other near zero, and has nothing left of
    them below a share of 2e-4. A series in ``share²`` has no such place, costs no sine, and is
    the same arithmetic on every device. Above one half the curve is one minus its mirror image.
    """
    near = jnp.minimum(share, 1 - share)
    squared = near * near
    total = jnp.full_like(squared, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        total = total * squared + np.float32(coefficient)
    return jnp.where(share <= 0.5, squared * total, 1 - squared * total)


def power_of_ratio(
    covered: jax.Array, length: jax.Array, power: jax.Array, rest: jax.Array
) -> jax.Array:
    """``(covered / length) ** (power + rest)`` of integers, ``rest`` what rounding took of a power.

    A power multiplies the rounding error of its base: that of the quotient is found exactly, from
    the remainder of the division, and made good to first order, as is that of the power itself.
    """
    share = ratio(covered, length)
    error = _remainder(covered, length, share) / jnp.maximum(covered.astype(jnp.float32), 1)
    log = jnp.log(jnp.where(covered > 0, share, 1))
    return jnp.power(share, power) * jnp.exp(power * error + rest * log)


def _remainder(covered: jax.Array, length: jax.Array, share: jax.Array) -> jax.Array:
    """``covered - length * share``; products of numbers of 12 bits and less are exact."""
    (c, c_rest), (n, n_rest) = _as_floats(covered), _as_floats(length)
    n_high, share_high = _high(n), _high(share)
    n_low, share_low = n - n_high, share - share_high
    left = c - n_high * share_high - n_high * share_low - n_low * share_high - n_low * share_low
    return left + (c_rest - n_rest * share)


def _as_floats(count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A uint32 below 2³¹ as the sum of two float32 numbers."""
    near = count.astype(jnp.float32)
    rest = jax.lax.bitcast_convert_type(count - near.astype(jnp.uint32), jnp.int32)
    return near, rest.astype(jnp.float32)


def _high(value: jax.Array) -> jax.Array:
    """The leading 12 bits of a float32."""
    bits = jax.lax.bitcast_convert_type(value, jnp.uint32) & np.uint32(0xFFFFF000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
