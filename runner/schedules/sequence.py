"""Schedules one after another, each from its own step 0: a warm-up before cycles, for example."""

from __future__ import annotations

from bisect import bisect_right
from collections import abc
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any, overload

from etils import epy

from runner.config.by_name import Parts, require_same_length
from runner.config.markers import is_list
from runner.config.types import PartLengths
from runner.errors import INT32_MAX, ConfigError, nearest
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.function import as_schedule

if TYPE_CHECKING:
    from jax.typing import ArrayLike

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("sequence")
class Sequence(Schedule):
    """The parts one after another, each from its own step 0 for its length.

    ::

        starts = [sum(lengths[:i]) for i in range(len(parts))]
        i      = max(i for i in range(len(parts)) if starts[i] <= step)
        rate   = parts[i](step - starts[i])

    The last part continues indefinitely: its length is ignored and may be None. Any other part of
    length 0 is skipped.

    Cycle numbers continue across parts: the first cycle of a part follows the last cycle started
    before it, complete or not, and a part without cycles has the next number. Cycle ends are those
    of the parts; cutting off a part does not end its cycle.

    Momentum is cycled if any part cycles it. It is constant in the other parts: at the value of
    the last update that set it or, before the first such part, at that part's initial value.

    Source: PyTorch's SequentialLR, for schedules that it also starts at step 0; its
    ``milestones`` are the starts of the parts.

    Difference: each part has its own base_lr. In PyTorch the parts share the optimizer's initial
    rate, and overwrite it when they are constructed.

    >>> from runner.schedules import CyclicLR, Linear, Sequence
    >>> cycles = CyclicLR(base_lr=1.0, max_lr=3.0, step_size_up=2)
    >>> warmup = Linear(base_lr=1.0, start_factor=0.0, total_iters=2)
    >>> schedule = Sequence({"warmup": warmup, "cycles": cycles}, {"warmup": 2, "cycles": None})
    >>> [float(schedule(step)) for step in range(7)]
    [0.0, 0.5, 1.0, 2.0, 3.0, 2.0, 1.0]
    >>> list(schedule.cycle_ends(12))
    [6, 10]
    """

    def __init__(
        self,
        parts: Annotated[Mapping[str, Schedule], Parts(lengths="lengths")],
        lengths: PartLengths,
    ) -> None:
        """Checks the arguments and keeps the parts in the order of ``parts``.

        Args:
          parts: name → schedule, in their order.
          lengths: name → updates; that of the last part may be None.

        Raises:
          ConfigError: its key is the invalid argument, with the part's name: ``lengths.warmup``.
        """
        _check_lengths(parts, lengths)
        schedules = {name: as_schedule(part) for name, part in parts.items()}
        check_same_groups(schedules)
        *before_last, _ = parts
        self.parts = tuple(schedules.values())
        self.starts = np.array([0, *accumulate(lengths[name] for name in before_last)], np.uint32)
        self.cyclic = np.array([bool(part.cycle_ends(INT32_MAX)) for part in self.parts])

    @property
    def cycles_momentum(self) -> bool:  # type: ignore[override]
        """Whether any part cycles the momentum."""
        return any(part.cycles_momentum for part in self.parts)

    def momentum(self, step: ArrayLike) -> jax.Array:
        """The momentum of update ``step``, float32; ValueError unless a part cycles it."""
        if not self.cycles_momentum:
            raise ValueError("no part of this Sequence sets the momentum")
        return Schedule.momentum(self, step)

    @property
    def base_rate(self) -> Any:
        """The base rate of the first part."""
        return self.parts[0].base_rate

    def cycle_ends(self, steps: int) -> abc.Sequence[int]:
        """The cycle ends of all parts, from 1 to ``steps``."""
        starts = [int(start) for start in self.starts]
        found = []
        for part, start, end in zip(self.parts, starts, [*starts[1:], steps], strict=True):
            if start < steps:
                found.append((start, part.cycle_ends(min(end, steps) - start)))
        return _Shifted(found)

    def phase_changes(self, steps: int) -> abc.Sequence[abc.Sequence[int]]:
        """The starts of the parts, and the phase changes within them."""
        starts = [int(start) for start in self.starts]
        found: list[abc.Sequence[int]] = [within(starts, steps)]
        for part, start, end in zip(self.parts, starts, [*starts[1:], steps], strict=True):
            if start < steps:
                changes = part.phase_changes(min(end, steps) - start)
                found += [_Shifted([(start, places)]) for places in changes]
        return found

    @property
    def settled_at(self) -> int | None:
        """The step from which the last part stays the same."""
        last = self.parts[-1].settled_at
        return None if last is None else int(self.starts[-1]) + last

    def _rate(self, steps: jax.Array) -> jax.Array:
        own = self._own_steps(steps)
        return self._select(steps, {i: part(own[i]) for i, part in enumerate(self.parts)})

    def _momentum(self, steps: jax.Array) -> jax.Array:
        own = self._own_steps(steps)
        setting = {i: part for i, part in enumerate(self.parts) if part.cycles_momentum}
        return self._select(steps, {i: part.momentum(own[i]) for i, part in setting.items()})

    def _cycle(self, steps: jax.Array) -> jax.Array:
        own, starts = self._own_steps(steps), self.starts
        cycles, begun = {}, jnp.int32(0)
        for i, part in enumerate(self.parts):
            cycles[i] = begun + part.cycle(own[i])
            if i + 1 < len(self.parts):
                length = starts[i + 1] - starts[i]
                in_all = part.cycle(jnp.maximum(length, 1) - 1) + 1
                begun = begun + jnp.where(self.cyclic[i] & (length > 0), in_all, 0)
        return self._select(steps, cycles)

    def _own_steps(self, steps: jax.Array) -> list[jax.Array]:
        """The step within each part, clipped to its first and last step outside of it."""
        starts = list(jnp.unstack(self.starts))
        own = [jnp.where(steps > start, steps - start, 0) for start in starts]
        lasts = [jnp.maximum(after - start, 1) - 1 for start, after in pairwise(starts)]
        return [jnp.minimum(step, last) for step, last in zip(own, lasts, strict=False)] + own[-1:]

    def _select(self, steps: jax.Array, values: Mapping[int, Any]) -> jax.Array:
        """The value, by index of the part, of the last part that has started; else the first."""
        (_, chosen), *later = values.items()
        for index, value in later:
            chosen = jnp.where(steps >= self.starts[index], value, chosen)
        return chosen


def check_same_groups(parts: Mapping[str, Schedule], **others: Any) -> None:
    """Raises ConfigError unless all lists of rates, of parts and ``others``, have one length."""
    shapes = {name: jax.eval_shape(part, np.int32(0)).shape for name, part in parts.items()}
    counts = {f"parts.{name}": shape[0] for name, shape in shapes.items() if shape}
    require_same_length(
        counts | {key: len(rates) for key, rates in others.items() if is_list(rates)}
    )


def _check_lengths(parts: Mapping[str, Schedule], lengths: Mapping[str, int | None]) -> None:
    """Parts and lengths have the same names; only the length of the last part may be None."""
    for name in lengths:
        if name not in parts:
            raise ConfigError(f"lengths.{name}", "there is no such part", nearest(name, parts))
    *_, last = parts
    for name in parts:
        if name not in lengths:
            raise ConfigError(f"lengths.{name}", "has no value", "give the part a length")
        if lengths[name] is None and name != last:
            problem = f"is null, which only the length of the last part ({last}) may be"
            raise ConfigError(f"lengths.{name}", problem, "give the part a length")
    total = sum(length for length in lengths.values() if length is not None)
    if total > INT32_MAX:
        problem = f"add up to {total} steps"
        raise ConfigError("lengths", problem, f"write at most {INT32_MAX} in all")


class _Shifted(abc.Sequence[int]):
    """Concatenates sequences of ints, each shifted by an offset, without copying them."""

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
