"""CyclicLR against PyTorch's, run live in float64."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.schedules import CyclicLR

pytestmark = pytest.mark.oracle

LAST = 10**7
TINY = float(np.finfo(np.float32).tiny)

values = jax.jit(lambda schedule, steps: (schedule(steps), schedule.momentum(steps)))

Case = tuple[dict[str, Any], list[int]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Settings that PyTorch takes too, and 24 positions of which every other is early."""
    top = 10 ** draw(st.floats(-6, 1))
    sizes = st.one_of(st.integers(1, 30), st.integers(1, 5000), st.integers(1, 10**6))
    chosen = {
        "base_lr": top * draw(st.one_of(st.just(0.0), st.floats(1e-6, 1))),
        "max_lr": top,
        "step_size_up": draw(sizes),
        "step_size_down": draw(st.one_of(st.none(), sizes)),
        "mode": draw(st.sampled_from(["triangular", "triangular2", "exp_range"])),
        "gamma": draw(st.one_of(st.floats(0.5, 1), st.floats(-8, -3).map(lambda n: 1 - 10**n))),
        "base_momentum": draw(st.floats(0.1, 0.9)),
        "max_momentum": 0.9,
    }
    # PyTorch's triangular2 ends in an OverflowError at its cycle 1025.
    last = min(LAST, 1000 * chosen["step_size_up"]) if chosen["mode"] == "triangular2" else LAST
    early, any_time = st.integers(0, 3 * chosen["step_size_up"]), st.integers(0, last)
    positions = [draw(choice) for choice in [early, any_time] * 12]
    return chosen, positions


def pytorch(
    torch: Any, chosen: dict[str, Any], positions: list[int], **more: Any
) -> tuple[list[float], list[float]]:
    """PyTorch's rates and momenta at positions; its ``last_epoch`` is the position itself."""
    parameter = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, **chosen, **more, cycle_momentum=True)
    rates, momenta = [], []
    for position in positions:
        scheduler.last_epoch = position
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # get_lr is meant to be called by step
            rates.append(float(scheduler.get_lr()[0]))
        momenta.append(float(optimizer.param_groups[0]["momentum"]))
    return rates, momenta


def compare(got: tuple[Any, Any], expected: tuple[list[float], list[float]]) -> None:
    rates, momenta = np.asarray(expected[0]), np.asarray(expected[1])
    normal = rates >= TINY
    np.testing.assert_allclose(np.asarray(got[0])[normal], rates[normal], rtol=1e-6)
    assert (np.asarray(got[0])[~normal] <= TINY).all()
    np.testing.assert_allclose(got[1], momenta, rtol=1e-6)


@settings(max_examples=500, deadline=None)
@given(case=cases())
def test_rate_and_momentum_equal_pytorch(torch: Any, case: Case) -> None:
    chosen, positions = case
    schedule = CyclicLR(**chosen, cycle_momentum=True)
    compare(values(schedule, np.array(positions)), pytorch(torch, chosen, positions))


@pytest.mark.parametrize(
    ("text", "function", "scale_mode"),
    [
        ("1 / 2 ** (x - 1)", lambda x: 1 / 2 ** (x - 1), "cycle"),
        ("1 / (1 + 0.0005 * x)", lambda x: 1 / (1 + 0.0005 * x), "iterations"),
        ("1.5 - (x < 9) / 2", lambda x: 1.5 - (x < 9) / 2, "iterations"),
    ],
)
def test_a_scale_fn_gets_what_pytorch_gives_it(
    torch: Any, text: str, function: Callable[[float], float], scale_mode: str
) -> None:
    chosen = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "step_size_down": 4}
    more = {"scale_mode": scale_mode}
    positions = list(range(100))
    expected = pytorch(torch, chosen, positions, scale_fn=function, **more)
    schedule = CyclicLR(**chosen, scale_fn=text, **more, cycle_momentum=True)
    compare(values(schedule, np.array(positions)), expected)


def test_last_epoch_ten_is_update_zero_here_and_the_one_before_it_in_pytorch(torch: Any) -> None:
    chosen = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 30}
    parameter = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    # What PyTorch demands of an optimizer that is taken up again.
    optimizer.param_groups[0].update(initial_lr=0.01, max_lr=0.1)
    scheduler = torch.optim.lr_scheduler.CyclicLR(
        optimizer, **chosen, last_epoch=10, cycle_momentum=False
    )
    assert float(CyclicLR(**chosen, last_epoch=11)(0)) == pytest.approx(
        scheduler.get_last_lr()[0], rel=1e-6
    )
