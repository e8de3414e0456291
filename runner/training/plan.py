"""The length of a run, and when the host intervenes."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.config import Ranking

# In steps: long enough that a dispatch costs little, short enough to react to a signal.
FIRST_CHUNK = 32
CHUNK_SECONDS = 0.2

Dispatch = Literal["scan", "step"]
ANY_RANKING = Ranking("eval/loss", highest=False)


@dataclass(frozen=True)
class Plan:
    """The length of a run, and when the host intervenes.

    steps: the number of updates of the whole run.
    eval_every: updates between evaluations, or None to evaluate at the end only.
    save_every: updates between saves, or None if saves may be at the end of any chunk.
    cycle_ends: rising steps after which checkpoints or snapshots may be due.
    evaluated_ends: rising steps at which cycles end, if evaluations are due there.
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

    def chunk_length(self, step: int, *, capacity: int, steps_per_second: float | None) -> int:
        """Steps of the chunk that starts at ``step``; it ends where the host has to intervene."""
        length = self.chunk
        if length == "auto":
            pace = steps_per_second
            length = FIRST_CHUNK if pace is None else int(CHUNK_SECONDS * pace)
        due = self.steps - step
        for every in (self.eval_every, self.save_every):
            if every is not None:
                due = min(due, every - step % every)
        for ends in (self.cycle_ends, self.evaluated_ends):
            following = bisect_right(ends, step)
            if following < len(ends):
                due = min(due, ends[following] - step)
        return min(max(1, length), due, capacity)

    def evaluates_at(self, step: int) -> bool:
        is_regular = self.eval_every is not None and step % self.eval_every == 0
        return step == self.steps or is_regular or step in self.evaluated_ends
