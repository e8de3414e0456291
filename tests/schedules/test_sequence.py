"""Sequence by hand: starts of parts, cycle numbers, momentum, nesting."""

from typing import Any

import numpy as np
import pytest
from schedule_cases import Case, Drawn, against_pytorch, random_gamma, random_tops

from runner.errors import ConfigError
from runner.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    CyclicLR,
    Linear,
    OneCycle,
    Schedule,
    Sequence,
    Step,
)

LAST = 2**31 - 1


def cyclic(up: int = 2, **more: Any) -> CyclicLR:
    return CyclicLR(**{"base_lr": 1, "max_lr": 3, "step_size_up": up} | more)


def sequence(*parts: tuple[Schedule, int | None]) -> Sequence:
    names = [f"part{i}" for i in range(len(parts))]
    return Sequence(
        dict(zip(names, (part for part, _ in parts), strict=True)),
        dict(zip(names, (length for _, length in parts), strict=True)),
    )


def draw_from_pytorch(random: np.random.Generator) -> Drawn:
    high, factor = random_tops(random), random_gamma(random)
    warmup, middle, last = (int(n) for n in random.integers(1, 100, 3))

    def theirs(s: Any, o: Any) -> Any:
        parts = [
            s.LinearLR(o, 0.1, 1.0, warmup),
            s.StepLR(o, 7, factor),
            s.CosineAnnealingLR(o, last),
        ]
        return s.SequentialLR(o, parts, [warmup, warmup + middle])

    ours = sequence(
        (Linear(base_lr=high, start_factor=0.1, total_iters=warmup), warmup),
        (Step(base_lr=high, step_size=7, gamma=factor), middle),
        (Cosine(base_lr=high, T_max=last), None),
    )
    # PyTorch's steps along a cosine are a recursion, imprecise near the end of it.
    return against_pytorch(ours, theirs, high, warmup + middle + last, noise=1e-9)


def warmup_and_cycles(warmup: Schedule, cycles: Schedule) -> Sequence:
    return Sequence({"warmup": warmup, "cycles": cycles}, {"warmup": 9, "cycles": None})


CASES = {
    "sequence": Case(
        warmup_and_cycles,
        {"warmup": Linear(base_lr=0.1), "cycles": CyclicLR(step_size_up=4)},
        {
            "warmup": Linear(base_lr=0.2, total_iters=9),
            "cycles": CyclicLR(mode="triangular2", step_size_up=3),
        },
        cyclic=True,
        formulas=(
            {
                "parts": {
                    "warmup": Linear(base_lr=0.7, total_iters=9),
                    "cycles": CyclicLR(base_lr=0.1, max_lr=0.7, step_size_up=5, step_size_down=12),
                },
                "lengths": {"warmup": 11, "cycles": None},
            },
        ),
        pytorch={"sequence": draw_from_pytorch},
    )
}


def test_each_part_starts_at_its_own_step_0_and_the_last_one_continues() -> None:
    schedule = sequence((Linear(base_lr=1, start_factor=0, total_iters=2), 2), (cyclic(), 3))
    np.testing.assert_array_equal(schedule(np.arange(8)), [0, 0.5, 1, 2, 3, 2, 1, 2])
    assert float(schedule(LAST)) == float(cyclic()(LAST - 2))


def test_its_base_rate_is_that_of_its_first_part() -> None:
    assert float(sequence((Linear(base_lr=3, total_iters=2), 2), (cyclic(), 3)).base_rate) == 3


def test_cycle_numbers_continue_across_parts() -> None:
    schedule = sequence(
        (Constant(5), 3), (cyclic(1), 4), (Constant(7), 2), (CosineRestarts(base_lr=1, T_0=2), None)
    )
    # 3 steps; two cycles of two; a part without cycles, with the next number; further cycles.
    expected = [0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4]
    np.testing.assert_array_equal(schedule.cycle(np.arange(14)), expected)
    assert list(schedule.cycle_ends(15)) == [5, 7, 11, 13, 15]
    assert list(schedule.cycle_ends(6)) == [5]


def test_a_cycle_that_is_cut_off_has_a_number_and_no_end() -> None:
    schedule = sequence((cyclic(2), 6), (cyclic(1), None))
    np.testing.assert_array_equal(schedule.cycle(np.arange(10)), [0, 0, 0, 0, 1, 1, 2, 2, 3, 3])
    assert list(schedule.cycle_ends(10)) == [4, 8, 10]


def test_the_first_cycle_of_a_part_is_not_counted_twice() -> None:
    schedule = sequence((cyclic(1, last_epoch=6), 4), (cyclic(1), None))
    np.testing.assert_array_equal(schedule.cycle(np.arange(8)), [3, 3, 4, 4, 5, 5, 6, 6])


def test_cycle_ends_of_a_long_run_take_no_memory() -> None:
    ends = sequence((Constant(1), 10), (cyclic(1), 10**9), (cyclic(1), None)).cycle_ends(LAST)
    assert len(ends) == 10**9 // 2 + (LAST - 10 - 10**9) // 2
    assert (ends[0], ends[-1]) == (12, LAST - 1)
    assert ends[10**9 // 2 - 1 : 10**9 // 2 + 1] == [10**9 + 10, 10**9 + 12]


def test_momentum_is_constant_in_parts_that_do_not_cycle_it() -> None:
    cycling = cyclic(2, cycle_momentum=True, base_momentum=0.5, max_momentum=0.9)
    schedule = sequence((Constant(1), 2), (cycling, 3), (Constant(1), 2), (cycling, None))
    assert schedule.cycles_momentum
    got = np.asarray(schedule.momentum(np.arange(10)))
    # Before: its first value; after: that of its last update, two steps up.
    expected = [0.9, 0.9, 0.9, 0.7, 0.5, 0.5, 0.5, 0.9, 0.7, 0.5]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    still = sequence((Constant(1), 2), (cyclic(), None))
    assert not still.cycles_momentum
    with pytest.raises(ValueError, match="no part"):
        still.momentum(0)


@pytest.mark.slow
def test_a_part_of_length_zero_is_skipped() -> None:
    steps = np.arange(20)
    cycling = cyclic(2, cycle_momentum=True, base_momentum=0.5, max_momentum=0.9)
    parts = [(cyclic(3), 7), (CosineRestarts(base_lr=1, T_0=2), None)]
    expected = sequence(*parts)
    for place in (0, 1):
        with_another = [*parts[:place], (cycling, 0), *parts[place:]]
        schedule = sequence(*with_another)
        np.testing.assert_array_equal(schedule(steps), expected(steps))
        np.testing.assert_array_equal(schedule.cycle(steps), expected.cycle(steps))
        assert list(schedule.cycle_ends(20)) == list(expected.cycle_ends(20))
        np.testing.assert_array_equal(schedule.momentum(steps), np.full(20, np.float32(0.9)))


def test_sequences_nest() -> None:
    inner = sequence((cyclic(1), 4), (Cosine(base_lr=2, T_max=2), None))
    schedule = sequence((Constant(9), 1), (inner, 6), (cyclic(1), None))
    np.testing.assert_allclose(schedule(np.arange(10)), [9, 1, 3, 1, 3, 2, 1, 1, 3, 1], rtol=1e-6)
    np.testing.assert_array_equal(schedule.cycle(np.arange(10)), [0, 0, 0, 1, 1, 2, 2, 3, 3, 4])
    assert list(schedule.cycle_ends(10)) == [3, 5, 9]


def test_one_cycle_within_a_sequence_counts_as_one() -> None:
    one = OneCycle(max_lr=1, total_steps=5, cycle_momentum=False)
    schedule = sequence((one, 5), (one, 5), (Constant(1), None))
    np.testing.assert_array_equal(schedule.cycle(np.arange(12)), [0] * 5 + [1] * 5 + [2] * 2)
    assert list(schedule.cycle_ends(12)) == [5, 10]


def test_lists_of_rates_are_for_the_same_groups_in_all_parts() -> None:
    two = Constant([1, 2])
    schedule = sequence((two, 1), (Constant(5), 1), (two, None))
    np.testing.assert_array_equal(schedule(0), [1, 2])
    np.testing.assert_array_equal(schedule(1), [5, 5])
    with pytest.raises(ConfigError, match=r"^parts\.part1: 3 rates, but parts\.part0 has 2"):
        sequence((two, 1), (Constant([1, 2, 3]), None))


@pytest.mark.parametrize(
    ("lengths", "key", "words"),
    [
        ({"a": 3}, "lengths.b", "has no value"),
        ({"a": 3, "b": 4, "c": 5}, "lengths.c", "no such part"),
        ({"a": None, "b": 4}, "lengths.a", r"last part \(b\)"),
        ({"a": -1, "b": 4}, "lengths.a", "-1 is not"),
        ({"a": "4ep", "b": 4}, "lengths.a", "'4ep'"),
        ({"a": 2**30, "b": 2**30}, "lengths", str(2**31)),
        ({}, "lengths", "mapping"),
        ([3, 4], "lengths", "mapping"),
    ],
)
def test_bad_lengths_are_refused_by_name(lengths: Any, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Sequence({"a": Constant(1), "b": Constant(2)}, lengths)
    assert caught.value.key == key


def test_lengths_may_add_up_to_the_last_step() -> None:
    schedule = sequence((Constant(1), LAST - 3), (Constant(2), 3))
    np.testing.assert_array_equal(schedule(np.array([0, LAST - 4, LAST - 3, LAST])), [1, 1, 2, 2])
    assert [list(places) for places in schedule.phase_changes(LAST)] == [[LAST - 3], [], []]


def test_a_sequence_without_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^parts: "):
        Sequence({}, {})
