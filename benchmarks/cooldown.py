"""Compares a cooldown forked from a constant-rate run with a whole run under ``wsd``.

For each seed: one run at a constant rate; a fork of it at 80% of its length that cools down by
1 - sqrt; and a run under the same ``wsd`` from the start. The rates of the last two agree at every
step, so their parameters should agree to the bit.

    python benchmarks/cooldown.py [--seeds 5]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS, FORK = 880, 704
WSD = ("scheduler=wsd", "scheduler.warmup=0", "scheduler.decay=20%", "scheduler.decay_type=sqrt")
CONSTANT = ("scheduler=constant", "checkpoint.every=80%", "checkpoint.keep=3")


def run(folder: Path, *overrides: str) -> dict:
    """Trains in a process of its own and returns the summary."""
    command = [sys.executable, "-m", "runner", f"hydra.run.dir={folder}", *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    length = f"training.steps={STEPS}"
    print(f"{'seed':>4}  {'constant':>8}  {'forked':>8}  {'whole':>8}  parameters")
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(seeds):
            folders = [Path(scratch) / f"{name}{seed}" for name in ("constant", "forked", "whole")]
            constant = run(folders[0], f"seed={seed}", length, *CONSTANT)
            forked = run(folders[1], f"init_from={folders[0]}@{FORK}", *WSD)
            whole = run(folders[2], f"seed={seed}", length, *WSD)
            accuracies = [s["metrics"]["eval/accuracy"] for s in (constant, forked, whole)]
            same = forked["params_sha256"] == whole["params_sha256"]
            shown = "  ".join(f"{accuracy:8.2%}" for accuracy in accuracies)
            print(f"{seed:4}  {shown}  {'equal' if same else 'differ'}", flush=True)


if __name__ == "__main__":
    main()
