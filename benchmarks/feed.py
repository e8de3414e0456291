"""Compares the placements of a data set: speed, memory and the final parameters.

Trains the same multilayer perceptron on a small file of examples with each placement (``device``,
``host``, ``stream``), and on a file of ``--gib`` with ``stream``. The data of each process is
limited to ``--limit`` (Linux's RLIMIT_DATA, which does not count mapped files). All take turns, for
``--rounds``. Prints the steps per second (median), their ratio to those of the first line in the
same round (median and range), the peak of the anonymous memory (RssAnon, sampled) and the hash of
the final parameters.

    python benchmarks/feed.py [--gib 4] [--limit 3] [--steps 300] [--rounds 5] [--folder FOLDER]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

COLUMNS, CLASSES, SMALL = 4096, 10, 32_768
GIB = 2**30


def main() -> None:
    """Writes the files, trains in a process of its own for each line, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=4, help="size of the large file")
    parser.add_argument("--limit", type=float, default=3, help="the most data of a process, in GiB")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="for the files; a temporary one by default")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(trained(*options.child, steps=options.steps, limit=options.limit)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        write(small, SMALL)
        write(large, int(options.gib * GIB) // COLUMNS)
        lines = [(small, placement) for placement in ("device", "host", "stream")]
        lines.append((large, "stream"))
        found: dict[Any, list[dict[str, Any]]] = {line: [] for line in lines}
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for line in lines:
                found[line].append(measured(*line, options))
        print("| file | placement | steps/s | ratio to first line | peak RssAnon | parameters |")
        print("|---|---|---|---|---|---|")
        for (path, placement), results in found.items():
            print(f"| {path.name} | {placement} | {row(results, found[lines[0]])} |")


def row(results: list[dict[str, Any]], first: list[dict[str, Any]]) -> str:
    """The figures of a line over all rounds; ``first`` are those of the first line."""
    speeds = [result["steps_per_second"] for result in results]
    ratios = [speed / other["steps_per_second"] for speed, other in zip(speeds, first, strict=True)]
    cells = (
        f"{median(speeds):,.1f}",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{max(result['anonymous'] for result in results) / 2**20:,.0f} MiB",
        ", ".join(sorted({result["sha256"][:12] for result in results})),
    )
    return " | ".join(cells)


def write(folder: Path, examples: int) -> None:
    """Random bytes whose first columns depend on the class, as mapped ``.npy`` files."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", examples), ("test", 1024)):
        targets = random.integers(0, CLASSES, count).astype(np.int32)
        np.save(folder / f"y_{part}.npy", targets)
        inputs = np.lib.format.open_memmap(
            folder / f"x_{part}.npy", "w+", np.uint8, (count, COLUMNS)
        )
        for start in range(0, count, SMALL):
            block = random.integers(0, 256, (min(SMALL, count - start), COLUMNS), np.uint8)
            block[:, 0] = 25 * targets[start : start + SMALL]
            inputs[start : start + SMALL] = block
        inputs.flush()


def measured(path: Path, placement: str, options: argparse.Namespace) -> dict[str, Any]:
    """What ``trained`` returns in a process of its own."""
    settings = ["--steps", str(options.steps), "--limit", str(options.limit)]
    child = [sys.executable, __file__, *settings, "--child", str(path), placement]
    done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def trained(path: str, placement: str, *, steps: int, limit: float) -> dict[str, Any]:
    """Trains on the files in ``path``; returns speed, memory and the hash of the parameters."""
    size = int(limit * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    from runner.cli import main as run

    peak, over = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, over), daemon=True)
    watcher.start()
    with tempfile.TemporaryDirectory() as folder:
        code = run(
            [
                "dataset=arrays",
                f"dataset.path={path}",
                f"dataset.placement={placement}",
                "model.hidden=[512]",
                "training.batch_size=256",
                f"training.steps={steps}",
                "training.eval_every=null",
                "checkpoint.every=null",
                f"hydra.run.dir={folder}/run",
            ]
        )
        if code != 0:
            raise SystemExit(code)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    over.set()
    watcher.join()
    return {
        "steps_per_second": summary["steps_per_second"],
        "sha256": summary["params_sha256"],
        "anonymous": peak[0],
    }


def watch(peak: list[int], over: threading.Event) -> None:
    """Keeps the highest RssAnon of this process in ``peak``, in bytes."""
    while not over.is_set():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
