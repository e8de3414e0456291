"""What every schedule offers, and how a schedule becomes a pytree whose numbers are arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks import INT32_MAX

Node = TypeVar("Node")

# A rate for all groups of parameters, or one for each.
Rates = float | Sequence[float]

# The metadata of a dataclass field that is part of what is compiled, not a number in it; jax's
# own ``register_dataclass`` marks such fields the same way.
STRUCTURE = {"static": True}

# Compiled for those who call a schedule by itself; within a compiled function it is inlined.
compiled = partial(jax.jit, inline=True)


@runtime_checkable
class Schedule(Protocol):
    """A function of the step alone; also an optax schedule.

    A schedule is a pytree: pass it to a compiled function as an argument and no number in it is
    compiled in, stack several leaf by leaf and ``vmap`` over them. A step is an integer (of
    Python, numpy or jax, a scalar or an array) from 0 to 2³¹ - 1.

    Where rates are given as lists, a scalar step gives an array [groups]; for many steps at once,
    ``vmap`` over them.
    """

    @property
    def cycles_momentum(self) -> bool:
        """Whether the schedule sets the momentum as well; structure, not a number."""
        ...

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The rate of update ``step`` (0 is the first), float32 of ``step``'s shape."""
        ...

    def momentum(self, step: ArrayLike) -> jax.Array:
        """The momentum of update ``step``, float32; ValueError unless ``cycles_momentum``."""
        ...

    def cycle(self, step: ArrayLike) -> jax.Array:
        """The 0-based cycle that ``step`` is in, int32; 0 for a schedule without cycles."""
        ...

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The counts of completed updates, from 1 to ``steps``, at which a cycle ends.

        After that many updates the rate has come to its low point. Plain ints in rising order;
        empty for a schedule without cycles.
        """
        ...


def pytree(cls: type[Node]) -> type[Node]:
    """Class decorator: registers a dataclass as a pytree; fields marked ``STRUCTURE`` are static.

    Unflattening bypasses the constructor, as jax rebuilds nodes from tracers, None and plain
    objects, which no check of a user's input would let pass.
    """
    entries = fields(cls)  # type: ignore[arg-type]
    static = [entry.name for entry in entries if entry.metadata.get("static")]
    leaves = [entry.name for entry in entries if not entry.metadata.get("static")]

    def values(node: Node, names: list[str]) -> tuple[Any, ...]:
        return tuple(getattr(node, name) for name in names)

    def flatten(node: Node) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return values(node, leaves), values(node, static)

    def flatten_with_keys(node: Node) -> tuple[list[Any], tuple[Any, ...]]:
        keys = map(jax.tree_util.GetAttrKey, leaves)
        return list(zip(keys, values(node, leaves), strict=True)), values(node, static)

    def unflatten(structure: tuple[Any, ...], numbers: Iterable[Any]) -> Node:
        node = object.__new__(cls)
        fill(node, **dict(zip(static, structure, strict=True)))
        fill(node, **dict(zip(leaves, numbers, strict=True)))
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def fill(node: object, **values: Any) -> None:
    """Sets the fields of a frozen dataclass while it is being made."""
    for name, value in values.items():
        object.__setattr__(node, name, value)


def as_steps(step: ArrayLike) -> Any:
    """``step`` as uint32, wide enough to have another int32 added.

    Raises:
      TypeError: ``step`` is not of an integer type.
      ValueError: a step known on the host is negative or above 2³¹ - 1.
    """
    steps = step if isinstance(step, jax.Array) else np.asarray(step)
    if not jnp.issubdtype(steps.dtype, jnp.integer):
        raise TypeError(f"a step is a count of updates, an integer; got {steps.dtype}")
    if isinstance(steps, np.ndarray) and steps.size:
        low, high = int(steps.min()), int(steps.max())
        if low < 0 or high > INT32_MAX:
            raise ValueError(f"steps go from 0 to {INT32_MAX}; got {low if low < 0 else high}")
    return steps.astype(np.uint32)


class Acyclic:
    """The part of a schedule's protocol that speaks of cycles, for those that have none."""

    cycles_momentum = False

    def momentum(self, step: ArrayLike) -> jax.Array:
        raise ValueError(f"{type(self).__name__} sets no momentum")

    def cycle(self, step: ArrayLike) -> jax.Array:
        return jnp.zeros(as_steps(step).shape, jnp.int32)

    def cycle_ends(self, steps: int) -> Sequence[int]:
        return range(0)
