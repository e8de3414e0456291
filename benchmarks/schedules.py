"""The largest relative error of each schedule over random settings.

Compared with exact arithmetic at steps up to 2³¹ - 1, or with PyTorch's schedulers, run live in
float64 for whole runs of two groups of parameters; momentum where both cycle it. Not counted are
rates below float32's smallest normal number, and for linear and sequence those within a billionth
of the highest, where PyTorch's own differences and recursions have lost their digits. What is
compared stands in the test file of each schedule. Needs a checkout with the tests' requirements
(``pip install '.[test]'``), and PyTorch (``'.[oracle]'``) for the comparisons with it.

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
    parser.add_argument("names", nargs="*", metavar="NAME", help="schedules; all by default")
    parser.add_argument("--configurations", type=int, default=200, help="of each schedule")
    arguments = parser.parse_args()
    count = arguments.configurations
    cases = discovered()
    names = arguments.names or list(cases)
    exact = {name: cases[name].exact for name in names if cases[name].exact}
    pytorch = {label: draw for name in names for label, draw in cases[name].pytorch.items()}
    print(f"{count} configurations each; largest relative error of the rate (and the momentum)")
    _report("exact arithmetic", exact, count)
    if pytorch and find_spec("torch") is None:
        print("PyTorch is not installed (pip install '.[oracle]'): not compared with")
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
