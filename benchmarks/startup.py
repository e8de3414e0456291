"""Times whole processes: the default run with an empty and with a filled compilation cache, the
help, and configuration errors, which must not import jax (except for a model's values). Also
prints test accuracies.

    python benchmarks/startup.py [--runs 5]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

# What is answered without a run.
ANSWERED = {
    "--help": "--help",
    "an unknown key": "typo=1",
    "an unknown option": "scheduler=foo",
    "a wrong value": "scheduler.base_lr=1",
    "a wrong value of a model": "model.hidden=[]",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Times whole processes of the runner.")
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        cold, warm, accuracies = [], [], []
        for number in range(runs):
            print(f"run {number + 1} of {runs}", file=sys.stderr, flush=True)
            cache = str(root / f"cache{number}")
            for times in (cold, warm):
                folder = root / f"run{number}{len(times)}{times is warm}"
                times.append(timed(root, cache, f"hydra.run.dir={folder}", f"seed={number}"))
                accuracies.append(accuracy(folder))
        show("default run, empty compilation cache", cold)
        show("default run, filled compilation cache", warm)
        print(
            f"test accuracy, seeds 0 to {runs - 1}: {min(accuracies):.2%} to {max(accuracies):.2%}"
        )
        cache = str(root / "cache")
        for name, argument in ANSWERED.items():
            show(name, [timed(root, cache, argument) for _ in range(runs)])
            print(f"  jax imported: {imports_jax(argument)}")


def timed(cwd: Path, cache: str, *arguments: str) -> float:
    """The seconds that ``python -m runner ARGUMENTS`` takes."""
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=cwd,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
        capture_output=True,
        check=False,
        text=True,
    )
    seconds = perf_counter() - started
    if done.returncode not in (0, 2):
        sys.exit(done.stderr)
    return seconds


def accuracy(folder: Path) -> float:
    return json.loads((folder / "summary.json").read_text())["metrics"]["test/accuracy"]


def imports_jax(argument: str) -> bool:
    """Whether the command line ``argument`` imports jax."""
    code = "import sys; from runner.cli import main; main(sys.argv[1:]);print('jax' in sys.modules)"
    command = [sys.executable, "-c", code, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1] == "True"


def show(name: str, seconds: list[float]) -> None:
    print(
        f"{name}: median {statistics.median(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}, n={len(seconds)})",
        flush=True,
    )


if __name__ == "__main__":
    main()
