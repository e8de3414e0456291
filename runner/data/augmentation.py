"""Random changes of training examples, computed on the device from (seed, step)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from runner.data.dataset import Examples
from runner.errors import ConfigError
from runner.pytree import Pytree

Key = jax.Array


@dataclass(frozen=True)
class Augmentation(Pytree, static=("crop_padding", "flip", "cutout_size")):
    """Applies the changes that are not None or False, in the order of the attributes.

    Attributes:
      crop_padding: pixels of zeros added around an image before a random crop of its size.
      flip: mirrors an image left to right, with probability 1/2.
      cutout_size: sets a square with sides of this many pixels to zero.
      mixup, cutmix: the parameter of the Beta distribution of their shares, float32 scalars; if
        both are given, each batch gets one of them, with equal probability.

    Images are already normalised, so zero is the mean of a channel.
    """

    crop_padding: int | None = None
    flip: bool = False
    cutout_size: int | None = None
    mixup: Any = None
    cutmix: Any = None

    def __call__(self, key: Key, examples: Examples) -> Examples:
        """The changed batch; the same for the same ``key``."""
        crop, flip, cut, mix = jax.random.split(key, 4)
        inputs = examples.inputs
        if self.crop_padding is not None:
            inputs = random_crop(crop, inputs, self.crop_padding)
        if self.flip:
            inputs = random_flip(flip, inputs)
        if self.cutout_size is not None:
            inputs = cutout(cut, inputs, self.cutout_size)
        return self._mixed(mix, examples._replace(inputs=inputs))

    def _mixed(self, key: Key, examples: Examples) -> Examples:
        if self.mixup is not None and self.cutmix is not None:
            which, key = jax.random.split(key)
            return jax.lax.cond(
                jax.random.bernoulli(which),
                lambda: mixup(key, examples, self.mixup),
                lambda: cutmix(key, examples, self.cutmix),
            )
        if self.mixup is not None:
            return mixup(key, examples, self.mixup)
        return examples if self.cutmix is None else cutmix(key, examples, self.cutmix)


def check_inputs(augmentation: Augmentation, shape: tuple[int, ...], *, are_numbers: bool) -> None:
    """Checks that the changes suit inputs of ``shape``, of one example.

    Raises:
      ConfigError: a change needs images, or larger ones, or would mix tokens; the key is that of
        the setting.
    """
    if augmentation.mixup is not None and not are_numbers:
        raise ConfigError("mixup", "is for numbers, but the inputs are tokens", "switch it off")
    for_images = {
        "crop_padding": augmentation.crop_padding,
        "flip": augmentation.flip or None,
        "cutout": augmentation.cutout_size,
        "cutmix": augmentation.cutmix,
    }
    for key, value in for_images.items():
        if value is not None and len(shape) != 3:
            problem = f"is for images, but an input has the shape {shape}"
            raise ConfigError(key, problem, "switch it off")
    size = augmentation.cutout_size
    if size is not None and size > min(shape[:2]):
        problem = f"{size} pixels do not fit in an image of {shape[0]}×{shape[1]}"
        raise ConfigError("cutout", problem, f"write at most {min(shape[:2])}")


def random_crop(key: Key, x_bhwc: jax.Array, padding: int) -> jax.Array:
    """Random crops, of the images' size, of the padded images (He et al. 2016, section 4.2)."""
    b, h, w, c = x_bhwc.shape
    padded = jnp.pad(x_bhwc, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.random.randint(key, (b, 2), 0, 2 * padding + 1)
    cut: Callable[..., jax.Array] = lambda image, corner: jax.lax.dynamic_slice(  # noqa: E731
        image, (corner[0], corner[1], 0), (h, w, c)
    )
    return jax.vmap(cut)(padded, corners)


def random_flip(key: Key, x_bhwc: jax.Array) -> jax.Array:
    """Mirrors each image left to right with a probability of one half."""
    flipped = jax.random.bernoulli(key, shape=(len(x_bhwc), 1, 1, 1))
    return jnp.where(flipped, x_bhwc[:, :, ::-1], x_bhwc)


def cutout(key: Key, x_bhwc: jax.Array, size: int) -> jax.Array:
    """Sets a square with a random centre to zero; parts of it may lie outside.

    DeVries and Taylor 2017, "Improved regularization of convolutional neural networks".
    """
    b, h, w, _ = x_bhwc.shape
    centres = jax.random.randint(key, (b, 2), 0, jnp.array([h, w]))
    inside = _inside(centres - size // 2, jnp.full((b, 2), size), h, w)
    return jnp.where(inside, 0.0, x_bhwc)


def mixup(key: Key, examples: Examples, alpha: Any) -> Examples:
    """Mixes each input as ``share * own + (1 - share) * other``, and its loss in the same way.

    Zhang et al. 2018, "mixup: beyond empirical risk minimization": one share for the batch, drawn
    from Beta(alpha, alpha). The others are the examples of the batch in reverse order.
    """
    x, share = examples.inputs, jax.random.beta(key, alpha, alpha)
    mixed = share * x + (1 - share) * x[::-1]
    return _with_others(examples, mixed, share)


def cutmix(key: Key, examples: Examples, alpha: Any) -> Examples:
    """Replaces a rectangle of each image by that of another; mixes the losses by area.

    Yun et al. 2019, "CutMix": the rectangle has ``1 - share`` of the area, with a share drawn from
    Beta(alpha, alpha), and a random centre, both once for the batch. Only its part within the image
    is replaced and counted. The others are the examples of the batch in reverse order.
    """
    share_key, place_key = jax.random.split(key)
    x = examples.inputs
    _, h, w, _ = x.shape
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))
    sizes = jnp.round(jnp.array([h, w]) * side).astype(jnp.int32)
    centre = jax.random.randint(place_key, (2,), 0, jnp.array([h, w]))
    inside = _inside((centre - sizes // 2)[None], sizes[None], h, w)
    return _with_others(examples, jnp.where(inside, x[::-1], x), 1 - inside.mean())


def _inside(corners: jax.Array, sizes: jax.Array, h: int, w: int) -> jax.Array:
    """Whether each pixel [n, h, w, 1] lies in the rectangle at ``corners`` [n, 2] of ``sizes``."""
    first, last = corners[:, :, None], (corners + sizes)[:, :, None]
    rows, columns = jnp.arange(h), jnp.arange(w)
    in_rows = (rows >= first[:, 0]) & (rows < last[:, 0])
    in_columns = (columns >= first[:, 1]) & (columns < last[:, 1])
    return (in_rows[:, :, None] & in_columns[:, None, :])[..., None]


def _with_others(examples: Examples, mixed: jax.Array, share: jax.Array) -> Examples:
    shares = jnp.full(len(mixed), share, jnp.float32)
    return Examples(mixed, examples.targets, examples.targets[::-1], shares)
