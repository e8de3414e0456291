"""Fuzzes a reader of untrusted input with atheris: it must read or refuse any input.

    pip install atheris
    python benchmarks/fuzz.py expression --seconds 600
    python benchmarks/fuzz.py idx --seconds 600

Prints the number of inputs. Any exception other than the documented error, or an input that takes
more than 5 seconds, ends the run with exit code 77 or 70 and leaves the input in a file in the
current folder.
"""

import argparse
import gzip
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.errors import ConfigError, DataError

SECONDS_PER_INPUT = 5
LONGEST_INPUT = 1000
MODULES = {"expression": "runner.config.expression", "idx": "runner.data.sources.idx"}

EXPRESSIONS = (b"1 / x", b"clip(sin(pi * x), 0, 1) ** 2", b"min(x, 1e3, -x) <= 2 < 3", b"cos")
_IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1]) + bytes(range(4))
_LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])
# The first byte chooses the number of axes and whether the file is compressed.
IDX_FILES = (
    b"\0" + _LABELS,
    b"\1" + _IMAGES,
    b"\2" + gzip.compress(_LABELS, mtime=0),
    b"\3" + gzip.compress(_IMAGES, mtime=0),
)

# Reads one input; the inputs to start from; words of the format.
Target = tuple[Callable[[bytes], None], Sequence[bytes], Sequence[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzzes a reader of untrusted input.")
    parser.add_argument("target", choices=MODULES, help="what to fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        import atheris  # pyright: ignore[reportMissingImports]
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris (Python 3.11 to 3.13)")
    if arguments.folder is None:  # atheris ends its process, which could not remove the folder
        with tempfile.TemporaryDirectory(prefix="runner-fuzz-") as folder:
            command = [sys.executable, *sys.argv, "--folder", folder]
            sys.exit(subprocess.run(command, check=False).returncode)
    with atheris.instrument_imports(include=[MODULES[arguments.target]]):
        module = importlib.import_module(MODULES[arguments.target])
    read, seeds, words = TARGETS[arguments.target](module, arguments.folder)
    corpus, dictionary = arguments.folder / "corpus", arguments.folder / "words"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    dictionary.write_text("".join(f'"{word}"\n' for word in words))
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-max_len={LONGEST_INPUT}",
        f"-dict={dictionary}",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], read)
    atheris.Fuzz()


def expression_target(expression: Any, folder: Path) -> Target:
    """Reads the input as a ``scale_fn``, and evaluates it if it is one."""

    def read(data: bytes) -> None:
        try:
            compute = expression.scale_function(data.decode("utf-8", "surrogateescape"))
        except ConfigError:
            return
        compute(0.5)

    words = ("**", "//", "<=", "!=", ":=", "lambda", "if", "else", "1e308", "__", "0x", "1_0")
    return read, EXPRESSIONS, (*expression.FUNCTIONS, *expression.CONSTANTS, *words)


def idx_target(idx: Any, folder: Path) -> Target:
    """Reads the input as an IDX file, plain or compressed, of one or three axes."""

    def read(data: bytes) -> None:
        kind, content = data[:1] or b"\0", data[1:]
        path = folder / ("file.gz" if kind[0] & 2 else "file")
        path.write_bytes(content)
        try:
            idx.read_idx(path, ndim=3 if kind[0] & 1 else 1)
        except DataError:
            return

    return read, IDX_FILES, (r"\x00\x00\x08\x01", r"\x00\x00\x08\x03", r"\x1f\x8b\x08")


TARGETS = {"expression": expression_target, "idx": idx_target}

if __name__ == "__main__":
    main()
