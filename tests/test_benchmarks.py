"""The benchmarks say what they lack and how long they take."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_without_pytorch_the_benchmark_of_schedules_names_the_extra(
    environment: dict[str, str],
) -> None:
    script = str(BENCHMARKS / "schedules.py")
    run = f"import runpy, sys; sys.modules['torch'] = None; sys.argv = [{script!r}, 'cosine']"
    arguments = (
        f"sys.argv += ['--configurations', '1']; runpy.run_path({script!r}, None, '__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{run}; {arguments}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "PyTorch is not installed: pip install '.[oracle]'" in done.stdout


def test_the_benchmark_of_throughput_shows_its_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare = runpy.run_path(str(BENCHMARKS / "throughput.py"))["compare"]
    compare("mlp", lambda: 2.0, lambda: 1.0, steps=10, pairs=2)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "mlp: compiling",
        "mlp: pair 1 of 2, about 6 s left",
        "mlp: pair 2 of 2, about 3 s left",
    ]
    assert printed.out.startswith("mlp: 0.500 of bare")
