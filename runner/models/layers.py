"""Layers that several families share, for signals, images and volumes alike."""

from collections.abc import Callable
from itertools import chain
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

Norm = Literal["none", "batch", "layer"]
Activation = Literal["relu", "gelu", "tanh", "silu"]

# ``gelu`` is the tanh approximation (Hendrycks and Gimpel 2016).
ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "silu": nn.silu,
}
NORM_NAMES: dict[Norm, str] = {"batch": "BatchNorm", "layer": "LayerNorm"}

# As in PyTorch, whose momentum is the share of the new statistics: 0.1.
BATCH_NORM_MOMENTUM = 0.9
NORM_EPSILON = 1e-5


def with_channels(x: jax.Array) -> jax.Array:
    """[batch, length] → [batch, length, 1]; inputs with more axes have channels already."""
    return x[..., None] if x.ndim == 2 else x


def normalized(x: jax.Array, norm: Norm, *, train: bool) -> jax.Array:
    """Batch or layer normalisation of the last axis, with a scale and a bias, or ``x`` itself."""
    if norm == "batch":
        return batch_norm(x, train=train)
    return nn.LayerNorm(epsilon=NORM_EPSILON)(x) if norm == "layer" else x


def batch_norm(
    x: jax.Array,
    *,
    train: bool,
    momentum: float = BATCH_NORM_MOMENTUM,
    epsilon: float = NORM_EPSILON,
    zero_scale: bool = False,
) -> jax.Array:
    """Batch normalisation (Ioffe and Szegedy 2015) of the last axis.

    Args:
      train: normalises by the statistics of the batch and updates the running ones, with which
        evaluations normalise.
      momentum: the share of the running statistics that an update keeps.
      zero_scale: initialises the scale with 0 instead of 1.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        scale_init=nn.initializers.zeros if zero_scale else nn.initializers.ones,
    )(x)


def named_layers(kind: str, count: int, norm: Norm = "none") -> tuple[str | tuple[str, str], ...]:
    """flax's names of ``count`` layers of a kind, each with the normalisation that follows it."""
    if norm == "none":
        return tuple(f"{kind}_{i}" for i in range(count))
    return tuple((f"{kind}_{i}", f"{NORM_NAMES[norm]}_{i}") for i in range(count))


def halved(x: jax.Array) -> jax.Array:
    """Max pooling over pairs along each axis between batch and channels.

    Drops a last odd entry, but keeps an axis of length 1.
    """
    sizes = x.shape[1:-1]
    windows = [min(size, 2) for size in sizes]
    counts = [size // window for size, window in zip(sizes, windows, strict=True)]
    kept = [slice(n * window) for n, window in zip(counts, windows, strict=True)]
    split = chain.from_iterable(zip(counts, windows, strict=True))
    x = x[:, *kept].reshape(len(x), *split, x.shape[-1])
    # nn.max_pool gives the same, but its gradient makes a training step on a CPU take three times
    # as long.
    return x.max(axis=tuple(range(2, x.ndim - 1, 2)))


def pooled_by_three(
    x: jax.Array, combine: Callable[[jax.Array, jax.Array], jax.Array], *, start: int, fill: float
) -> jax.Array:
    """Combines windows of 3 with stride 2 along each axis between batch and channels.

    Args:
      combine: of two arrays, such as ``jnp.maximum``.
      start: entries of padding before the first window's; windows continue until one covers the
        last entry.
      fill: the value of the padding.
    """
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        count = max(1, -(-(size + start - 3) // 2) + 1)
        after = 2 * count + 1 - size - start
        edges = [(0, 0)] * x.ndim
        edges[axis] = (start, max(0, after))
        padded = jnp.pad(x, edges, constant_values=fill)
        # Slices instead of a window reduction, whose gradient is slow on a CPU.
        first, second, third = (
            jax.lax.slice_in_dim(padded, i, i + 2 * count - 1, stride=2, axis=axis)
            for i in range(3)
        )
        x = combine(combine(first, second), third)
    return x
