"""What a schedule's test file declares for the tests of all schedules, docs and benchmark.

A module ``test_*.py`` of this folder that has ``CASES`` (registered name → ``Case``) is found.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).parent
LAST = 2**31 - 1
TINY = float(np.finfo(np.float32).tiny)
BOUND = 5e-7

Make = Callable[[Any, Any], Any]

_rates = jax.jit(jax.vmap(lambda schedule, step: schedule(step), in_axes=(None, 0)))
_momenta = jax.jit(lambda schedule, steps: schedule.momentum(steps))


@dataclass(frozen=True)
class Drawn:
    """A schedule with random settings, and its values from another computation.

    Attributes:
      steps: [steps], where they are compared.
      rates: [steps] or [steps, groups], float64.
      momenta: [steps], or None where the schedule sets none.
      noise: the share of the highest rate below which the other computation has lost its digits.
      bound: the largest relative error allowed.
    """

    schedule: Any
    steps: np.ndarray
    rates: np.ndarray
    momenta: np.ndarray | None = None
    noise: float = 0.0
    bound: float = BOUND


@dataclass(frozen=True)
class Case:
    """How the tests of all schedules test one.

    Attributes:
      factory: called with settings, gives the schedule.
      one, other: settings that differ in every number.
      lists: the settings that may be a list of rates, one for each group.
      cyclic: whether ``one`` has cycles.
      formulas: settings with which the formula in the docstring is computed.
      exact: compares with exact arithmetic, from a generator of random numbers.
      pytorch: the same with PyTorch, run live in float64; by what is compared.
    """

    factory: Callable[..., Any]
    one: Mapping[str, Any]
    other: Mapping[str, Any]
    lists: tuple[str, ...] = ()
    cyclic: bool = False
    formulas: tuple[Mapping[str, Any], ...] = ()
    exact: Callable[[np.random.Generator], Drawn] | None = None
    pytorch: Mapping[str, Callable[[np.random.Generator], Drawn]] = field(default_factory=dict)

    def schedules(self) -> tuple[Any, Any]:
        return self.factory(**self.one), self.factory(**self.other)


def discovered() -> dict[str, Case]:
    """The cases of all test files, by the registered name of the schedule."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    cases: dict[str, Case] = {}
    for path in sorted(HERE.glob("test_*.py")):
        if path.stem != "test_protocol":
            cases |= getattr(import_module(path.stem), "CASES", {})
    return cases


def random_places(random: np.random.Generator, seams: Iterable[int], count: int = 64) -> list[int]:
    """``count`` steps: the seams and their neighbours, steps of all sizes, the first, the last."""
    near = [seam + offset for seam in seams for offset in (-1, 0, 1)]
    sizes = (2 ** random.uniform(0, 31, count)).astype(int).tolist()
    steps = [0, LAST, *near, *sizes][:count]
    return [min(max(step, 0), LAST) for step in steps]


def random_length(random: np.random.Generator, most: int = LAST) -> int:
    """A length of any size, from 1 to ``most``."""
    return min(int(2 ** random.uniform(0, 31)), most)


def random_top(random: np.random.Generator) -> float:
    """A rate, from 1e-5 to 10."""
    return float(10 ** random.uniform(-5, 1))


def at_steps(
    schedule: Any, steps: Sequence[int], rate: Callable[[int], Any], bound: float = BOUND
) -> Drawn:
    """``rate(step)``, a number of Python's, at each of the ``steps``."""
    rates = np.array([float(rate(step)) for step in steps])
    return Drawn(schedule, np.array(steps), rates, bound=bound)


def random_tops(random: np.random.Generator) -> list[float]:
    """The rates of two groups."""
    return (10 ** random.uniform(-5, 1, 2)).tolist()


def random_gamma(random: np.random.Generator) -> float:
    """A factor below one, half of the time close to it."""
    return random.uniform(0.5, 1) if random.random() < 0.5 else 1 - 10 ** random.uniform(-8, -3)


def random_momenta(random: np.random.Generator) -> dict[str, float]:
    low, high = sorted(random.uniform(0, 0.99, 2))
    return {"base_momentum": low, "max_momentum": high}


def against_pytorch(
    schedule: Any, make: Make, rates: Sequence[float], steps: int, *, noise: float = 0.0
) -> Drawn:
    """``make(lr_scheduler, optimizer)`` run for ``steps``; ``rates`` are those of the groups."""
    import torch

    optimizer = _optimizer(rates)
    found, momenta = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an epoch given to SequentialLR's parts
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        for step in range(steps):
            found.append([float(group["lr"]) for group in optimizer.param_groups])
            momenta.append(float(optimizer.param_groups[0]["momentum"]))
            optimizer.step()
            if step + 1 < steps:
                scheduler.step()
    cycled = np.array(momenta) if schedule.cycles_momentum else None
    return Drawn(schedule, np.arange(steps), np.array(found), cycled, noise)


def against_closed_form(
    schedule: Any, make: Make, rates: Sequence[float], steps: int, *, noise: float = 0.0
) -> Drawn:
    """The same with PyTorch's closed form, which its recursive steps only approximate."""
    import torch

    scheduler = make(torch.optim.lr_scheduler, _optimizer(rates))
    found = []
    for step in range(steps):
        scheduler.last_epoch = step
        found.append([float(lr) for lr in scheduler._get_closed_form_lr()])
    return Drawn(schedule, np.arange(steps), np.array(found), noise=noise)


def errors(drawn: Drawn) -> tuple[float, float | None]:
    """The largest relative error of rates, and of momenta where there are any.

    Rates below float32's smallest normal number are not counted.
    """
    got = np.asarray(_rates(drawn.schedule, drawn.steps), np.float64)
    counted = drawn.rates > max(TINY, drawn.noise * drawn.rates.max(initial=0.0))
    off = np.abs(got - drawn.rates)[counted] / drawn.rates[counted]
    if drawn.momenta is None:
        return float(off.max(initial=0.0)), None
    momenta = np.asarray(_momenta(drawn.schedule, drawn.steps), np.float64)
    return float(off.max(initial=0.0)), float(np.max(np.abs(momenta / drawn.momenta - 1)))


def _optimizer(rates: Sequence[float]) -> Any:
    import torch

    groups = [
        {"params": [torch.zeros((), dtype=torch.float64, requires_grad=True)], "lr": rate}
        for rate in rates
    ]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)
