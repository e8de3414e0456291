"""The largest relative error of each schedule against PyTorch's, run live in float64.

Random arguments, two groups of parameters with rates of their own, whole runs; momentum where both
cycle it. Not counted are rates below float32's smallest normal number, and for linear and sequence
those within a billionth of the highest, where PyTorch's own differences and recursions have lost
their digits. Needs PyTorch (``pip install '.[oracle]'``).

    python benchmarks/schedules.py [--configurations 200]
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

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

TINY = float(np.finfo(np.float32).tiny)
Make = Callable[[Any, Any], Any]
# Ours, PyTorch's, the steps of the run, and whether PyTorch's closed form is asked, as its steps
# are a recursion; then the share of the highest rate below which PyTorch has no digits.
Case = tuple[Schedule, Make, int, bool, float]

rates_at = jax.jit(jax.vmap(lambda schedule, step: schedule(step), in_axes=(None, 0)))
momenta_at = jax.jit(lambda schedule, steps: schedule.momentum(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=200, help="of each schedule")
    count = parser.parse_args().configurations
    warnings.simplefilter("ignore")  # of get_lr, and of an epoch given to SequentialLR's parts
    print(f"{count} configurations each, two groups; largest relative error of rate and momentum")
    for name, case in CASES.items():
        random = np.random.default_rng(0)
        found = [errors(case, random) for _ in range(count)]
        rate, momentum = map(max, zip(*found, strict=True))
        cycled = f"  {momentum:.1e}" if momentum >= 0 else ""
        print(f"{name:20} {rate:.1e}{cycled}", flush=True)


def cyclic(random: np.random.Generator, top: list[float]) -> Case:
    base = [rate * random.uniform(0, 1) for rate in top]
    chosen = {
        "step_size_up": int(random.integers(1, 200)),
        "step_size_down": int(random.integers(1, 200)),
        "mode": str(random.choice(["triangular", "triangular2", "exp_range"])),
        "gamma": gamma(random),
        **momenta(random),
    }
    ours = CyclicLR(base_lr=base, max_lr=top, **chosen, cycle_momentum=True)
    return ours, lambda s, o: s.CyclicLR(o, base, top, **chosen), 1000, False, 0.0


def cyclic_without_momentum(random: np.random.Generator, top: list[float]) -> Case:
    up, down = int(random.integers(1, 200)), int(random.integers(1, 200))
    ours = CyclicLR(base_lr=0.0, max_lr=top, step_size_up=up, step_size_down=down)
    return (
        ours,
        lambda s, o: s.CyclicLR(o, 0.0, top, up, down, cycle_momentum=False),
        1000,
        False,
        0.0,
    )


def one_cycle(random: np.random.Generator, top: list[float]) -> Case:
    total, three = int(random.integers(20, 1000)), bool(random.random() < 0.5)
    chosen = {
        "total_steps": total,
        "pct_start": random.uniform(0.1, 0.45),
        "anneal_strategy": str(random.choice(["cos", "linear"])),
        "three_phase": three,
        "div_factor": random.uniform(1, 100),
        "final_div_factor": 10 ** random.uniform(0, 6),
        **momenta(random),
    }
    ours = OneCycle(max_lr=top, **chosen)
    return ours, lambda s, o: s.OneCycleLR(o, max_lr=top, **chosen), total, False, 0.0


def cosine(random: np.random.Generator, top: list[float]) -> Case:
    length, low = int(random.integers(1, 300)), random.uniform(0, 1) * min(top)
    ours = Cosine(base_lr=top, T_max=length, eta_min=low, periodic=True)
    return ours, lambda s, o: s.CosineAnnealingLR(o, length, low), 5 * length, True, 0.0


def cosine_restarts(random: np.random.Generator, top: list[float]) -> Case:
    first, factor = int(random.integers(1, 60)), int(random.integers(1, 4))
    low = random.uniform(0, 1) * min(top)
    ours = CosineRestarts(base_lr=top, T_0=first, T_mult=factor, eta_min=low)
    return ours, lambda s, o: s.CosineAnnealingWarmRestarts(o, first, factor, low), 500, False, 0.0


def linear(random: np.random.Generator, top: list[float]) -> Case:
    total = int(random.integers(1, 300))
    chosen = {
        "start_factor": random.uniform(0.001, 1),
        "end_factor": random.uniform(0, 1),
        "total_iters": total,
    }
    ours = Linear(base_lr=top, **chosen)
    return ours, lambda s, o: s.LinearLR(o, **chosen), total + 10, True, 1e-9


def polynomial(random: np.random.Generator, top: list[float]) -> Case:
    total = int(random.integers(1, 300))
    chosen = {"total_iters": total, "power": random.uniform(0.1, 10)}
    return (
        Polynomial(base_lr=top, **chosen),
        lambda s, o: s.PolynomialLR(o, **chosen),
        total + 10,
        True,
        0.0,
    )


def exponential(random: np.random.Generator, top: list[float]) -> Case:
    factor = gamma(random)
    ours = Exponential(base_lr=top, gamma=factor)
    return ours, lambda s, o: s.ExponentialLR(o, factor), 500, False, 0.0


def step(random: np.random.Generator, top: list[float]) -> Case:
    size, factor = int(random.integers(1, 100)), gamma(random)
    ours = Step(base_lr=top, step_size=size, gamma=factor)
    return ours, lambda s, o: s.StepLR(o, size, factor), 500, False, 0.0


def multistep(random: np.random.Generator, top: list[float]) -> Case:
    places = sorted({int(place) for place in random.integers(1, 300, 5)})
    factor = gamma(random)
    ours = MultiStep(base_lr=top, milestones=places, gamma=factor)
    return ours, lambda s, o: s.MultiStepLR(o, places, factor), 301, False, 0.0


def sequence(random: np.random.Generator, top: list[float]) -> Case:
    warmup, middle, last = (int(n) for n in random.integers(1, 100, 3))
    factor = gamma(random)

    def theirs(s: Any, o: Any) -> Any:
        parts = [
            s.LinearLR(o, 0.1, 1.0, warmup),
            s.StepLR(o, 7, factor),
            s.CosineAnnealingLR(o, last),
        ]
        return s.SequentialLR(o, parts, [warmup, warmup + middle])

    ours = Sequence(
        {
            "warmup": Linear(base_lr=top, start_factor=0.1, total_iters=warmup),
            "steps": Step(base_lr=top, step_size=7, gamma=factor),
            "cosine": Cosine(base_lr=top, T_max=last),
        },
        {"warmup": warmup, "steps": middle, "cosine": None},
    )
    return ours, theirs, warmup + middle + last, False, 1e-9


def gamma(random: np.random.Generator) -> float:
    return random.uniform(0.5, 1) if random.random() < 0.5 else 1 - 10 ** random.uniform(-8, -3)


def momenta(random: np.random.Generator) -> dict[str, float]:
    low, high = sorted(random.uniform(0, 0.99, 2))
    return {"base_momentum": low, "max_momentum": high}


def errors(case: Callable[..., Case], random: np.random.Generator) -> tuple[float, float]:
    """The largest relative error of rates and of momenta over a run; -1 where momenta rest."""
    tops = (10 ** random.uniform(-5, 1, 2)).tolist()
    ours, make, steps, closed, noise = case(random, tops)
    expected, their_momenta = run(make, tops, steps, closed)
    counted = expected > max(TINY, noise * expected.max())
    found = np.asarray(rates_at(ours, np.arange(steps)), np.float64)
    rate = float(np.max(np.abs(found - expected)[counted] / expected[counted], initial=0.0))
    if not ours.cycles_momentum:
        return rate, -1.0
    found = np.asarray(momenta_at(ours, np.arange(steps)), np.float64)
    return rate, float(np.max(np.abs(found - their_momenta) / their_momenta))


def run(make: Make, tops: list[float], steps: int, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's rates [steps, groups] and momenta [steps]; a closed form sets no momenta."""
    groups = [
        {"params": [torch.zeros((), dtype=torch.float64, requires_grad=True)], "lr": top}
        for top in tops
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates, momenta = [], []
    for position in range(steps):
        if closed:
            scheduler.last_epoch = position
            rates.append([float(lr) for lr in scheduler._get_closed_form_lr()])
            continue
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        momenta.append(float(optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if position + 1 < steps:
            scheduler.step()
    return np.array(rates), np.array(momenta)


CASES = {
    "cyclic": cyclic,
    "cyclic, no momentum": cyclic_without_momentum,
    "one_cycle": one_cycle,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "linear": linear,
    "polynomial": polynomial,
    "exponential": exponential,
    "step": step,
    "multistep": multistep,
    "sequence": sequence,
}


if __name__ == "__main__":
    main()
