"""The order of examples is a pure function of (seed, step), without replacement in an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.data.order import batch_indices, epoch_order
from runner.errors import ConfigError

SEEDS = st.integers(0, 2**32 - 1)
MASK = 2**64 - 1


def philox4x64(seed: int, epoch: int, n: int) -> list[int]:
    """Philox4x64-10 in plain Python ints, from Salmon et al. 2011, section 3.3.

    Key (seed, epoch); numpy's counter starts at 1.
    """
    words: list[int] = []
    for counter in range(1, n // 4 + 2):
        c, key = [counter, 0, 0, 0], [seed, epoch]
        for _ in range(10):
            high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
            high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
            c = [high1 ^ c[1] ^ key[0], low1, high0 ^ c[3] ^ key[1], low0]
            key = [(key[0] + 0x9E3779B97F4A7C15) & MASK, (key[1] + 0xBB67AE8584CAA73B) & MASK]
        words += c
    return words[:n]


@pytest.mark.parametrize(
    ("seed", "epoch", "n"), [(0, 0, 1), (3, 1, 64), (2**32 - 1, 10**6, 101), (MASK, MASK, 33)]
)
def test_an_epochs_order_sorts_the_words_of_the_published_generator(seed, epoch, n):
    words = philox4x64(seed, epoch, n)
    # With 64-bit words cut to 57 bits or more, ties are out of the question at these sizes.
    assert epoch_order(seed, epoch, n).tolist() == sorted(range(n), key=words.__getitem__)


@given(seed=SEEDS, epoch=st.integers(0, 2**31 - 1), n=st.integers(1, 500))
def test_every_epoch_is_a_permutation(seed, epoch, n):
    order = epoch_order(seed, epoch, n)
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(n))


@given(
    seed=SEEDS,
    first_step=st.integers(0, 2**31 - 200),
    counts=st.lists(st.integers(0, 40), max_size=4),
    n=st.integers(1, 60),
    data=st.data(),
)
def test_how_steps_are_divided_into_chunks_changes_nothing(seed, first_step, counts, n, data):
    batch_size = data.draw(st.integers(1, n))
    fixed = {"seed": seed, "batch_size": batch_size, "n": n}
    whole = batch_indices(first_step=first_step, count=sum(counts), **fixed)
    starts = first_step + np.cumsum([0, *counts])
    parts = [
        batch_indices(first_step=int(start), count=count, **fixed)
        for start, count in zip(starts, counts, strict=False)
    ]
    assert whole.dtype == np.int32
    assert whole.shape == (sum(counts), batch_size)
    np.testing.assert_array_equal(np.concatenate([np.empty((0, batch_size)), *parts]), whole)


@given(seed=SEEDS, epoch=st.integers(0, 1000), n=st.integers(1, 60), data=st.data())
def test_no_example_is_drawn_twice_in_an_epoch(seed, epoch, n, data):
    batch_size = data.draw(st.integers(1, n))
    per_epoch = n // batch_size
    drawn = batch_indices(
        seed=seed, first_step=epoch * per_epoch, count=per_epoch, batch_size=batch_size, n=n
    )
    assert len(set(drawn.ravel().tolist())) == per_epoch * batch_size


def test_the_examples_left_over_differ_from_epoch_to_epoch():
    left_over = {
        frozenset(range(10))
        - frozenset(batch_indices(seed=0, first_step=e * 2, count=2, batch_size=4, n=10).flat)
        for e in range(20)
    }
    assert len(left_over) > 10


def test_every_seed_and_epoch_has_its_own_order():
    orders = {epoch_order(s, e, 50).tobytes() for s in range(10) for e in range(10)}
    assert len(orders) == 100


def test_an_example_is_equally_likely_at_every_place():
    n, epochs = 8, 4000
    where_0_is = [int(np.argmin(epoch_order(7, epoch, n))) for epoch in range(epochs)]
    expected = epochs / n
    chi_squared = ((np.bincount(where_0_is, minlength=n) - expected) ** 2 / expected).sum()
    assert chi_squared < 24.3  # 7 degrees of freedom: exceeded once in 1,000 by chance


def test_the_last_possible_steps_have_batches():
    drawn = batch_indices(seed=0, first_step=2**31 - 3, count=3, batch_size=64, n=1437)
    assert drawn.shape == (3, 64)


def test_the_cached_order_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(0, 0, 5)[0] = 1


@pytest.mark.parametrize("batch_size", [-1, 0, 11])
def test_a_batch_that_the_data_cannot_fill_is_refused(batch_size):
    with pytest.raises(ConfigError, match=rf"batch_size: {batch_size} for 10 examples"):
        batch_indices(seed=0, first_step=0, count=1, batch_size=batch_size, n=10)
