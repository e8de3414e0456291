"""The train task from the command line: its output, and how it ends after an error."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard_reading import scalars

from runner.cli import main
from runner.registry import tasks

SMALL_CNN = ("model=cnn", "model.features=[4]", "model.dense=8")
SHORT = ("training.steps=60", "model.hidden=[16]", "training.eval_every=null")
TOO_HIGH = ("scheduler.max_lr=1e30", "scheduler.step_size_up=20")


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default") / "run"
    assert main([f"hydra.run.dir={folder}"]) == 0
    return folder


def test_the_default_run_learns_the_digits(default_run, summary):
    found = summary(default_run)
    assert found["status"] == "finished"
    assert found["steps"] == 880
    assert found["epochs"] == 40
    metrics = found["metrics"]
    assert (metrics["eval/accuracy"] + metrics["test/accuracy"]) / 2 >= 0.97
    assert found["best"]["value"] >= found["metrics"]["eval/accuracy"]
    assert found["best"]["metric"] == "eval/accuracy"
    assert found["params"] == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert re.fullmatch("[0-9a-f]{64}", found["params_sha256"])
    assert set(found["seconds"]) == {"total", "to_first_step", "compile"}
    assert found["device"] in ("cpu", "gpu", "tpu")
    assert found["versions"]["python"] == sys.version.split()[0]


@pytest.mark.slow
def test_a_run_returns_the_best_value_of_the_metric(run, summary, capsys, monkeypatch):
    returned = []
    train = tasks.get("train")
    monkeypatch.setitem(tasks._factories, "train", lambda *args: returned.append(train(*args)))
    for metric in ("eval/accuracy", "eval/loss"):
        code, folder = run(*SHORT, f"metric={metric}", "training.eval_every=2", name=metric[5:])
        assert code == 0
        best = summary(folder)["best"]
        assert (best["metric"], best["value"]) == (metric, returned.pop())
    said = f"best eval loss {best['value']:.4f} at step {best['step']}"
    assert said in capsys.readouterr().out


def test_rate_and_cycle_of_every_step_in_tensorboard_follow_the_formula(default_run):
    found = scalars(default_run)
    steps, rates = found["schedule/lr"]
    assert steps == list(range(880))
    base, top, half = Fraction("0.01"), Fraction("0.2"), 5 * (1437 // 64)
    for step, rate in zip(steps, rates, strict=True):
        r = step % (2 * half)
        exact = base + (top - base) * Fraction(min(r, 2 * half - r), half)
        assert abs(Fraction(rate) / exact - 1) < Fraction(5, 10**7)
    assert found["schedule/cycle"] == (steps, [step // (2 * half) for step in steps])


def test_loss_evaluation_throughput_and_settings_are_recorded(default_run, summary):
    found = scalars(default_run)
    steps, losses = found["train/loss"]
    assert steps == list(range(880))
    assert 1.5 < losses[0] < 4  # ten classes, untrained: about log 10
    assert found["eval/accuracy"][0] == list(range(44, 881, 44))
    assert found["eval/accuracy"][1][-1] == pytest.approx(
        summary(default_run)["metrics"]["eval/accuracy"]
    )
    assert all(speed > 0 for speed in found["throughput/steps_per_second"][1])
    events = EventAccumulator(str(default_run), size_guidance={"images": 0})
    events.Reload()
    assert events.Tags()["images"] == ["schedule", "examples", "test/confusion"]
    plugins = events.PluginTagToContent("hparams")
    assert "_hparams_/session_start_info" in plugins
    assert list(default_run.glob("events.out.tfevents.*")) != []
    folders = sorted(path.name for path in default_run.iterdir() if path.is_dir())
    assert folders == [".hydra", "checkpoints"]


@pytest.mark.slow
def test_equal_runs_have_equal_hashes_and_other_seeds_do_not(run, summary):
    hashes = []
    for number, seed in enumerate((1, 1, 2)):
        code, folder = run(*SHORT, f"seed={seed}", name=str(number))
        assert code == 0
        hashes.append(summary(folder)["params_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
def test_feeding_from_the_host_changes_no_bit(run, summary):
    _, resident = run(*SHORT, "dataset.placement=device", name="resident")
    _, sent = run(*SHORT, "dataset.placement=host", name="sent")
    assert summary(resident)["params_sha256"] == summary(sent)["params_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [["model=linear"], ["model=mlp"], SMALL_CNN], ids=["linear", "mlp", "cnn"]
)
def test_dispatch_changes_no_result_beyond_the_rounding_of_another_program(run, model):
    # XLA fuses the step differently inside a loop: sums round in another order.
    found = []
    for dispatch in ("scan", "step"):
        code, folder = run(
            *model, "training.steps=20", f"training.dispatch={dispatch}", name=dispatch
        )
        assert code == 0
        found.append(scalars(folder))
    scan, step = found
    assert scan["schedule/lr"] == step["schedule/lr"]
    np.testing.assert_allclose(scan["train/loss"][1], step["train/loss"][1], rtol=1e-3)
    assert scan["eval/accuracy"][1] == pytest.approx(step["eval/accuracy"][1], abs=1 / 360)


@pytest.mark.slow
def test_log_every_skips_steps_but_never_the_last(run):
    _, folder = run(*SHORT, "training.log_every=25")
    assert scalars(folder)["train/loss"][0] == [0, 25, 50, 59]


@pytest.mark.slow
def test_momentum_is_logged_and_used_if_it_cycles(run):
    _, folder = run(
        *SHORT,
        "scheduler.cycle_momentum=true",
        "scheduler.base_momentum=0.5",
        "scheduler.max_momentum=0.75",
        "scheduler.step_size_up=4",
        "scheduler.step_size_down=2",
    )
    expected = [0.75, 0.6875, 0.625, 0.5625, 0.5, 0.625] * 10
    assert scalars(folder)["schedule/momentum"] == (list(range(60)), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("scheduler=triangular2", "model=linear", "optimizer=adam"),
        pytest.param(
            ("scheduler=exp_range", "model=mlp", "optimizer=adamw"), marks=pytest.mark.slow
        ),
        ("scheduler=cyclic", *SMALL_CNN, "optimizer=sgd", "optimizer.nesterov=true"),
        pytest.param(
            ("scheduler=constant", "model=linear", "optimizer=sgd", "optimizer.momentum=null"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_option_runs(run, summary, options):
    code, folder = run(*options, "training.steps=3", "scheduler.base_lr=0.001")
    assert code == 0
    assert summary(folder)["steps"] == 3


@pytest.mark.slow
def test_a_loss_that_diverges_ends_in_5_and_keeps_the_steps_before(run, summary, capsys):
    code, folder = run(*SHORT, *TOO_HIGH)
    assert code == 5
    found = summary(folder)
    assert found["status"] == "diverged"
    steps, losses = scalars(folder)["train/loss"]
    assert found["steps"] == steps[-1]
    assert not np.isfinite(losses[-1])
    assert np.isfinite(losses[:-1]).all()
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: train/loss: (nan|inf) at step \d+, where the rate was .*\n", error)


@pytest.mark.slow
def test_a_run_that_stops_early_says_how_long_it_waited(run, capsys):
    early = "training.patience=1", "training.min_delta=1.0", "training.eval_every=2"
    code, _ = run("model=linear", *SHORT[::2], *early)
    assert code == 0
    assert "1 evaluation without a better eval/accuracy: stopped early" in capsys.readouterr().out


@pytest.mark.slow
def test_a_nan_found_by_jax_ends_in_5(run, summary, capsys):
    with jax.debug_nans(True):
        code, folder = run("model=linear", *SHORT[::2], *TOO_HIGH)
    assert code == 5
    assert summary(folder)["status"] == "diverged"
    said = r"error: training: invalid value \(nan\) .*; lower scheduler.max_lr\n"
    assert re.fullmatch(said, capsys.readouterr().err)


@pytest.mark.slow
def test_a_nan_found_by_jax_debug_nans_ends_in_5(run_cli, summary, tmp_path):
    # A process of its own, as jax compiles programs differently while it looks for them.
    done = run_cli(*SHORT, *TOO_HIGH, "hydra.run.dir=run", env={"JAX_DEBUG_NANS": "1"})
    assert done.returncode == 5
    assert summary(tmp_path / "run")["status"] == "diverged"
    said = r"error: training: .*nan.* \(found by JAX_DEBUG_NANS\); .*\n"
    assert re.fullmatch(said, done.stderr)


def test_a_run_that_ends_within_a_cycle_gives_a_warning(run, capsys):
    code, _ = run(*SHORT, "scheduler.step_size_up=5ep")
    assert code == 0
    assert "training.steps=220" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "shows"), [("constant", False), ("triangular", True)])
def test_the_cycle_is_shown_if_the_schedule_has_cycles(run, capsys, scheduler, shows):
    code, _ = run(f"scheduler={scheduler}", "model=linear", "training.steps=20")
    assert code == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert lines
    assert {"cycle" in line for line in lines} == {shows}


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("training.batch_size=1438", "training.batch_size: 1438 is more than the 1437 training"),
        ("training.epochs=0.01", "training.epochs: '0.01ep' resolves to 0 steps"),
        ("scheduler.step_size_up=0.1%", "scheduler.step_size_up: '0.1%' resolves to 0 steps"),
        ("accelerator=tpu", "accelerator: no tpu is available; JAX found"),
    ],
)
def test_settings_that_do_not_fit_the_data_or_the_machine_end_in_2(run, capsys, override, error):
    code, folder = run(
        "training.steps=60", override, *(["training.steps=null"] * ("epochs" in override))
    )
    assert code == 2
    assert capsys.readouterr().err.startswith(f"error: {error}")
    assert not folder.exists()


def test_an_existing_folder_is_restored_after_an_error_and_can_be_used_again(
    run, summary, tmp_path
):
    (tmp_path / "run").mkdir()
    code, folder = run(*SHORT, "training.batch_size=1438")
    assert code == 2
    assert list(folder.iterdir()) == []
    code, _ = run(*SHORT)
    assert code == 0
    assert summary(folder)["status"] == "finished"


@pytest.mark.slow
def test_a_member_of_a_multirun_that_cannot_begin_keeps_its_folder(tmp_path, monkeypatch, summary):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", *SHORT, "training.batch_size=64,1438", "hydra.sweep.dir=sweep"]) == 2
    names = ("0_batch_size=64", "1_batch_size=1438")
    statuses = [summary(tmp_path / "sweep" / name)["status"] for name in names]
    assert statuses == ["finished", "failed"]


def test_a_disk_without_space_is_reported_before_anything_compiles(
    run, capsys, monkeypatch, compilations
):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = compilations()
    code, folder = run(*SHORT)
    assert code == 4
    assert ".hydra/overrides.yaml: cannot be written (No space left" in capsys.readouterr().err
    assert compilations() == before
    assert [path.name for path in folder.iterdir()] == [".hydra"]


def test_a_scale_fn_that_divides_by_zero_is_refused_with_its_first_invalid_step(run, capsys):
    code, _ = run(
        "training.steps=60",
        "scheduler=cyclic",
        "scheduler.scale_fn='1 / (3 - x)'",
        "scheduler.step_size_up=10",
    )
    assert code == 2
    assert re.match("error: scheduler: the rate is .* at step 4[01]; ", capsys.readouterr().err)


def test_a_missing_data_file_ends_in_3(run, tmp_path, capsys):
    code, _ = run("dataset=mnist", f"dataset.root={tmp_path}/nowhere")
    assert code == 3
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_many_chunks_compile_no_more_than_one(run, compilations):
    counts = []
    for size, chunk in ((20, 1000), (18, 1000), (19, 10)):
        before = compilations()
        batches = (f"training.batch_size={size}", f"training.chunk={chunk}")
        short = ("model=linear", "training.steps=60", "training.eval_every=null")
        assert run(*short, *batches, name=str(size))[0] == 0
        counts.append(compilations() - before)
    assert counts[1] == counts[2] > 0  # the first also compiled what all batch sizes share


@pytest.mark.slow
def test_six_jobs_of_a_multirun_share_one_compilation(tmp_path, monkeypatch, compilations):
    monkeypatch.chdir(tmp_path)
    first = [*SHORT, "model.hidden=[17]", "hydra.run.dir=first"]
    before = compilations()
    assert main(first) == 0
    alone = compilations() - before
    before = compilations()
    sweep = ["-m", *SHORT, "model.hidden=[17]", "scheduler=triangular,triangular2,exp_range"]
    sweep.append("scheduler.step_size_up=10")
    assert main([*sweep, "seed=0,1", "optimizer.momentum=0.8"]) == 0
    assert alone >= 3  # at least init, the chunk and the evaluation
    assert compilations() == before
    folders = sorted(Path("outputs/multirun").glob("*/*/*/summary.json"))
    assert len(folders) == 6
    assert len({json.loads(path.read_text())["params_sha256"] for path in folders}) == 6


@pytest.mark.slow
def test_a_multirun_ends_with_its_jobs_by_their_metric(tmp_path, monkeypatch, capsys, summary):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    sweep = ["-m", *SHORT, "scheduler=constant", "seed=1,2", "scheduler.base_lr=0.1,1e30"]
    assert main([*sweep, "hydra.sweep.dir=sweep"]) == 5
    printed = capsys.readouterr().out.splitlines()
    title, header, *lines = printed[-6:]
    assert title == "4 jobs by best eval/accuracy · sweep"
    assert header.split() == ["job", "eval/accuracy", "steps", "time", "folder"]
    best = {
        n: summary(Path(f"sweep/{2 * n - 2}_seed={n},base_lr=0.1"))["best"]["value"] for n in (1, 2)
    }
    first, second = sorted(best, key=lambda n: (-best[n], n))
    assert lines[0].split()[:4] == [
        f"seed={first}",
        "scheduler.base_lr=0.1",
        f"{best[first]:.2%}",
        "60",
    ]
    assert lines[1].split()[:4] == [
        f"seed={second}",
        "scheduler.base_lr=0.1",
        f"{best[second]:.2%}",
        "60",
    ]
    assert [line.split()[2] for line in lines[2:]] == ["diverged", "diverged"]
    assert lines[2].split()[-1] == "1_seed=1,base_lr=1e+30"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_complete_records(tmp_path, environment, summary, number, code):
    long = ("model=linear", "training.steps=100000000", "hydra.run.dir=run")
    command = [sys.executable, "-m", "runner", *long]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not _has_events(tmp_path / "run") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert re.fullmatch(r"error: SIG\w+: stopped after [\d,]+ of 100,000,000 steps; .*\n", error)
    found = summary(tmp_path / "run")
    assert found["status"] == "stopped"
    steps = scalars(tmp_path / "run")["train/loss"][0]
    assert steps == list(range(found["steps"]))


@pytest.mark.slow
def test_closing_the_terminal_ends_a_run_as_sigterm_does(tmp_path, environment, summary):
    terminal, other_end = os.openpty()
    # The first terminal that a new session opens becomes its controlling terminal.
    program = (
        f"import os; fd = os.open({os.ttyname(other_end)!r}, os.O_RDWR)\n"
        "for number in range(3): os.dup2(fd, number)\n"
        f"os.execl({sys.executable!r}, {sys.executable!r}, '-m', 'runner',"
        " 'training.steps=100000000', 'hydra.run.dir=run')"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not _has_events(tmp_path / "run") and time.monotonic() < deadline:
            while select.select([terminal], [], [], 0.1)[0]:
                os.read(terminal, 65_536)  # a full terminal would block the run
        os.close(terminal)
        os.close(other_end)
        assert process.wait(timeout=60) == 143
    finally:
        process.kill()
    assert summary(tmp_path / "run")["status"] == "stopped"


@pytest.mark.slow
def test_a_run_whose_events_fill_the_disk_finishes_with_its_summary(
    small_disk, tmp_path, environment, summary
):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "runner"),
            *(f"hydra.run.dir={small_disk}/run", "checkpoint.every=null"),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"WARNING runner: \S+: TensorBoard events can no longer be written \(No space left.*\n",
        done.stderr,
    )
    found = summary(small_disk / "run")
    assert (found["status"], found["steps"]) == ("finished", 880)
    metrics = found["metrics"]
    assert (metrics["eval/accuracy"] + metrics["test/accuracy"]) / 2 >= 0.97
    assert {path.name[:10] for path in (small_disk / "run").iterdir()} == {
        ".hydra",
        "events.out",
        "summary.js",
    }


def test_a_run_that_gets_a_signal_after_its_last_step_is_finished(run, summary, monkeypatch):
    import runner.records.ending as endings

    signals, hashed = [], endings.params_sha256
    original = tasks.get("train")

    def noted(config, folder, ending):
        original(config, folder, ending)
        signals.append(ending.stop_signal)

    monkeypatch.setitem(tasks._factories, "train", noted)

    def interrupted(params):
        os.kill(os.getpid(), signal.SIGTERM)
        return hashed(params)

    monkeypatch.setattr(endings, "params_sha256", interrupted)
    code, folder = run(*SHORT)
    assert code == 0
    assert signals == [signal.SIGTERM]
    assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", 60)


def _has_events(folder):
    return any(os.path.getsize(path) > 10_000 for path in folder.glob("events.*"))
