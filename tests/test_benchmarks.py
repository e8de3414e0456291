"""The benchmarks say what they lack and how long they take."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
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
    compare = runpy.run_path(str(BENCHMARKS / "pairs.py"))["compare"]
    compare("mlp", lambda: 2.0, lambda: 1.0, steps=10, pairs=2)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "mlp: compiling",
        "mlp: pair 1 of 2, about 6 s left",
        "mlp: pair 2 of 2, about 3 s left",
    ]
    assert printed.out.startswith("mlp: 0.500 of bare")


@pytest.mark.slow
def test_processes_run_in_turns_of_which_one_is_not_stopped(tmp_path: Path) -> None:
    """Each appends its name again and again; a turn leaves a run of equal names."""
    run_in_turns = runpy.run_path(str(BENCHMARKS / "turns.py"))["run_in_turns"]
    log = tmp_path / "log"
    code = (
        "import sys, time\n"
        "with open(sys.argv[1], 'a', buffering=1) as log:\n"
        "    while log.tell() < 4000 and not print(sys.argv[2], file=log):\n"
        "        time.sleep(0.001)\n"
    )
    commands = [[sys.executable, "-c", code, str(log), name] for name in ("a", "b")]
    seconds = run_in_turns(*commands, turn_seconds=0.2)
    names = log.read_text().split()
    turns = [name for name, before in zip(names, [None, *names], strict=False) if name != before]
    assert {"a", "b"} == set(names)
    assert len(turns) < len(names) / 10
    assert all(value > 0 for value in seconds)


def test_the_error_of_a_process_that_runs_in_turns_is_shown() -> None:
    run_in_turns = runpy.run_path(str(BENCHMARKS / "turns.py"))["run_in_turns"]
    fails = [sys.executable, "-c", "import sys; sys.exit('no data')"]
    with pytest.raises(SystemExit, match="no data"):
        run_in_turns([sys.executable, "-c", ""], fails, turn_seconds=0.2)


@pytest.fixture(scope="module")
def throughput() -> dict[str, Any]:
    """The names of the script, which imports its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return runpy.run_path(str(BENCHMARKS / "throughput.py"))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mlp", marks=pytest.mark.slow),
        pytest.param("surrounded", marks=pytest.mark.slow),
        pytest.param("mnist1d_cnn", marks=pytest.mark.slow),
        pytest.param("text_transformer", marks=pytest.mark.slow),
        pytest.param("fashion_resnet20", marks=pytest.mark.slow),
    ],
)
def test_both_sides_of_a_row_train_the_same_parameters(
    throughput: dict[str, Any], name: str, tmp_path: Path
) -> None:
    row = throughput["ROWS"][name]
    experiment = row.experiment(12, *small_data(row.data, tmp_path))
    ours, bare = throughput["the_runner"](experiment), row.bare(experiment)
    trained = ours.run(ours.prepare())
    expected, *_ = bare.run(bare.prepare())
    initial = experiment.initial_state().params
    for found, wanted, start in zip(
        *map(jax.tree.leaves, (trained, expected, initial)), strict=True
    ):
        # Relative to how far the parameters have moved.
        moved = np.abs(np.asarray(wanted) - np.asarray(start)).max()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-2 * moved + 1e-7)


def small_data(kind: str | None, folder: Path) -> tuple[str, ...]:
    """Writes a little random data and returns the settings that name it."""
    random = np.random.default_rng(0)
    if kind == "text":
        path = folder / "text.txt"
        path.write_bytes(random.integers(97, 123, 200_000).astype(np.uint8).tobytes())
        return (f"dataset.path={path}", "training.batch_size=4", "model.depth=1", "model.width=32")
    if kind is None:
        return ()
    inputs = random.standard_normal((80, 40) if kind == "mnist1d" else (80, 8, 8, 1))
    labels = random.permutation(np.arange(80) % 10)
    path = folder / "arrays.npz"
    np.savez(path, x_train=inputs, y_train=labels, x_test=inputs, y_test=labels)
    if kind == "mnist1d":
        # A bias before a batch normalisation has only rounding errors for a gradient; Adam scales
        # them up.
        other = ("model.norm=none",)
    else:
        # Otherwise the loss on random images rises at this rate, and rounding errors with it.
        other = ("dataset=arrays", "model.zero_init=true")
    return (*other, f"dataset.path={path}", "training.batch_size=16")
