"""Compares the throughput of runs that save at the default interval and of runs that save nothing.

Runs whole processes, in pairs that take turns of half a second. The interval is measured in wall
time, which continues while a process is stopped: a run of a pair saves twice as often per step as a
run that has the machine to itself. Prints the median and the range of the ratios of
``steps_per_second``, for the mlp and for the cnn.

    python benchmarks/checkpoints.py [--pairs 5] [--seconds 45] [--only mlp]
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from turns import run_in_turns

MODELS = ("mlp", "cnn")
NO_SAVES = ("checkpoint.every=null",)
# Long enough to measure the speed from which the length of the run follows.
PROBE_STEPS = {"mlp": 20_000, "cnn": 500}
EVALUATIONS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what saving checkpoints costs.")
    parser.add_argument("--pairs", type=int, default=5, help="number of pairs, for each model")
    parser.add_argument("--seconds", type=float, default=45, help="seconds of training in each run")
    parser.add_argument("--only", choices=MODELS, help="one model instead of both")
    given = parser.parse_args()
    for model in [given.only] if given.only else MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            compare(Path(scratch), model, pairs=given.pairs, seconds=given.seconds)


def compare(root: Path, model: str, *, pairs: int, seconds: float) -> None:
    """Prints the ratios of one model."""
    run_in_turns(command(root / "probe", model, PROBE_STEPS[model], NO_SAVES))
    steps = int(speed(root / "probe") * seconds)
    ratios, saves = [], []
    for pair in range(pairs):
        saved, unsaved = root / f"{pair}saved", root / f"{pair}unsaved"
        run_in_turns(command(saved, model, steps, ()), command(unsaved, model, steps, NO_SAVES))
        ratios.append(speed(saved) / speed(unsaved))
        saves.append(len(list((saved / "checkpoints").iterdir())))
        print(f"{model}: {ratios[-1]:.3f}", flush=True)
    print(
        f"{model}, {steps:,} steps, {min(saves)} to {max(saves)} checkpoints at the end: median "
        f"{statistics.median(ratios):.3f} of the speed without saves "
        f"({min(ratios):.3f} to {max(ratios):.3f}, n={pairs})",
        flush=True,
    )


def command(folder: Path, model: str, steps: int, settings: tuple[str, ...]) -> list[str]:
    """Trains with ten evaluations, every step logged."""
    lengths = (f"training.steps={steps}", f"training.eval_every={max(1, steps // EVALUATIONS)}")
    line = [f"hydra.run.dir={folder}", f"model={model}", *lengths, *settings]
    return [sys.executable, "-m", "runner", *line]


def speed(folder: Path) -> float:
    """The steps per second of a finished run."""
    return json.loads((folder / "summary.json").read_text())["steps_per_second"]


if __name__ == "__main__":
    main()
