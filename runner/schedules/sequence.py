"""Schedules one after another, each starting at its own zero: a warm-up before cycles, say."""

from bisect import bisect_right
from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.schedules import check_sequence
from runner.checks.values import INT32_MAX, as_many, resolved
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, as_steps, compiled, fill, pytree


@register_scheduler("sequence")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Sequence:
    """The parts one after another, each from its own zero to its length.

    ::

        starts = [sum(lengths[:i]) for i in range(len(parts))]
        i      = max(i for i in range(len(parts)) if starts[i] <= step)
        rate   = parts[i](step - starts[i])

    The last part goes on for ever. Its length says nothing then, and may be None.

    Cycles are numbered on across the parts: the first cycle of a part follows the last one begun
    before it, ended or not, and a part without cycles bears the number that comes next. Cycle
    ends are those of the parts; where a part begins or is cut off, no cycle ends.

    Momentum is cycled if any part cycles it. The other parts keep it still: at the value of the
    last update before them that set one, or, before the first such part, at the value that one
    begins with.

    Source: PyTorch's SequentialLR, for parts that it starts at zero as well; its milestones are
    the starts of the parts here.

    Where they differ: a part's first rate is its own first rate, of its own base_lr (there, the
    parts share an optimizer's initial rate, and overwrite it when they are made).

    >>> from runner.schedules import CyclicLR, Linear, Sequence
    >>> cycles = CyclicLR(base_lr=1.0, max_lr=3.0, step_size_up=2)
    >>> warmup = Linear(base_lr=1.0, start_factor=0.0, total_iters=2)
    >>> schedule = Sequence({"warmup": warmup, "cycles": cycles}, {"warmup": 2, "cycles": None})
    >>> [float(schedule(step)) for step in range(7)]
    [0.0, 0.5, 1.0, 2.0, 3.0, 2.0, 1.0]
    >>> list(schedule.cycle_ends(12))
    [6, 10]
    """

    parts: tuple[Schedule, ...]
    starts: np.ndarray | jax.Array
    cyclic: np.ndarray | jax.Array

    def __init__(self, parts: Mapping[str, Schedule], lengths: Mapping[str, int | None]) -> None:
        """Checks the arguments and keeps the parts in the order of ``parts``.

        Args:
          parts: name → schedule, in their order.
          lengths: name → updates; that of the last part may be None.

        Raises:
          ConfigError: its key is the argument at fault, with the part's name: ``lengths.warmup``.
        """
        check_sequence(parts=parts, lengths=lengths)
        known = {name: lengths[name] for name in parts if lengths[name] is not None}
        resolved(**{f"lengths.{name}": length for name, length in known.items()})
        _check_groups(parts)
        *before_last, _ = parts
        fill(
            self,
            parts=tuple(parts.values()),
            starts=np.array([0, *accumulate(known[name] for name in before_last)], np.uint32),
            cyclic=np.array([bool(part.cycle_ends(INT32_MAX)) for part in parts.values()]),
        )

    @property
    def cycles_momentum(self) -> bool:
        """Whether any part cycles the momentum."""
        return any(part.cycles_momentum for part in self.parts)

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The rate of update ``step``, float32 of ``step``'s shape (of a list's, see Schedule)."""
        return _rate(self, as_steps(step))

    def momentum(self, step: ArrayLike) -> jax.Array:
        """The momentum of update ``step``, float32; ValueError unless ``cycles_momentum``."""
        if not self.cycles_momentum:
            raise ValueError("no part of this Sequence sets the momentum")
        return _momentum(self, as_steps(step))

    def cycle(self, step: ArrayLike) -> jax.Array:
        """The 0-based cycle that ``step`` is in, counted across the parts, int32."""
        return _cycle(self, as_steps(step))

    def cycle_ends(self, steps: int) -> abc.Sequence[int]:
        """The cycle ends of all parts, from 1 to ``steps``."""
        starts = [int(start) for start in self.starts]
        found = []
        for part, start, end in zip(self.parts, starts, [*starts[1:], steps], strict=True):
            if start < steps:
                found.append((start, part.cycle_ends(min(end, steps) - start)))
        return _Shifted(found)


class _Shifted(abc.Sequence[int]):
    """Sequences of ints one after another, each moved by an offset; none of them is copied."""

    def __init__(self, pieces: list[tuple[int, abc.Sequence[int]]]) -> None:
        self._pieces = [(offset, ends) for offset, ends in pieces if len(ends)]
        self._counts = [0, *accumulate(len(ends) for _, ends in self._pieces)]

    def __len__(self) -> int:
        return self._counts[-1]

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        piece = bisect_right(self._counts, places) - 1
        offset, ends = self._pieces[piece]
        return offset + ends[places - self._counts[piece]]


def _check_groups(parts: Mapping[str, Schedule]) -> None:
    """Rates that are lists are for the same groups in all parts."""
    shapes = {name: jax.eval_shape(part, np.int32(0)).shape for name, part in parts.items()}
    as_many(**{f"parts.{name}": [0] * shape[0] for name, shape in shapes.items() if shape})


def _own_steps(sequence: Sequence, steps: jax.Array) -> list[jax.Array]:
    """The step of each part, which rests at its first or its last one where others hold."""
    starts = list(jnp.unstack(jnp.asarray(sequence.starts)))
    own = [jnp.where(steps > start, steps - start, 0) for start in starts]
    lasts = [after - start - 1 for start, after in pairwise(starts)]
    return [jnp.minimum(step, last) for step, last in zip(own, lasts, strict=False)] + own[-1:]


def _select(sequence: Sequence, steps: jax.Array, values: Mapping[int, Any]) -> jax.Array:
    """Of the values, by number of the part, the last whose part has begun; else the first."""
    (_, chosen), *later = values.items()
    for number, value in later:
        chosen = jnp.where(steps >= jnp.asarray(sequence.starts)[number], value, chosen)
    return chosen


@compiled
def _rate(sequence: Sequence, steps: jax.Array) -> jax.Array:
    own = _own_steps(sequence, steps)
    rates = {i: part(own[i]) for i, part in enumerate(sequence.parts)}
    return _select(sequence, steps, rates)


@compiled
def _momentum(sequence: Sequence, steps: jax.Array) -> jax.Array:
    own = _own_steps(sequence, steps)
    setting = {i: part for i, part in enumerate(sequence.parts) if part.cycles_momentum}
    return _select(sequence, steps, {i: part.momentum(own[i]) for i, part in setting.items()})


@compiled
def _cycle(sequence: Sequence, steps: jax.Array) -> jax.Array:
    own, starts = _own_steps(sequence, steps), jnp.asarray(sequence.starts)
    cycles, begun = {}, jnp.int32(0)
    for i, part in enumerate(sequence.parts):
        cycles[i] = begun + part.cycle(own[i])
        if i + 1 < len(sequence.parts):
            in_all = part.cycle(starts[i + 1] - starts[i] - 1) + 1
            begun = begun + jnp.where(jnp.asarray(sequence.cyclic)[i], in_all, 0)
    return _select(sequence, steps, cycles)
