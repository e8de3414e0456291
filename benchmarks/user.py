"""Measures what a user runs: the default command, with evaluations, saves and every step logged.

It is compared with two programs written by hand that log nothing. The first scans the steps between
two evaluations, and evaluates as often as the runner. The second is a bound: one scan of all steps,
and the evaluations alone, timed in processes of their own. All processes run in turns of half a
second. The time of a step is the difference between a long and a short run divided by that of
their steps, so that imports and compilation cancel. Prints three ratios of times: the first program
to the runner (above 1: the runner is faster), the runner to the bound, and the first program to the
bound. The last is the highest value that the first can reach.

    python benchmarks/user.py [--pairs 5] [--epochs 4000]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import jax
from bare import evaluations, mlp, scanned
from descents import sgd
from pairs import Side, spread
from turns import run_in_turns

from runner.cli.commands import configure
from runner.experiment.build import Experiment, build

# Epochs of the short run, and steps between evaluations: both are those of the default run.
SHORT, EVERY = 40, 44
EPOCHS = 4000
STEPS_PER_EPOCH = 22

# The hand-written side of an experiment, by the name that its process is started with.
SCRIPTS: dict[str, Callable[[Experiment], Side]] = {
    "evaluating": lambda experiment: scanned(experiment, mlp, sgd(), every=EVERY),
    "scan": lambda experiment: scanned(experiment, mlp, sgd()),
    "evaluations": lambda experiment: evaluations(
        experiment, mlp, count=experiment.lengths.steps // EVERY
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="length of the long run")
    parser.add_argument("--script", choices=SCRIPTS, help="run only this script, once")
    options = parser.parse_args()
    if options.script is not None:
        SCRIPTS[options.script](an_experiment(options.epochs))()
        return
    measure(pairs=options.pairs, epochs=options.epochs)


def measure(*, pairs: int, epochs: int = EPOCHS) -> None:
    """Prints a line for each pair, then the medians."""
    steps = (epochs - SHORT) * STEPS_PER_EPOCH
    print("user: compiling", file=sys.stderr, flush=True)
    process_seconds(SHORT)  # fills the compilation cache
    ratios, overheads, limits, left = [], [], [], ""
    for pair in range(pairs):
        print(f"user: pair {pair + 1} of {pairs}{left}", file=sys.stderr, flush=True)
        started = perf_counter()
        long, short = process_seconds(epochs), process_seconds(SHORT)
        ours, bare, scan, evaluated = (
            1e6 * (long_seconds - short_seconds) / steps
            for long_seconds, short_seconds in zip(long, short, strict=True)
        )
        left = f", about {(perf_counter() - started) * (pairs - pair - 1):.0f} s left"
        ratios.append(bare / ours)
        overheads.append(ours / (scan + evaluated))
        limits.append(bare / (scan + evaluated))
        print(
            f"user, pair {pair + 1}: runner {ours:.1f} µs a step, script that evaluates "
            f"{bare:.1f}, scan {scan:.1f} + evaluations {evaluated:.1f}",
            flush=True,
        )
    for name, values in (
        ("script that evaluates / runner", ratios),
        ("runner / (scan + evaluations)", overheads),
        ("script that evaluates / (scan + evaluations)", limits),
    ):
        print(f"user, {name}: {median(values):.2f} {spread(values, 2)}", flush=True)


def an_experiment(epochs: int) -> Experiment:
    return build(configure(f"training.epochs={epochs}"), jax.devices()[0])


def process_seconds(epochs: int) -> list[float]:
    """The seconds of ``python -m runner`` with the default configuration, and of the scripts."""
    with tempfile.TemporaryDirectory() as folder:
        settings = (f"training.epochs={epochs}", f"training.eval_every={EVERY}")
        runner = [sys.executable, "-m", "runner", *settings, f"hydra.run.dir={folder}/run"]
        script = [sys.executable, str(Path(__file__).resolve()), "--epochs", str(epochs)]
        return run_in_turns(runner, *([*script, "--script", name] for name in SCRIPTS))


if __name__ == "__main__":
    main()
