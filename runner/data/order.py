"""The order of examples: a pure function of (seed, step), without replacement within an epoch."""

from __future__ import annotations

from functools import lru_cache

from etils import epy

from runner.errors import ConfigError

with epy.lazy_imports():
    import numpy as np


def batch_indices(*, seed: int, first_step: int, count: int, batch_size: int, n: int) -> np.ndarray:
    """The examples of updates ``first_step`` to ``first_step + count - 1``, one row per update.

    Step t is batch ``t % per_epoch`` of epoch ``t // per_epoch``, where
    ``per_epoch = n // batch_size``. The ``n % batch_size`` examples left over are skipped in that
    epoch; they differ from epoch to epoch, as each has its own order.

    >>> batch_indices(seed=0, first_step=7, count=2, batch_size=4, n=10).shape
    (2, 4)

    Returns:
      int32 [count, batch_size], each entry in [0, n).

    Raises:
      ConfigError: ``batch_size`` is not between 1 and ``n``.
    """
    if not 1 <= batch_size <= n:
        raise ConfigError(
            "batch_size", f"{batch_size} for {n} examples", f"write a number from 1 to {n}"
        )
    per_epoch = n // batch_size
    rows = []
    step, end = first_step, first_step + count
    while step < end:
        epoch, batch = divmod(step, per_epoch)
        taken = min(per_epoch - batch, end - step)
        used = epoch_order(seed, epoch, n)[: per_epoch * batch_size]
        rows.append(used.reshape(per_epoch, batch_size)[batch : batch + taken])
        step += taken
    return np.concatenate(rows) if rows else np.empty((0, batch_size), np.int32)


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """A permutation of the ``n`` examples, by sorting a random word for each.

    The words are the raw output of the Philox4x64-10 generator keyed by (seed, epoch), which
    unlike ``Generator.permutation`` is the same in every numpy version (Salmon et al. 2011,
    "Parallel random numbers: as easy as 1, 2, 3").

    Args:
      seed: 0 to 2⁶⁴ - 1.
      epoch: 0 to 2⁶⁴ - 1.
      n: 1 to 2³¹ - 1.

    Returns:
      int32 [n], read-only.
    """
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    # The low bits hold the example's index: sorting the words in place is then an argsort with ties
    # broken by index, at a tenth of the cost.
    low_bits = np.uint64((1 << n.bit_length()) - 1)
    words &= ~low_bits
    words |= np.arange(n, dtype=np.uint64)
    words.sort()
    order = (words & low_bits).astype(np.int32)
    order.flags.writeable = False
    return order
