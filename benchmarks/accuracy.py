"""Measures the relative error of CyclicLR in float32 over random settings.

The reference is exact arithmetic at positions up to 2³¹ - 1 and, if PyTorch is installed, PyTorch's
CyclicLR in float64.

    python benchmarks/accuracy.py [--configurations 500]
"""

import argparse
from decimal import Context, Decimal
from fractions import Fraction
from importlib.util import find_spec

import jax
import numpy as np

from runner.schedules import CyclicLR

LAST = 2**31 - 1
# Smaller rates are not counted: float32 has less precision there.
TINY = Fraction(float(np.finfo(np.float32).tiny))
values_at = jax.jit(lambda schedule, steps: schedule(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the relative error of CyclicLR.")
    parser.add_argument("--configurations", type=int, default=500)
    count = parser.parse_args().configurations
    random = np.random.default_rng(0)
    configurations = [configuration(random) for _ in range(count)]
    worst = max(against_exact(arguments, random) for arguments in configurations)
    print(f"relative to exact arithmetic, {count} settings, positions to 2^31 - 1: {worst:.2e}")
    if find_spec("torch") is None:
        print("PyTorch is not installed: pip install '.[oracle]' to compare with it")
        return
    worst = max(against_torch(arguments, random) for arguments in configurations)
    print(f"relative to PyTorch in float64, {count} settings, first 1,000 cycles: {worst:.2e}")


def configuration(random: np.random.Generator) -> dict:
    base = 0.0 if random.random() < 0.1 else 10 ** random.uniform(-7, -1)
    up = int(10 ** random.uniform(0, 5))
    return {
        "base_lr": base,
        "max_lr": base + 10 ** random.uniform(-6, 0.5),
        "step_size_up": up,
        "step_size_down": None if random.random() < 0.3 else int(10 ** random.uniform(0, 5)),
        "mode": str(random.choice(["triangular", "triangular2", "exp_range"])),
        "gamma": 1 - 10 ** random.uniform(-10, -1),
    }


def against_exact(arguments: dict, random: np.random.Generator) -> float:
    """The largest relative error at 40 positions, half of them in the first thousand cycles."""
    total = arguments["step_size_up"] + (arguments["step_size_down"] or arguments["step_size_up"])
    near = random.integers(0, min(1000 * total, LAST), 20)
    steps = np.concatenate([near, random.integers(0, LAST, 19), [LAST]]).astype(np.int32)
    rates = np.asarray(values_at(CyclicLR(**arguments), steps))
    errors = [0.0]
    for rate, step in zip(rates, steps, strict=True):
        right = exact(arguments, int(step))
        if right >= TINY:
            errors.append(float(abs(Fraction(float(rate)) - right) / right))
    return max(errors)


def exact(arguments: dict, position: int) -> Fraction:
    up = arguments["step_size_up"]
    down = arguments["step_size_down"] or up
    cycle, r = divmod(position, up + down)
    triangle = Fraction(r, up) if r <= up else Fraction(up + down - r, down)
    context = Context(prec=60, Emin=-(10**15))
    scale = {
        "triangular": lambda: Decimal(1),
        "triangular2": lambda: context.power(Decimal("0.5"), cycle),
        "exp_range": lambda: context.power(Decimal(arguments["gamma"]), position),
    }[arguments["mode"]]()
    # Far below TINY, an exact number of thousands of digits would only cost time.
    share = Fraction(scale) if scale > Decimal("1e-200") else Fraction(0)
    base, top = Fraction(arguments["base_lr"]), Fraction(arguments["max_lr"])
    return base + (top - base) * triangle * share


def against_torch(arguments: dict, random: np.random.Generator) -> float:
    """The largest relative error at 200 positions in the first thousand cycles."""
    import torch

    total = arguments["step_size_up"] + (arguments["step_size_down"] or arguments["step_size_up"])
    # In cycle 1025, PyTorch's triangular2 overflows.
    steps = random.integers(0, min(1000 * total, LAST), 200).astype(np.int32)
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=0.1)
    theirs = torch.optim.lr_scheduler.CyclicLR(optimizer, cycle_momentum=False, **arguments)
    rates = []
    for step in steps:
        theirs.last_epoch = int(step)
        rates.append(theirs.get_lr()[0])
    ours = np.asarray(values_at(CyclicLR(**arguments), steps), np.float64)
    right = np.array(rates)
    counted = right >= float(TINY)
    return float(np.max(np.abs(ours - right)[counted] / right[counted], initial=0.0))


if __name__ == "__main__":
    main()
