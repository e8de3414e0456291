"""Signals, and two runs in one folder."""

import random
import signal
import time

import pytest
from injection import ENDLESS, SMALL, STOPS, ended, is_intact, wait_until

from runner.cli import main
from runner.records.checkpoints import Checkpoints


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_while_training(training, tmp_path, summary, number):
    """
    Fault: SIGINT, SIGTERM or SIGHUP while training
    Effect: the state at the end of the chunk is saved, the summary has the status stopped, and the
        run can be resumed
    Exit code: 130, 143, 143
    """
    code, stderr = ended(training(), number)
    assert (code, stderr.startswith(f"error: {number.name}: stopped after ")) == (
        STOPS[number],
        True,
    )
    found = summary(tmp_path / "run")
    assert found["status"] == "stopped"
    assert Checkpoints(tmp_path / "run").newest().step == found["steps"]
    steps = found["steps"] + 50
    assert main([f"resume={tmp_path / 'run'}", f"training.steps={steps}"]) == 0
    found = summary(tmp_path / "run")
    assert (found["status"], found["steps"]) == ("finished", steps)


def test_a_second_signal(training, tmp_path):
    """
    Fault: a second signal while the state is being saved
    Effect: the process ends at once; earlier checkpoints stay intact
    Exit code: 130, 143, 143
    """
    process = training()
    process.send_signal(signal.SIGTERM)
    code, _ = ended(process, signal.SIGTERM)
    assert code == 143
    assert is_intact(tmp_path / "run")


def test_a_signal_while_compiling(start, run_cli, tmp_path):
    """
    Fault: SIGTERM while a program is being compiled, or at any other time before the first step
    Effect: the process ends without delay; nothing was trained, and the folder can be resumed
    Exit code: 143
    """
    rng = random.Random(0)
    for attempt in range(3):
        folder = f"run{attempt}"
        process = start(*ENDLESS, "compilation_cache=false", folder=folder)
        wait_until((tmp_path / folder / ".hydra" / "config.yaml").exists)
        time.sleep(rng.uniform(0, 2))
        assert ended(process, signal.SIGTERM)[0] == 143
        done = run_cli(f"resume={folder}", "training.steps=20", "checkpoint.every=null")
        assert done.returncode == 0, done.stderr


def test_sigkill(start, run_cli, tmp_path, summary):
    """
    Fault: SIGKILL at any time (out of memory, preemption)
    Effect: no complete checkpoint is lost, and the resumed run equals an undisturbed one
    Exit code: that of the signal
    """
    assert run_cli("hydra.run.dir=whole", *SMALL).returncode == 0
    rng = random.Random(0)
    for _ in range(3):
        process = start(*SMALL, "resume=auto")
        time.sleep(rng.uniform(0.2, 4))
        process.kill()
        ended(process)
    done = run_cli("hydra.run.dir=run", "resume=auto", *SMALL)
    assert done.returncode == 0, done.stderr
    both = [summary(tmp_path / name)["params_sha256"] for name in ("whole", "run")]
    assert both[0] == both[1]


def test_sigusr1(start, tmp_path):
    """
    Fault: SIGUSR1, which job schedulers send shortly before they end a job
    Effect: the state at the end of the chunk is saved, and training continues
    Exit code: none, training continues
    """
    process = start(*ENDLESS, "training.log_every=100")  # no save would be due for a million steps
    events = (tmp_path / "run").glob
    wait_until(lambda: any(p.stat().st_size > 4000 for p in events("events.out.tfevents.*")))
    assert Checkpoints(tmp_path / "run").steps() == []
    process.send_signal(signal.SIGUSR1)
    wait_until(Checkpoints(tmp_path / "run").steps)
    assert process.poll() is None
    assert is_intact(tmp_path / "run")


def test_two_runs_of_one_folder(training, run_cli):
    """
    Fault: a second process resumes a run that is still running
    Effect: the second process is refused before it trains; the first is not disturbed
    Exit code: 7
    """
    process = training()
    done = run_cli("resume=run")
    assert (done.returncode, "another run is using it" in done.stderr) == (7, True)
    assert process.poll() is None
