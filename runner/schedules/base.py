"""What every schedule offers: the rate, the momentum and the cycle of a step."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

from etils import epy

from runner.config.signature import checked
from runner.errors import INT32_MAX
from runner.pytree import Pytree

if TYPE_CHECKING:
    from jax.typing import ArrayLike

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


class Schedule(Pytree, ABC):
    """A pure function of the step; also an optax schedule. The base of all schedules.

    A schedule is a pytree: pass it to a compiled function as an argument and no number in it is
    compiled in; stack several leaf by leaf and ``vmap`` over them. A step is an integer (of
    Python, numpy or jax, a scalar or an array) from 0 to 2³¹ - 1.

    Where rates are given as lists, a scalar step gives an array [groups]; for many steps at once,
    ``vmap`` over them.

    A schedule of one's own derives from this class, sets its numbers as attributes in ``__init__``
    and implements ``_rate``; one with cycles implements ``_cycle`` and ``cycle_ends`` too, one that
    sets the momentum ``_momentum``, with ``cycles_momentum`` true. The arguments of ``__init__``
    are validated against its annotations (``runner.config.types``).
    """

    # Whether the schedule sets the momentum as well; static.
    cycles_momentum: bool = False

    def __init_subclass__(cls, *, static: Iterable[str] = ()) -> None:
        super().__init_subclass__(static=static)
        if "__init__" in vars(cls):
            cls.__init__ = _with_arguments_kept(checked(cls.__init__))

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The rate of update ``step`` (0 is the first), float32 of ``step``'s shape."""
        return _compiled(type(self)._rate)(self, as_steps(step))

    def momentum(self, step: ArrayLike) -> jax.Array:
        """The momentum of update ``step``, float32; ValueError unless ``cycles_momentum``."""
        if not self.cycles_momentum:
            name = type(self).__name__
            raise ValueError(f"this {name} sets no momentum; schedules do with cycle_momentum=True")
        return _compiled(type(self)._momentum)(self, as_steps(step))

    def cycle(self, step: ArrayLike) -> jax.Array:
        """The 0-based cycle that ``step`` is in, int32; 0 for a schedule without cycles."""
        return _compiled(type(self)._cycle)(self, as_steps(step))

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The counts of completed updates, from 1 to ``steps``, at which a cycle ends.

        After that many updates the rate is at its low point. Plain ints in rising order, as a
        ``range`` where possible; empty for a schedule without cycles.
        """
        return range(0)

    @property
    def base_rate(self) -> Any:
        """The rate that is a factor of one in ``chained``; None if the schedule cannot be a factor.

        An array: the attribute ``base_lr``, unless a class defines another rate.
        """
        return getattr(self, "base_lr", None)

    @abstractmethod
    def _rate(self, steps: jax.Array) -> jax.Array:
        """The rate at ``steps``, uint32 of any shape; the schedule's leaves are traced."""

    def _momentum(self, steps: jax.Array) -> jax.Array:
        """The momentum at ``steps``; called where ``cycles_momentum`` alone."""
        raise ValueError(f"{type(self).__name__} implements no momentum")

    def _cycle(self, steps: jax.Array) -> jax.Array:
        return jnp.zeros(steps.shape, jnp.int32)

    def __repr__(self) -> str:
        passed = vars(self).get("_passed", vars(self))
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in passed.items())})"


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


@cache
def _compiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled for those who call a schedule by itself; inlined within a compiled function."""
    return jax.jit(method, inline=True)


def _with_arguments_kept(init: Callable[..., None]) -> Callable[..., None]:
    """Keeps the arguments that were passed, for ``repr``."""
    signature = inspect.signature(init)

    @wraps(init)
    def keep(self: Schedule, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        passed = dict(signature.bind(self, *args, **kwargs).arguments)
        vars(self)["_passed"] = {k: v for k, v in passed.items() if k != "self"}

    return keep
