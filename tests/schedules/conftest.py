"""Shared by the tests of schedules: PyTorch, the oracle, and its schedulers run live in float64."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def live(torch: Any) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """``live(make, base_lrs, steps)``: rates [steps, groups] and momenta [steps] as PyTorch steps.

    ``make(lr_scheduler, optimizer)`` returns the scheduler; ``base_lrs`` are the groups' rates.
    """

    def run(
        make: Callable[[Any, Any], Any], base_lrs: Sequence[float], steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        groups = [
            {"params": [torch.nn.Parameter(torch.zeros((), dtype=torch.float64))], "lr": lr}
            for lr in base_lrs
        ]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
        rates, momenta = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an epoch given to SequentialLR's parts
            scheduler = make(torch.optim.lr_scheduler, optimizer)
            for step in range(steps):
                rates.append([float(group["lr"]) for group in optimizer.param_groups])
                momenta.append(float(optimizer.param_groups[0]["momentum"]))
                optimizer.step()
                if step + 1 < steps:
                    scheduler.step()
        return np.array(rates), np.array(momenta)

    return run
