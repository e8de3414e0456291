"""triangular_lr is CyclicLR with equal halves."""

import numpy as np
import pytest
from schedule_cases import Case

from runner.errors import ConfigError
from runner.schedules import CyclicLR, triangular_lr

CASES = {
    "triangular_lr": Case(
        triangular_lr,
        {"base_lr": 0.1, "max_lr": 0.5, "step_size": 7},
        {"base_lr": 0.2, "max_lr": 0.7, "step_size": 11, "last_epoch": 3},
        lists=("base_lr", "max_lr"),
        cyclic=True,
        formulas=(
            {
                "base_lr": 0.1,
                "max_lr": 0.7,
                "step_size": 5,
                "last_epoch": 3,
                "cycle_momentum": True,
                "base_momentum": 0.7,
                "max_momentum": 0.9,
            },
        ),
    )
}


def test_it_is_the_symmetric_cyclic_lr() -> None:
    chosen = {"base_lr": 0.1, "max_lr": 0.7, "last_epoch": 3, "cycle_momentum": True}
    chosen |= {"base_momentum": 0.5, "max_momentum": 0.7}
    short, full = triangular_lr(**chosen, step_size=5), CyclicLR(**chosen, step_size_up=5)
    steps = np.arange(40)
    np.testing.assert_array_equal(short(steps), full(steps))
    np.testing.assert_array_equal(short.momentum(steps), full.momentum(steps))
    np.testing.assert_array_equal(short.cycle(steps), (steps + 3) // 10)
    assert list(short.cycle_ends(40)) == [7, 17, 27, 37]
    assert (float(short.momentum(2)), float(short.momentum(7))) == tuple(np.float32([0.5, 0.7]))


@pytest.mark.parametrize("step_size", [0, 2**30, 2.0, "5ep", None])
def test_a_bad_step_size_is_refused_by_its_own_name(step_size: object) -> None:
    with pytest.raises(ConfigError, match=r"^step_size: "):
        triangular_lr(step_size=step_size)  # type: ignore[arg-type]
