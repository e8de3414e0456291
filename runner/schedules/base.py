"""The base class of schedules: the rate, the momentum and the cycle of a step."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ClassVar

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
    """Base class of schedules: a pure function of the step, usable as an optax schedule.

    A schedule is a pytree: passed to a compiled function as an argument, its numbers are arrays
    and not constants; several, stacked leaf by leaf, can be mapped over with ``vmap``. A step is an
    integer from 0 to 2³¹ - 1: a Python int, or a NumPy or JAX scalar or array.

    If rates are given as lists, a scalar step gives an array [groups]; use ``vmap`` for several
    steps.

    To write a schedule, derive from this class, set its numbers as attributes in ``__init__`` and
    implement ``_rate``. A schedule with cycles also implements ``_cycle`` and ``cycle_ends``; one
    that sets the momentum implements ``_momentum`` and has a true ``cycles_momentum``. The
    arguments of ``__init__`` are validated against its annotations (``runner.config.types``).
    """

    # Whether the schedule sets the momentum as well; static.
    cycles_momentum: bool = False
    # Counts evaluations, if the rate depends on them as well; see ``plateau.ReduceOnPlateau``.
    plateau: Any = None
    # Whether rates are constant in stages, the last of which is meant to last.
    staged: ClassVar[bool] = False

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
            raise ValueError(
                f"this {name} does not set the momentum; use one with cycle_momentum=True"
            )
        return _compiled(type(self)._momentum)(self, as_steps(step))

    def cycle(self, step: ArrayLike) -> jax.Array:
        """The 0-based cycle that ``step`` is in, int32; 0 for a schedule without cycles."""
        return _compiled(type(self)._cycle)(self, as_steps(step))

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The steps, from 1 to ``steps``, at which a cycle ends and the rate is at its low point.

        Plain ints in increasing order, as a ``range`` where possible; empty for a schedule without
        cycles.
        """
        return range(0)

    @property
    def settled_at(self) -> int | None:
        """The step from which the rate stays the same; None if it goes on changing."""
        return None

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The steps, from 1 to ``steps``, at which the formula of the rate changes.

        These are peaks, milestones, and ends of a warm-up or a decay: a list of sequences of plain
        ints, each in increasing order, as a ``range`` where possible. By default ``settled_at``.
        """
        return [within([self.settled_at or 0], steps)]

    @property
    def base_rate(self) -> Any:
        """The rate that ``chained`` divides by, as an array; None if there is none.

        By default the attribute ``base_lr``.
        """
        return getattr(self, "base_lr", None)

    @abstractmethod
    def _rate(self, steps: jax.Array) -> jax.Array:
        """The rate at ``steps``, a uint32 array of any shape; called under ``jit``."""

    def _momentum(self, steps: jax.Array) -> jax.Array:
        """The momentum at ``steps``; called only if ``cycles_momentum`` is true."""
        raise ValueError(f"{type(self).__name__} does not implement _momentum")

    def _cycle(self, steps: jax.Array) -> jax.Array:
        return jnp.zeros(steps.shape, jnp.int32)

    def __repr__(self) -> str:
        passed = vars(self).get("_passed", vars(self))
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in passed.items())})"


def within(places: Iterable[Any], steps: int) -> list[int]:
    """The ``places`` from 1 to ``steps``, as plain ints in increasing order, each once."""
    return sorted({int(place) for place in places if 1 <= place <= steps})


def as_steps(step: ArrayLike) -> Any:
    """``step`` as uint32, to which another int32 can be added without overflow.

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
    """Compiles calls outside of a compiled function; inlined inside one."""
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
