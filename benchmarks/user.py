"""Measures what a user runs: the default command, with evaluations, saves and every step logged.

The time of a step is that of a long run less that of a short one, whole processes, so that imports
and compilation cancel. It is compared with two scripts written by hand that log nothing: one scans
as many steps as lie between two evaluations and evaluates as often; the other scans all steps, and
the computation of the evaluations is timed apart and added. Prints the ratio of the first script's
time to the runner's (above 1: the runner is faster), and that of the runner's time to the second's.

    python benchmarks/user.py [--pairs 5] [--epochs 400]
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from statistics import median
from time import perf_counter

import jax
from bare import evaluations, mlp, scanned
from descents import sgd
from pairs import Timed, in_turns, spread

from runner.cli.commands import configure
from runner.experiment.build import Experiment, build

# Epochs of the short run, and steps between evaluations: both are those of the default run.
SHORT, EVERY = 40, 44
EPOCHS = 400


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="length of the long run")
    options = parser.parse_args()
    measure(pairs=options.pairs, epochs=options.epochs)


def measure(*, pairs: int, epochs: int = EPOCHS) -> None:
    """Prints a line for each pair, then the medians."""
    short, long = an_experiment(SHORT), an_experiment(epochs)
    steps = long.lengths.steps - short.lengths.steps
    sides = [
        difference(partial(process, epochs), partial(process, SHORT)),
        difference(*(scanned(e, mlp, sgd(), every=EVERY) for e in (long, short))),
        difference(*(scanned(e, mlp, sgd()) for e in (long, short))),
        evaluations(long, mlp, count=steps // EVERY),
    ]
    print("user: compiling", file=sys.stderr, flush=True)
    process(SHORT)  # fills the compilation cache
    for side in sides[1:]:
        side()
    ratios, overheads, left = [], [], ""
    for pair in range(pairs):
        print(f"user: pair {pair + 1} of {pairs}{left}", file=sys.stderr, flush=True)
        started = perf_counter()
        ours, bare, scan, evaluated = (1e6 * seconds / steps for seconds in in_turns(pair, *sides))
        left = f", about {(perf_counter() - started) * (pairs - pair - 1):.0f} s left"
        ratios.append(bare / ours)
        overheads.append(ours / (scan + evaluated))
        print(
            f"user, pair {pair + 1}: runner {ours:.1f} µs a step, script that evaluates "
            f"{bare:.1f}, scan {scan:.1f} + evaluations {evaluated:.1f}",
            flush=True,
        )
    for name, values in (
        ("script that evaluates / runner", ratios),
        ("runner / (scan + evaluations)", overheads),
    ):
        print(f"user, {name}: {median(values):.2f} {spread(values, 2)}", flush=True)


def an_experiment(epochs: int) -> Experiment:
    return build(configure(f"training.epochs={epochs}"), jax.devices()[0])


def difference(long: Timed, short: Timed) -> Timed:
    """The seconds of a long run less those of a short one."""
    return lambda: long() - short()


def process(epochs: int) -> float:
    """The seconds of ``python -m runner`` with the default configuration."""
    with tempfile.TemporaryDirectory() as folder:
        lengths = (f"training.epochs={epochs}", f"training.eval_every={EVERY}")
        started = perf_counter()
        subprocess.run(
            [sys.executable, "-m", "runner", *lengths, f"hydra.run.dir={folder}/run"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return perf_counter() - started


if __name__ == "__main__":
    main()
