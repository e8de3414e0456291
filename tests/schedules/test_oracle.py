"""The schedules against PyTorch's, run live in float64, lists of rates included."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.schedules import (
    Cosine,
    CosineRestarts,
    CyclicLR,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    Sequence,
    Step,
)

pytestmark = pytest.mark.oracle

Live = Callable[..., tuple[np.ndarray, np.ndarray]]
TINY = float(np.finfo(np.float32).tiny)
# Every example computes as many steps as the longest needs, so that all share one compilation.
STEPS = np.arange(1500)

rate = jax.jit(jax.vmap(lambda schedule, step: schedule(step), in_axes=(None, 0)))
momentum = jax.jit(lambda schedule, steps: schedule.momentum(steps))

sizes = st.integers(1, 300)
tops = st.floats(-5, 1).map(lambda power: 10**power)
# One, two or three groups; a list of one is a list all the same.
rates = st.lists(tops, min_size=1, max_size=3)
gammas = st.one_of(st.floats(0.5, 1), st.floats(-8, -3).map(lambda power: 1 - 10**power))
shares = st.one_of(st.just(0.0), st.floats(1e-9, 1))
momenta = st.tuples(shares, shares).map(lambda pair: sorted(0.99 * share for share in pair))


def compare(schedule: Schedule, expected: np.ndarray, noise: float = TINY) -> None:
    """At 1e-6 relative, whatever the rate's size, down to the ``noise`` of PyTorch's own zeros."""
    got = np.asarray(rate(schedule, STEPS)[: len(expected)], np.float64)
    assert got.shape == expected.shape
    normal = np.abs(expected) > noise
    np.testing.assert_allclose(got[normal], expected[normal], rtol=1e-6)
    assert (np.abs(got[~normal]) <= noise).all()


def closed_form(torch: Any, make: Callable[[Any, Any], Any], base_lrs: Any, n: int) -> np.ndarray:
    """PyTorch's rates [n, groups] by its closed form, which its steps only approximate."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(()))], "lr": lr} for lr in base_lrs]
    scheduler = make(torch.optim.lr_scheduler, torch.optim.SGD(groups, lr=1.0))
    values = []
    for step in range(n):
        scheduler.last_epoch = step
        values.append([float(lr) for lr in scheduler._get_closed_form_lr()])
    return np.array(values)


@settings(max_examples=60, deadline=None)
@given(
    tops=rates,
    total=st.integers(2, 400),
    share=st.floats(0.01, 0.99),
    strategy=st.sampled_from(["cos", "linear"]),
    three=st.booleans(),
    divs=st.tuples(st.floats(1, 100), st.floats(1, 1e6)),
    bounds=momenta,
)
def test_one_cycle(
    live: Live,
    tops: Any,
    total: int,
    share: float,
    strategy: str,
    three: bool,
    divs: tuple[float, float],
    bounds: Any,
) -> None:
    peak = share * total - 1
    if not (peak > 0 and (2 * peak < total - 1 if three else peak < total - 1)):
        return
    chosen = {
        "total_steps": total,
        "pct_start": share,
        "anneal_strategy": strategy,
        "three_phase": three,
        "div_factor": divs[0],
        "final_div_factor": divs[1],
        "base_momentum": bounds[0],
        "max_momentum": bounds[1],
    }
    expected, expected_momenta = live(
        lambda schedulers, optimizer: schedulers.OneCycleLR(optimizer, max_lr=tops, **chosen),
        tops,
        total,
    )
    schedule = OneCycle(max_lr=tops, **chosen)
    compare(schedule, expected)
    np.testing.assert_allclose(
        momentum(schedule, STEPS)[:total], expected_momenta, rtol=1e-6, atol=TINY
    )


@settings(max_examples=60, deadline=None)
@given(tops=rates, T_max=sizes, share=shares)
def test_cosine(torch: Any, tops: Any, T_max: int, share: float) -> None:
    eta_min = share * min(tops)
    expected = closed_form(
        torch, lambda s, optimizer: s.CosineAnnealingLR(optimizer, T_max, eta_min), tops, 5 * T_max
    )
    compare(Cosine(base_lr=tops, T_max=T_max, eta_min=eta_min, periodic=True), expected)
    once = Cosine(base_lr=tops, T_max=T_max, eta_min=eta_min)
    compare(once, expected[: T_max + 1])


@settings(max_examples=60, deadline=None)
@given(
    tops=rates,
    T_0=st.integers(1, 60),
    T_mult=st.integers(1, 4),
    share=shares,
)
def test_cosine_restarts(live: Live, tops: Any, T_0: int, T_mult: int, share: float) -> None:
    eta_min = share * min(tops)
    expected, _ = live(
        lambda s, optimizer: s.CosineAnnealingWarmRestarts(optimizer, T_0, T_mult, eta_min),
        tops,
        400,
    )
    compare(CosineRestarts(base_lr=tops, T_0=T_0, T_mult=T_mult, eta_min=eta_min), expected)


@settings(max_examples=60, deadline=None)
@given(tops=rates, factors=st.tuples(st.floats(0.001, 1), shares), total=sizes)
def test_linear(torch: Any, tops: Any, factors: tuple[float, float], total: int) -> None:
    chosen = {"start_factor": factors[0], "end_factor": factors[1], "total_iters": total}
    expected = closed_form(
        torch, lambda s, optimizer: s.LinearLR(optimizer, **chosen), tops, total + 10
    )
    # Near zero PyTorch adds start_factor and a difference that float64 has rounded.
    compare(Linear(base_lr=tops, **chosen), expected, noise=1e-9 * max(tops) / total)


@settings(max_examples=60, deadline=None)
@given(tops=rates, power=st.one_of(st.sampled_from([0.5, 1, 2]), st.floats(0.1, 30)), total=sizes)
def test_polynomial(torch: Any, tops: Any, power: float, total: int) -> None:
    chosen = {"total_iters": total, "power": power}
    expected = closed_form(
        torch, lambda s, optimizer: s.PolynomialLR(optimizer, **chosen), tops, total + 10
    )
    compare(Polynomial(base_lr=tops, **chosen), expected)


@settings(max_examples=60, deadline=None)
@given(tops=rates, gamma=gammas)
def test_exponential(live: Live, tops: Any, gamma: float) -> None:
    expected, _ = live(lambda s, optimizer: s.ExponentialLR(optimizer, gamma), tops, 300)
    compare(Exponential(base_lr=tops, gamma=gamma), expected)


@settings(max_examples=60, deadline=None)
@given(tops=rates, size=st.integers(1, 100), gamma=gammas)
def test_step(live: Live, tops: Any, size: int, gamma: float) -> None:
    expected, _ = live(lambda s, optimizer: s.StepLR(optimizer, size, gamma), tops, 300)
    compare(Step(base_lr=tops, step_size=size, gamma=gamma), expected)


@settings(max_examples=60, deadline=None)
@given(tops=rates, milestones=st.sets(st.integers(1, 300), min_size=1, max_size=5), gamma=gammas)
def test_multistep(live: Live, tops: Any, milestones: set[int], gamma: float) -> None:
    places = sorted(milestones)
    expected, _ = live(lambda s, optimizer: s.MultiStepLR(optimizer, places, gamma), tops, 301)
    compare(MultiStep(base_lr=tops, milestones=places, gamma=gamma), expected)


@settings(max_examples=60, deadline=None)
@given(
    bounds=st.lists(st.tuples(tops, tops).map(sorted), min_size=1, max_size=3),
    up=st.integers(1, 50),
    down=st.integers(1, 50),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    gamma=gammas,
)
def test_cyclic_with_lists_of_bounds(
    live: Live, bounds: Any, up: int, down: int, mode: str, gamma: float
) -> None:
    base, top = (list(column) for column in zip(*bounds, strict=True))
    chosen = {"step_size_up": up, "step_size_down": down, "mode": mode, "gamma": gamma}
    expected, expected_momenta = live(
        lambda s, optimizer: s.CyclicLR(optimizer, base, top, **chosen), base, 300
    )
    schedule = CyclicLR(base_lr=base, max_lr=top, **chosen, cycle_momentum=True)
    compare(schedule, expected)
    np.testing.assert_allclose(momentum(schedule, STEPS)[:300], expected_momenta, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    base=tops,
    warmup=st.integers(1, 30),
    middle=st.integers(1, 60),
    T_max=st.integers(1, 100),
    gamma=gammas,
)
def test_sequence(
    live: Live, base: float, warmup: int, middle: int, T_max: int, gamma: float
) -> None:
    def make(s: Any, optimizer: Any) -> Any:
        parts = [
            s.LinearLR(optimizer, 0.1, 1.0, warmup),
            s.StepLR(optimizer, 7, gamma),
            s.CosineAnnealingLR(optimizer, T_max),
        ]
        return s.SequentialLR(optimizer, parts, [warmup, warmup + middle])

    n = warmup + middle + T_max
    expected, _ = live(make, [base], n)
    parts = {
        "warmup": Linear(base_lr=base, start_factor=0.1, total_iters=warmup),
        "steps": Step(base_lr=base, step_size=7, gamma=gamma),
        "cosine": Cosine(base_lr=base, T_max=T_max),
    }
    lengths = {"warmup": warmup, "steps": middle, "cosine": None}
    # PyTorch's steps along a cosine are a recursion, imprecise near the end of it.
    compare(Sequence(parts, lengths), expected[:, 0], noise=1e-9 * base)


@settings(max_examples=40, deadline=None)
@given(bounds=st.tuples(tops, tops).map(sorted), warmup=st.integers(1, 30), up=st.integers(1, 20))
def test_a_warm_up_before_cycles(live: Live, bounds: Any, warmup: int, up: int) -> None:
    base, top = bounds

    def make(s: Any, optimizer: Any) -> Any:
        cycles = s.CyclicLR(optimizer, base, top, up, cycle_momentum=False)
        return s.SequentialLR(
            optimizer, [s.LinearLR(optimizer, 0.1, 1.0, warmup), cycles], [warmup]
        )

    expected, _ = live(make, [base], 100)
    parts = {
        "warmup": Linear(base_lr=base, start_factor=0.1, total_iters=warmup),
        "cycles": CyclicLR(base_lr=base, max_lr=top, step_size_up=up),
    }
    schedule = Sequence(parts, {"warmup": warmup, "cycles": None})
    compare(schedule, expected[:, 0])
