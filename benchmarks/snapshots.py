"""Compares snapshot ensembles and averaged weights with single models, on Fashion-MNIST.

Each seed is one run under ``cosine_restarts`` with a snapshot at every cycle end. All of its models
come from that run: the last snapshot, the one that is best on the validation examples, the ensemble
of all, and the average of all weights. The table has the test accuracy, with mean and deviation
over the seeds.

    python benchmarks/snapshots.py --root FOLDER [--model mlp] [--seeds 3] [--cycles 5] [--epochs 2]
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SETTINGS = {
    "mlp": ("model=mlp", "model.hidden=[128,128]", "model.norm=batch", "scheduler.base_lr=0.1"),
    "cnn": ("model=cnn", "model.features=[8,16]", "model.norm=batch", "scheduler.base_lr=0.1"),
}
COMMON = (
    "dataset=fashion_mnist",
    "training.batch_size=128",
    "training.eval_every=null",
    "training.snapshots=true",
    "optimizer.momentum=0.9",
    "scheduler=cosine_restarts",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares snapshots on Fashion-MNIST.")
    parser.add_argument("--root", required=True, help="folder of the files of Fashion-MNIST")
    parser.add_argument("--model", choices=SETTINGS, default="cnn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=2.0, help="of each cycle")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(options.seeds):
            folder = Path(scratch) / str(seed)
            train(folder, seed, options)
            found.append(accuracies(folder))
            shown = "  ".join(f"{name} {value:.2%}" for name, value in found[-1].items())
            print(f"seed {seed}: {shown}", flush=True)
    print(f"\n{'test accuracy':<16}{'mean':>8}{'deviation':>11}")
    for name in found[0]:
        values = np.array([one[name] for one in found])
        deviation = f"{values.std(ddof=1):.2%}" if len(values) > 1 else ""
        print(f"{name:<16}{values.mean():>8.2%}{deviation:>11}")


def train(folder: Path, seed: int, options: argparse.Namespace) -> None:
    """Trains in a process of its own."""
    lengths = (
        f"training.epochs={options.cycles * options.epochs}",
        f"scheduler.T_0={options.epochs}ep",
    )
    settings = *COMMON, *SETTINGS[options.model], *lengths
    command = [sys.executable, "-m", "runner", f"hydra.run.dir={folder}", f"seed={seed}"]
    root = f"dataset.root={options.root}"
    subprocess.run([*command, root, *settings], check=True, stdout=subprocess.DEVNULL)


def accuracies(folder: Path) -> dict[str, float]:
    """The test accuracy of each model of a run, from its table of snapshots."""
    with (folder / "snapshots.csv").open(encoding="ascii", newline="") as file:
        rows = [{tag: float(text) for tag, text in row.items()} for row in csv.DictReader(file)]
    best, last = max(rows, key=lambda row: row["snapshot/eval/accuracy"]), rows[-1]
    return {
        "last snapshot": last["snapshot/test/accuracy"],
        "best snapshot": best["snapshot/test/accuracy"],
        "ensemble": last["ensemble/test/accuracy"],
        "SWA": last["swa/test/accuracy"],
    }


if __name__ == "__main__":
    main()
