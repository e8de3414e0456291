"""Differences from other implementations, demonstrated with them where possible."""

import inspect
from typing import Any

import numpy as np
import optax
import pytest

from runner.errors import ConfigError
from runner.schedules import (
    Cosine,
    CosineRestarts,
    CyclicLR,
    FlatCosine,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Step,
    triangular_lr,
)


def test_a_number_is_the_bound_of_every_group() -> None:
    """braintools, given one max_lr and two groups, keeps the second at its base_lr."""
    schedule = CyclicLR(base_lr=[0.1, 0.2], max_lr=0.5, step_size_up=2)
    np.testing.assert_array_equal(schedule(2), np.float32([0.5, 0.5]))
    np.testing.assert_array_equal(schedule(4), np.float32([0.1, 0.2]))


def test_a_shorter_descent_is_shorter_in_every_cycle() -> None:
    """braintools' asymmetric cycle peaks once and never again (up 5, down 15)."""
    rates = np.asarray(CyclicLR(step_size_up=5, step_size_down=15)(np.arange(100)))
    assert np.flatnonzero(rates == rates.max()).tolist() == [5, 25, 45, 65, 85]


def test_the_peaks_of_triangular2_are_those_of_its_formula() -> None:
    """The documentation's example says 0.0055 and 0.00325 for bounds of 0.0001 and 0.001."""
    schedule = CyclicLR(base_lr=1e-4, max_lr=1e-3, step_size_up=5, mode="triangular2")
    np.testing.assert_allclose(schedule(np.array([15, 25])), [5.5e-4, 3.25e-4], rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("key", "chosen"),
    [
        ("step_size_up", {"step_size_up": -5}),
        ("step_size_down", {"step_size_up": 5, "step_size_down": 0}),
        ("base_lr", {"step_size_up": 5, "base_lr": 0.5, "max_lr": 0.1}),
    ],
)
def test_settings_that_pytorch_silently_accepts_are_errors(
    torch: Any, key: str, chosen: dict[str, Any]
) -> None:
    """Negative and empty halves and bounds in the wrong order; PyTorch accepts them all."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    bounds = {"base_lr": 0.1, "max_lr": 0.5} | chosen
    torch.optim.lr_scheduler.CyclicLR(optimizer, **bounds, cycle_momentum=False)
    with pytest.raises(ConfigError) as caught:
        CyclicLR(**bounds)
    assert caught.value.key == key


# Ours → PyTorch's, by name of the setting; a rate and a length are given to both.
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("ours", "theirs", "renamed"),
    [
        (Cosine, "CosineAnnealingLR", {}),
        (CosineRestarts, "CosineAnnealingWarmRestarts", {}),
        (CyclicLR, "CyclicLR", {"base_lr": "", "max_lr": "", "cycle_momentum": ""}),
        (Linear, "LinearLR", {}),
        (MultiStep, "MultiStepLR", {}),
        (OneCycle, "OneCycleLR", {}),
        (Polynomial, "PolynomialLR", {}),
        (ReduceOnPlateau, "ReduceLROnPlateau", {"eta_min": "min_lr"}),
        (Step, "StepLR", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defaults_are_those_of_pytorch(torch: Any, ours: Any, theirs: str, renamed: Any) -> None:
    """Settings that only one of the two has are left out, and those of no name in ``renamed``."""
    expected = defaults(getattr(torch.optim.lr_scheduler, theirs)) | {"last_epoch": 0}
    found = {renamed.get(key, key): value for key, value in defaults(ours).items()}
    shared = set(found) & set(expected)
    assert {key: found[key] for key in shared} == {key: expected[key] for key in shared}
    assert len(shared) >= 1


def defaults(factory: Any) -> dict[str, Any]:
    given = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}


def test_defaults_are_those_of_the_other_sources() -> None:
    """braintools' bounds; fastai's fit_flat_cos; Vaswani et al. 2017, section 5.3."""
    cyclic, triangular = defaults(CyclicLR), defaults(triangular_lr)
    assert (cyclic["base_lr"], cyclic["max_lr"]) == (1e-3, 1e-2)
    assert triangular.pop("step_size") == cyclic["step_size_up"]
    assert triangular.items() <= cyclic.items()
    assert defaults(FlatCosine) == {"pct_start": 0.75, "eta_min": 0.0}
    assert defaults(InverseSqrt) == {"warmup": 4000, "timescale": None, "shift": 1}


def test_scale_mode_does_not_change_a_built_in_mode() -> None:
    """TF-Addons scales triangular2 by the step when scale_mode says iterations."""
    steps = np.arange(50)
    plain, other = (
        CyclicLR(mode="triangular2", step_size_up=5, scale_mode=mode)
        for mode in ("cycle", "iterations")
    )
    np.testing.assert_array_equal(plain(steps), other(steps))


@pytest.mark.oracle
def test_a_momentum_of_zero_stays_zero(torch: Any) -> None:
    """PyTorch's CyclicLR sets it to 0.9; here only ``cycle_momentum`` makes a schedule set it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0, momentum=0)
    torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.5)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    assert not CyclicLR(base_lr=0.1, max_lr=0.5).cycles_momentum
    still = CyclicLR(cycle_momentum=True, base_momentum=0, max_momentum=0)
    np.testing.assert_array_equal(still.momentum(np.arange(9)), np.zeros(9))


def test_one_cycle_peaks_a_step_before_optax() -> None:
    """optax's (and braintools') highest rate is at pct_start * total_steps, one step later."""
    ours = OneCycle(max_lr=1, total_steps=1000, pct_start=0.25)
    theirs = optax.cosine_onecycle_schedule(1000, 1.0, 0.25)
    rates = [float(theirs(step)) for step in range(240, 260)]
    assert np.asarray(ours(np.arange(1000))).argmax() == 249
    assert 240 + int(np.argmax(rates)) == 250
