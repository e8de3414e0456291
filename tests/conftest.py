"""Shared by all tests: the command line, as a process of its own and within this one."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

import runner
from runner import registry

Completed = subprocess.CompletedProcess[str]
CommandLine = Callable[..., Completed]


def pytest_configure(config: pytest.Config) -> None:
    """All processes of a test session share compiled programs, and leave the user's cache alone."""
    # Small programs too, also where a test uses jax directly: by default jax keeps slow ones only.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="runner-tests-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Undoes a shell's ``&`` and ``nohup``: a command and its children ignore SIGINT and SIGHUP."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment of a process that finds this ``runner`` in any folder and uses the CPU."""
    found = str(Path(runner.__file__).parents[1])
    path = os.pathsep.join(filter(None, [found, os.environ.get("PYTHONPATH")]))
    return {
        **{key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"},
        "PYTHONPATH": path,
        "JAX_PLATFORMS": "cpu",
    }


@pytest.fixture(autouse=True)
def _absl_leaves_captured_streams_open() -> None:
    """absl (jax, orbax) logs to the stderr of its import, here pytest's, and closes it.

    It does so whenever logging is configured again, as ``runner.cli.main`` does within a test.
    """
    if "absl.logging" in sys.modules:
        handler = sys.modules["absl.logging"].get_absl_handler()
        handler.python_handler.stream = sys.__stderr__


@pytest.fixture(autouse=True)
def _parts_that_a_test_registers_are_removed() -> Iterator[None]:
    """Every later command line of this process would offer them as options, which takes time."""
    registries = (*registry.GROUPS.values(), registry.scale_fns)
    before = [set(known.plugins()) for known in registries]
    yield
    options = ConfigStore.instance().repo
    for known, names in zip(registries, before, strict=True):
        for name in set(known.plugins()) - names:
            del known._factories[name]
            options.get(known.group, {}).pop(f"{name}.yaml", None)


@pytest.fixture
def run_cli(tmp_path: Path, environment: dict[str, str]) -> CommandLine:
    """``python -m runner ARGS`` in an empty folder; ``env`` adds to the environment."""

    def run(
        *args: str,
        cwd: Path = tmp_path,
        env: dict[str, str] | None = None,
        timeout: float = 180,
    ) -> Completed:
        return subprocess.run(
            [sys.executable, "-m", "runner", *args],
            cwd=cwd,
            env=environment | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a real file system with the given options, or skips the test."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting needs root; other tests cover what they can everywhere")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(disk: Callable[[str], Path]) -> Path:
    """A real file system of 64 KiB, where mounting is permitted."""
    return disk("size=64k")


@pytest.fixture(scope="session")
def compilations() -> Callable[[], int]:
    """Calls to it return how many programs XLA has compiled (or fetched compiled) so far."""
    import jax

    seen = []

    def listen(event: str, duration_secs: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: len(seen)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command line in this process, in an empty folder; returns (exit code, folder)."""
    from runner.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*overrides, name="run"):
        folder = tmp_path / name
        return main([f"hydra.run.dir={folder}", *overrides]), folder

    return run


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module that this process can import as a plugin; forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def summary():
    """Reads a run folder's ``summary.json``."""
    return lambda folder: json.loads((folder / "summary.json").read_text())


@pytest.fixture
def read_table():
    """Reads a ``schedule.csv``: its header, then its rows, as strings."""

    def read(path):
        with path.open(newline="") as file:
            return list(csv.reader(file))

    return read


@pytest.fixture
def digits_as_idx(tmp_path):
    """A folder with the digits' images and labels in MNIST's format, for ``dataset.root``."""
    from runner.data.sources.digits import digits
    from runner.data.sources.idx import FILES

    folder = tmp_path / "idx"
    folder.mkdir()
    dataset = digits()
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        for file, array in zip(FILES[name], (split.inputs[..., 0], split.targets), strict=True):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            (folder / file).write_bytes(header + array.astype("u1").tobytes())
    return folder
