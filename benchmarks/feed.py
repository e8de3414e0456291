"""Compares the placements of a data set: speed, memory and the parameters that come of it.

Trains the same multilayer perceptron on a small file of examples from the device, the host and in a
stream, then on a file of ``--gib`` in a stream, with the process's own data limited to ``--limit``
(Linux's RLIMIT_DATA, which counts no mapped files). Prints the steps per second, the peak of the
anonymous memory (RssAnon, sampled) and the hash of the final parameters.

    python benchmarks/feed.py [--gib 4] [--limit 3] [--steps 300] [--folder FOLDER]
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
    parser.add_argument("--limit", type=float, default=3, help="GiB of data of a process")
    parser.add_argument("--steps", type=int, default=300)
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
        print("| file | placement | steps/s | peak RssAnon | parameters |\n|---|---|---|---|---|")
        for path, placement in [
            *((small, placement) for placement in ("device", "host", "stream")),
            (large, "stream"),
        ]:
            found = measured(path, placement, options)
            print(
                f"| {path.name} | {placement} | {found['steps_per_second']:,.1f} | "
                f"{found['anonymous'] / 2**20:,.0f} MiB | {found['sha256'][:12]} |",
                flush=True,
            )


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
