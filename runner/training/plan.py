"""The length of a run, and when the host intervenes."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.config import Ranking
from runner.errors import INT32_MAX

# Long enough that a dispatch costs little, short enough to react to a signal.
FIRST_CHUNK = 32  # in steps, before the speed is known
CHUNK_SECONDS = 0.2

Dispatch = Literal["scan", "step"]
ANY_RANKING = Ranking("eval/loss", highest=False)


@dataclass(frozen=True)
class Plan:
    """The length of a run, and when the host intervenes.

    steps: the number of updates of the whole run.
    eval_every: updates between evaluations, or None to evaluate at the end only.
    save_every: updates between saves, or None if saves may be at the end of any chunk.
    cycle_ends: steps, in increasing order, after which checkpoints or snapshots may be due.
    evaluated_ends: steps, in increasing order, at which cycles end, if evaluations are due there.
    ranking: the metric that is observed by the schedule and by early stopping.
    scores_test: whether the test split is scored at the end.
    chunk: the most updates in a chunk, or ``auto`` for as many as take about 0.2 s.
    dispatch: ``scan`` for one dispatch per chunk, ``step`` for one per update.
    """

    steps: int
    eval_every: int | None
    chunk: int | Literal["auto"]
    dispatch: Dispatch
    save_every: int | None = None
    cycle_ends: Sequence[int] = ()
    evaluated_ends: Sequence[int] = ()
    ranking: Ranking = ANY_RANKING
    scores_test: bool = True

    def chunk_length(
        self,
        step: int,
        *,
        capacity: int,
        steps_per_second: float | None,
        evaluates_inline: bool = False,
    ) -> int:
        """Steps of the chunk that starts at ``step``; it ends where the host has to intervene.

        evaluates_inline: whether evaluations are part of chunks, instead of between them.
        """
        length = min(self._length(steps_per_second), self._until_host(step), capacity)
        if evaluates_inline and steps_per_second is not None:
            return length
        # The first chunk ends at the next evaluation at the latest, so that a short run has a
        # second one: the speed is measured from the second on.
        return min(length, self._until_evaluation(step))

    def evaluations(self, start: int, length: int) -> list[int]:
        """The number of steps of a chunk before each evaluation that is part of it.

        The evaluation at the end of the run is not included: it follows the chunk, together with
        that of the test split.
        """
        last = min(start + length, self.steps - 1)
        after, step = [], start
        while (step := step + self._until_evaluation(step)) <= last:
            after.append(step - start)
        return after

    def _length(self, pace: float | None) -> int:
        """The most steps of a chunk."""
        if self.chunk != "auto":
            return self.chunk
        return FIRST_CHUNK if pace is None else max(1, int(CHUNK_SECONDS * pace))

    def _until_host(self, step: int) -> int:
        """Steps until the end, or until a checkpoint or snapshot may be due."""
        due = self.steps - step
        if self.save_every is not None:
            due = min(due, self.save_every - step % self.save_every)
        return min(due, _until(self.cycle_ends, step))

    def _until_evaluation(self, step: int) -> int:
        """Steps until the next evaluation, or the end."""
        due = min(self.steps - step, _until(self.evaluated_ends, step))
        if self.eval_every is not None:
            due = min(due, self.eval_every - step % self.eval_every)
        return due

    def evaluates_at(self, step: int) -> bool:
        is_regular = self.eval_every is not None and step % self.eval_every == 0
        return step == self.steps or is_regular or step in self.evaluated_ends


def _until(ends: Sequence[int], step: int) -> int:
    """Steps from ``step`` to the next of ``ends``, in increasing order, or INT32_MAX."""
    following = bisect_right(ends, step)
    return ends[following] - step if following < len(ends) else INT32_MAX
