"""Kills and resumes a small run on this machine and file system, and compares the states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from time import sleep

from etils import epy

from runner.config import Config
from runner.errors import StorageError
from runner.records.ending import Ending
from runner.registry import register_task

with epy.lazy_imports():
    from runner.records import checkpoints, summary
    from runner.report import announce, console

CHUNK = 5
# Cycles end at steps 20 and 40: the chunk boundaries there, and those before and after.
KILLED_AT = (15, 20, 25, 35, 40, 45)
STEPS = 60
_SETTINGS = (
    "task=train",
    "model.hidden=[16]",
    "optimizer=adam",
    "scheduler.base_lr=0.001",
    "scheduler.max_lr=0.01",
    "scheduler.step_size_up=10",
    "scheduler.step_size_down=10",
    f"training.steps={STEPS}",
    f"training.chunk={CHUNK}",
    "training.eval_every=20",
    f"checkpoint.every={CHUNK}",
    f"checkpoint.keep={STEPS}",
)
_POLL_SECONDS = 0.002


@register_task("selftest")
def selftest(config: Config, folder: Path, ending: Ending) -> None:
    """Kills a run at each chunk boundary around two cycle ends; prints a table of what was left.

    The run is a small one, on the chosen accelerator. It gets a SIGKILL once the checkpoint of a
    boundary is seen, and is then resumed up to the next boundary. An undisturbed run is written to
    ``folder/whole``, and the killed one to ``folder/killed``.

    Raises:
      StorageError: a state of the killed run differs, or a run fails.
    """
    screen = console.open_console()
    whole, killed = (folder.absolute() / name for name in ("whole", "killed"))
    _finish(config, whole)
    announce.print_line(screen, f"a run of {STEPS} steps, undisturbed: {_sha256(whole, STEPS)}")
    announce.print_line(screen, "killed at | newest checkpoint | SHA-256 of its state | equal")
    differing = []
    for step in (*KILLED_AT, None):
        if step is None:
            _finish(config, killed)
        else:
            _kill(config, killed, step)
        left = checkpoints.Checkpoints(killed).saved().step
        found = _sha256(killed, left)
        is_equal = found == _sha256(whole, left)
        differing += [] if is_equal else [str(left)]
        at = "the end" if step is None else str(step)
        row = f"{at:>9} | {left:>17} | {found[:20]} | {'yes' if is_equal else 'NO'}"
        announce.print_line(screen, row)
    if differing:
        problem = f"the state differs from the undisturbed run's at step {', '.join(differing)}"
        raise StorageError(str(killed), problem, "do not resume runs on this machine")
    announce.print_line(screen, f"all equal: runs can be resumed in {folder.parent}")


def _command(config: Config, folder: Path) -> list[str]:
    cache = str(config.compilation_cache).lower()
    own = (f"accelerator={config.accelerator}", f"compilation_cache={cache}", f"seed={config.seed}")
    line = [f"hydra.run.dir={_quoted(str(folder))}", "resume=auto", *own, *_SETTINGS]
    return [sys.executable, "-m", "runner", *line]


def _quoted(text: str) -> str:
    """``text`` in quotes of Hydra's grammar, in which a path may have any character."""
    doubled = re.sub(r"\\+(?='|$)", lambda found: found[0] * 2, text)
    return "'" + doubled.replace("'", "\\'") + "'"


def _finish(config: Config, folder: Path) -> None:
    done = subprocess.run(_command(config, folder), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _failed(folder, done.stderr)


def _kill(config: Config, folder: Path, step: int) -> None:
    """Resumes the run and kills it once there is a checkpoint of ``step`` or later."""
    saved = checkpoints.Checkpoints(folder)
    with subprocess.Popen(
        _command(config, folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while (saved.steps() or [0])[-1] < step:
            if process.poll() is not None:
                raise _failed(folder, process.communicate()[1])
            sleep(_POLL_SECONDS)
        process.kill()


def _failed(folder: Path, stderr: str) -> StorageError:
    *_, last = stderr.strip().splitlines() or ["it printed no error"]
    problem = f"the run failed ({last.removeprefix('error: ')})"
    return StorageError(str(folder), problem, "see whether python -m runner succeeds")


def _sha256(folder: Path, step: int) -> str:
    return summary.params_sha256(dict(checkpoints.Checkpoints(folder).saved(step).arrays))
