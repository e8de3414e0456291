"""Measures the largest relative error of each schedule over random settings.

The reference is exact arithmetic at steps up to 2³¹ - 1, or PyTorch's scheduler in float64 over
whole runs with two parameter groups, with momentum where both cycle it. Rates below float32's
smallest normal number are not counted. For linear and sequence, neither are rates below a
billionth of the highest rate, where PyTorch's recursion loses precision. The test file of each
schedule defines its cases. Needs a checkout and the test dependencies (``pip install '.[test]'``);
comparisons with PyTorch need ``pip install '.[oracle]'``.

    python benchmarks/schedules.py [--configurations 200] [NAME ...]
"""

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "schedules"))
from schedule_cases import Drawn, discovered, errors

Draw = Callable[[np.random.Generator], Drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="schedules to measure (default: all)"
    )
    parser.add_argument(
        "--configurations", type=int, default=200, help="random settings for each schedule"
    )
    arguments = parser.parse_args()
    count = arguments.configurations
    cases = discovered()
    names = arguments.names or list(cases)
    exact = {name: cases[name].exact for name in names if cases[name].exact}
    pytorch = {label: draw for name in names for label, draw in cases[name].pytorch.items()}
    print(f"largest relative error of the rate (and the momentum) over {count} random settings")
    _report("exact arithmetic", exact, count)
    if pytorch and find_spec("torch") is None:
        print("PyTorch is not installed: pip install '.[oracle]' to compare with it")
    elif pytorch:
        _report("PyTorch", pytorch, count)


def _report(oracle: str, draws: dict[str, Draw], count: int) -> None:
    for label, draw in draws.items():
        random = np.random.default_rng(0)
        rates, momenta = zip(*(errors(draw(random)) for _ in range(count)), strict=True)
        cycled = "" if None in momenta else f"  {max(momenta):.1e}"
        print(f"{label:20} {oracle:17} {max(rates):.1e}{cycled}", flush=True)


if __name__ == "__main__":
    main()
