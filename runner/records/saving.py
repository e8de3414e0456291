"""Decides when to save which checkpoints, and saves them in a thread during training."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from runner.records.checkpoints import Checkpoints
from runner.records.figures import Figures

_log = logging.getLogger("runner")


@dataclass(frozen=True)
class SavePlan:
    """When to save, and what.

    Attributes:
      seconds, steps: the least time and the fewest steps between two saves.
      every: saves after each multiple of this many steps instead, if set.
      cycle_ends: steps after which to save as well; those checkpoints are all kept.
      best: whether to keep the state of the best evaluation; it is saved with the next regular one.
    """

    seconds: float
    steps: int
    every: int | None
    cycle_ends: Sequence[int]
    best: bool


class Saver:
    """Saves states that the training thread has copied, one at a time.

    Attributes:
      last, best: the newest checkpoint and that of the best evaluation; None until there is one.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        plan: SavePlan,
        *,
        to_arrays: Callable[[Any], Mapping[str, np.ndarray] | None],
        record: Mapping[str, Any],
        requested: Callable[[], bool],
        start: int,
        earlier: Figures,
    ) -> None:
        """Regards the state of step ``start``, with the figures ``earlier``, as saved.

        Args:
          to_arrays: the arrays of a state by name, or None for a state that must not be saved.
          record: saved with every checkpoint.
          requested: whether a save has been requested, by a signal, since the last call.
        """
        self._best_step: Any = earlier.best["step"] if earlier.best and plan.best else None
        saved = checkpoints.steps()
        self.last = checkpoints.folder / str(start) if start in saved else None
        found = self._best_step in saved
        self.best = checkpoints.folder / str(self._best_step) if found else None
        self._checkpoints, self._plan = checkpoints, plan
        self._to_arrays, self._record, self._requested = to_arrays, record, requested
        self._last_step, self._last_time = start, time.monotonic()
        self._best: tuple[int, Any, Figures] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def is_due(self, step: int) -> bool:
        """Whether the state after ``step`` updates is to be saved now."""
        if self._requested():
            return True
        plan = self._plan
        if step in plan.cycle_ends:
            return True
        if plan.every is not None:
            return step % plan.every == 0
        waited = time.monotonic() - self._last_time
        return waited >= plan.seconds and step - self._last_step >= plan.steps

    @property
    def keeps_best(self) -> bool:
        """Whether ``offer`` needs the state after every evaluation."""
        return self._plan.best

    def offer(self, step: int, state: Any, figures: Figures, *, due: bool) -> None:
        """Saves ``state`` if it is due, and keeps it for the next save if it is the best so far.

        Waits for the save before this one.

        Raises:
          StorageError: the save before this one failed.
        """
        if self._plan.best and figures.best is not None and figures.best["step"] == step:
            self._best = step, state, figures
        if not due or step == self._last_step:
            return
        self._last_step, self._last_time = step, time.monotonic()
        states = [(step, state, figures)]
        if self._best is not None and self._best[0] != step:
            states.insert(0, self._best)
        self._best = None
        self.wait()
        self._pending = self._pool.submit(self._save, states)

    def wait(self) -> None:
        """Waits for the save under way.

        Raises:
          StorageError: it failed.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Ends the thread after the save under way; see ``wait``."""
        try:
            self.wait()
        finally:
            self._pool.shutdown(wait=False)

    def _save(self, states: Sequence[tuple[int, Any, Figures]]) -> None:
        for step, state, figures in states:
            arrays = self._to_arrays(state)
            if arrays is None:
                _log.warning("the state after step %d is not finite; it was not saved", step)
                continue
            record = {**self._record, "figures": asdict(figures), "time": time.time()}
            self.last = self._checkpoints.save(step, arrays, record)
            self._best_step = figures.best["step"] if figures.best and self._plan.best else None
            if step == self._best_step:
                self.best = self.last
        self._checkpoints.prune(kept=self._is_kept)

    def _is_kept(self, step: int) -> bool:
        return step == self._best_step or step in self._plan.cycle_ends
