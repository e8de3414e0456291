"""Compares the throughput of runs that save checkpoints at the default interval and that do not.

Whole processes, in pairs that take turns in which comes first. The runs are longer than the
interval, so that saves happen while they train. Prints the median and the range of the ratios of
``steps_per_second``, for the mlp and for the cnn.

    python benchmarks/checkpoints.py [--pairs 5] [--seconds 75] [--only mlp]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("mlp", "cnn")
NO_SAVES = ("checkpoint.every=null",)
# Long enough to measure the speed from which the length of the run follows.
PROBE_STEPS = {"mlp": 20_000, "cnn": 500}
EVALUATIONS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what saving checkpoints costs.")
    parser.add_argument("--pairs", type=int, default=5, help="of processes, for each model")
    parser.add_argument("--seconds", type=float, default=75, help="length of each run")
    parser.add_argument("--only", choices=MODELS, help="one model instead of both")
    given = parser.parse_args()
    for model in [given.only] if given.only else MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            compare(Path(scratch), model, pairs=given.pairs, seconds=given.seconds)


def compare(root: Path, model: str, *, pairs: int, seconds: float) -> None:
    """Prints the ratios of one model."""
    speed, _ = run(root / "probe", model, PROBE_STEPS[model], NO_SAVES)
    steps = int(speed * seconds)
    ratios, saves = [], []
    for number in range(pairs):
        speeds = {}
        for saved in (True, False) if number % 2 else (False, True):
            folder = root / f"{number}{saved}"
            speeds[saved], count = run(folder, model, steps, () if saved else NO_SAVES)
            saves += [count] if saved else []
        ratios.append(speeds[True] / speeds[False])
        print(f"{model}: {ratios[-1]:.3f} ({speeds[True]:.0f} / {speeds[False]:.0f})", flush=True)
    print(
        f"{model}, {steps:,} steps, {min(saves)} to {max(saves)} checkpoints left: median "
        f"{statistics.median(ratios):.3f} of the speed without "
        f"({min(ratios):.3f} to {max(ratios):.3f}, n={pairs})",
        flush=True,
    )


def run(folder: Path, model: str, steps: int, settings: tuple[str, ...]) -> tuple[float, int]:
    """The steps per second of a run, and how many checkpoints it has left."""
    lengths = (f"training.steps={steps}", f"training.eval_every={max(1, steps // EVALUATIONS)}")
    line = [f"hydra.run.dir={folder}", f"model={model}", *lengths, *settings]
    command = [sys.executable, "-m", "runner", *line]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    summary = json.loads((folder / "summary.json").read_text())
    saved = folder / "checkpoints"
    return summary["steps_per_second"], len(list(saved.iterdir())) if saved.is_dir() else 0


if __name__ == "__main__":
    main()
