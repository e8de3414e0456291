"""The wheel alone, in an empty environment and an empty folder, is the whole runner."""

import os
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_installed_wheel_trains_from_an_empty_folder(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def call(*command: str) -> str:
        return subprocess.run(
            [str(python), "-m", *command],
            cwd=tmp_path,
            env=environment | {"JAX_PLATFORMS": "cpu"},
            check=True,
            capture_output=True,
            text=True,
            timeout=900,
        ).stdout

    call("pip", "install", "--quiet", str(ROOT))
    assert "triangular" in call("runner", "scheduler=triangular2", "training.steps=30")
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 1
    assert "triangular2" in call("runner", "--help")
    script = python.with_name("runner" + python.suffix)
    shown = subprocess.run(
        [str(script), "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "step_size_up: 12.5%" in shown.stdout
