"""Resuming and forking runs from the command line: a resumed run equals one that never stopped."""

import os
import shutil
import signal
import sys

import numpy as np
import pytest
import tensorboard_reading
from sampling import slow_except
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runner.cli import main
from runner.cli.commands import configure
from runner.records.checkpoints import Checkpoints
from runner.records.recorder import Recorder
from runner.registry import schedulers

# One epoch has 22 steps; cycles end at steps 10, 20, ...
TINY = (
    "model.hidden=[8]",
    "training.steps=40",
    "training.eval_every=10",
    "training.chunk=7",
    "scheduler.step_size_up=5",
    "scheduler.step_size_down=5",
    "checkpoint.every=1",
    "checkpoint.keep=100",
)
SAMPLE = ["sgd"]
OPTIMIZERS = {
    "sgd": ("optimizer.momentum=0.9",),
    "adam with groups": (
        "optimizer=adam",
        "scheduler.base_lr={head:0.001,default:0.0001}",
        "scheduler.max_lr={head:0.01,default:0.001}",
        "optimizer.groups={head:Dense_1/*}",
    ),
    "lamb, average and accumulation": (
        "optimizer=lamb",
        "training.ema_decay=0.9",
        "training.accumulate=2",
        "training.batch_size=32",
    ),
    "schedule-free": ("optimizer=schedule_free_sgd",),
    "lookahead": ("optimizer.lookahead.sync_period=3",),
}
# For what does not look at the saves in between, which take most of the time.
FEW_SAVES = "checkpoint.every=20"
TIMED = ("steps_per_second", "seconds", "goodput", "overrides", "checkpoint", "settings")


def scalars(folder):
    """tag → (steps, values), without the speed, which no two runs share; no picture is repeated."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    pictures = [picture.step for picture in events.Images("schedule")]
    assert len(set(pictures)) == len(pictures)
    found = tensorboard_reading.scalars(folder)
    found.pop("throughput/steps_per_second", None)
    return found


def stopped_at(run, step, copy):
    """A copy of a run folder as a kill right after the save of ``step`` would leave it."""
    shutil.copytree(run, copy)
    for saved in Checkpoints(copy).steps():
        if saved > step:
            shutil.rmtree(copy / "checkpoints" / str(saved))
    (copy / "summary.json").unlink()
    return copy


def arrays(folder, step):
    return Checkpoints(folder).load(step).arrays


def assert_same_arrays(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def without_times(summary):
    return {key: value for key, value in summary.items() if key not in TIMED}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that never stopped, by name of the optimizer."""
    made = {}

    def whole(optimizer="sgd"):
        if optimizer not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            assert main([f"hydra.run.dir={folder}", *TINY, *OPTIMIZERS[optimizer]]) == 0
            made[optimizer] = folder
        return made[optimizer]

    return whole


@pytest.mark.parametrize("optimizer", slow_except(SAMPLE, OPTIMIZERS))
def test_a_resumed_run_equals_one_that_never_stopped(whole, tmp_path, summary, optimizer):
    folder = whole(optimizer)
    # A chunk boundary, and one step either side of the end of a cycle and an evaluation.
    for step in (7, 19, 20, 21):
        copy = stopped_at(folder, step, tmp_path / str(step))
        assert main([f"resume={copy}", FEW_SAVES]) == 0
        assert without_times(summary(copy)) == without_times(summary(folder))
        assert_same_arrays(arrays(copy, 40), arrays(folder, 40))
        assert scalars(copy) == scalars(folder)


@pytest.mark.slow
def test_a_run_that_was_stopped_several_times_has_one_point_per_step(whole, tmp_path, summary):
    folder = whole()
    copy = stopped_at(folder, 3, tmp_path / "copy")
    for step in (12, 5, 33):
        assert main([f"resume={copy}"]) == 0
        stopped = stopped_at(copy, step, tmp_path / f"{step}")
        copy = stopped
    assert main([f"resume={copy}"]) == 0
    assert scalars(copy) == scalars(folder)
    assert scalars(copy)["train/loss"][0] == list(range(40))


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_save_starts_again(whole, tmp_path, summary, capsys):
    folder = whole()
    copy = stopped_at(folder, 0, tmp_path / "copy")
    assert main([f"resume={copy}", FEW_SAVES]) == 0
    assert "no checkpoint was saved; starts again at step 0" in capsys.readouterr().out
    assert summary(copy)["params_sha256"] == summary(folder)["params_sha256"]
    assert scalars(copy) == scalars(folder)


def test_resuming_a_finished_run_changes_nothing(whole, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(whole(), copy)
    before = (copy / "summary.json").read_bytes()
    entries = sorted(path.name for path in copy.iterdir())
    assert main([f"resume={copy}"]) == 0
    assert "the run has already finished" in capsys.readouterr().out
    assert (copy / "summary.json").read_bytes() == before
    assert sorted(path.name for path in copy.iterdir()) == entries


@pytest.mark.parametrize(
    ("change", "diff"),
    [
        ("scheduler.max_lr=0.5", "changes scheduler.max_lr from 0.2 to 0.5"),
        ("seed=1", "changes seed from 0 to 1"),
        ("training.batch_size=32", "changes training.batch_size from 64 to 32"),
        ("optimizer=adam", "changes optimizer from sgd to adam"),
        ("model.hidden=[9]", "changes model.hidden from [8] to [9]"),
        ("training.ema_decay=0.9", "changes training.ema_decay from null to 0.9"),
    ],
)
def test_changes_that_make_another_run_are_refused(whole, tmp_path, capsys, change, diff):
    copy = stopped_at(whole(), 20, tmp_path / "copy")
    assert main([f"resume={copy}", change]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: resume: {diff}; ")
    assert "resume_changes=true" in error
    assert "init_from" in error


def test_changes_that_leave_the_parameters_alone_are_allowed(whole, tmp_path, summary):
    copy = stopped_at(whole(), 20, tmp_path / "copy")
    changes = ["training.log_every=5", "training.eval_every=20", "training.chunk=3"]
    changes += ["checkpoint.every=10", "checkpoint.keep=1", "checkpoint.best=false"]
    assert main([f"resume={copy}", *changes]) == 0
    found = summary(copy)
    assert found["params_sha256"] == summary(whole())["params_sha256"]
    assert Checkpoints(copy).steps() == [40]
    assert found["settings"]["training.log_every"] == 5
    assert found["overrides"][-len(changes) :] == changes


@pytest.mark.slow
def test_a_change_is_made_where_it_is_asked_for(whole, tmp_path, summary):
    copy = stopped_at(whole(), 20, tmp_path / "copy")
    assert main([f"resume={copy}", "scheduler.max_lr=0.5", "resume_changes=true"]) == 0
    assert summary(copy)["settings"]["scheduler.max_lr"] == 0.5
    rates = scalars(copy)["schedule/lr"][1]
    assert rates[15] == pytest.approx(0.2)
    assert rates[25] == pytest.approx(0.5)


def test_a_model_that_was_changed_names_the_parameter_and_both_shapes(whole, tmp_path, capsys):
    copy = stopped_at(whole(), 20, tmp_path / "copy")
    assert main([f"resume={copy}", "model.hidden=[9]", "resume_changes=true"]) == 4
    error = capsys.readouterr().err
    assert "params/Dense_0/bias is float32[8], not float32[9]" in error


@pytest.mark.slow
def test_a_longer_run_equals_one_that_was_that_long(whole, tmp_path, summary, run):
    copy = tmp_path / "copy"
    shutil.copytree(whole(), copy)
    assert main([f"resume={copy}", "training.steps=60", FEW_SAVES]) == 0
    code, longer = run(*TINY, "training.steps=60", FEW_SAVES)
    assert code == 0
    assert summary(copy)["params_sha256"] == summary(longer)["params_sha256"]
    assert scalars(copy) == scalars(longer)


@pytest.mark.slow
def test_a_longer_run_says_what_that_does_to_its_schedule(run, capsys):
    schedule = ("scheduler=one_cycle", "scheduler.max_lr=0.1")
    code, folder = run(*TINY[:4], "checkpoint.every=10", *schedule)
    assert code == 0
    capsys.readouterr()
    assert main([f"resume={folder}", "training.steps=50"]) == 0
    printed = capsys.readouterr().out
    assert "with 50 steps instead of 40 the schedule changes: at step " in printed


def test_a_longer_run_whose_schedule_stays_says_nothing(whole, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(whole(), copy)
    assert main([f"resume={copy}", "training.steps=42"]) == 0
    assert "the schedule changes" not in capsys.readouterr().out


@pytest.mark.slow
def test_auto_starts_continues_and_leaves_a_finished_run_alone(whole, tmp_path, summary, capsys):
    folder = tmp_path / "fixed"
    line = [f"hydra.run.dir={folder}", "resume=auto", *TINY]
    assert main(line) == 0
    first = summary(folder)
    assert first["params_sha256"] == summary(whole())["params_sha256"]
    stopped = stopped_at(folder, 23, tmp_path / "stopped")
    assert main([f"hydra.run.dir={stopped}", "resume=auto", *TINY]) == 0
    assert "resumes at step 23 of 40" in capsys.readouterr().out
    assert summary(stopped)["params_sha256"] == first["params_sha256"]
    assert main([f"hydra.run.dir={stopped}", "resume=auto", *TINY]) == 0


def test_auto_starts_where_a_run_was_killed_before_it_recorded_its_settings(tmp_path, summary):
    folder = tmp_path / "fixed"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("[]\n")
    assert main([f"hydra.run.dir={folder}", "resume=auto", *TINY, "training.steps=5"]) == 0
    assert summary(folder)["status"] == "finished"


def test_auto_needs_a_folder_whose_name_stays(capsys):
    assert main(["resume=auto"]) == 2
    assert "add hydra.run.dir=FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["resume", "init_from"])
def test_a_folder_that_is_not_a_run_is_refused(tmp_path, capsys, key):
    assert main([f"{key}={tmp_path / 'none'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {key}: ")
    assert "is not a run folder" in error


@pytest.mark.parametrize("record", ["resume: {}", "resume: {}\ntask: x", "task: {name: train}"])
@pytest.mark.parametrize("key", ["resume", "init_from"])
def test_a_record_without_the_settings_of_a_run_is_refused(run, tmp_path, capsys, key, record):
    (tmp_path / "saved" / ".hydra").mkdir(parents=True)
    (tmp_path / "saved" / ".hydra" / "config.yaml").write_text(record)
    (tmp_path / "saved" / "checkpoints" / "1").mkdir(parents=True)
    code, folder = run(f"{key}=saved", "resume_changes=true", "scheduler=cosine")
    assert code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not folder.exists()


def test_damaged_checkpoints_are_passed_over_and_if_all_are_the_exit_code_is_4(
    whole, tmp_path, summary, capfd
):
    copy = stopped_at(whole(), 20, tmp_path / "copy")
    manifest = copy / "checkpoints" / "20" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-10])
    assert main([f"resume={copy}"]) == 0
    captured = capfd.readouterr()
    assert "resumes at step 19 of 40" in captured.out
    assert "checkpoints/20: is damaged" in captured.out + captured.err
    assert summary(copy)["params_sha256"] == summary(whole())["params_sha256"]
    again = stopped_at(copy, 2, tmp_path / "again")
    for record in again.glob("checkpoints/*/record.json"):
        record.unlink()
    assert main([f"resume={again}"]) == 4
    assert "all checkpoints are damaged" in capfd.readouterr().err
    assert summary(again)["status"] == "failed"


def test_a_fork_equals_the_run_that_had_the_same_rates(whole, tmp_path, summary, run):
    code, fork = run(f"init_from={whole()}@20", FEW_SAVES, name="fork")
    assert code == 0
    assert summary(fork)["params_sha256"] == summary(whole())["params_sha256"]
    assert_same_arrays(arrays(fork, 40), arrays(whole(), 40))
    assert summary(fork)["parent"] == {"folder": str(whole()), "step": 20}
    assert scalars(fork)["train/loss"][0] == list(range(20, 40))
    whole_loss = scalars(whole())["train/loss"][1]
    assert scalars(fork)["train/loss"][1] == whole_loss[20:]


@pytest.mark.slow
def test_a_fork_may_have_another_schedule_and_length(whole, tmp_path, summary, run):
    code, fork = run(
        f"init_from={whole()}@20",
        "scheduler=constant",
        "scheduler.base_lr=0.05",
        "training.steps=30",
    )
    assert code == 0
    assert summary(fork)["steps"] == 30
    steps, rates = scalars(fork)["schedule/lr"]
    assert steps == list(range(20, 30))
    assert rates == pytest.approx([0.05] * 10)
    # A resumed fork keeps its parent.
    stopped = stopped_at(fork, 25, tmp_path / "stopped")
    assert main([f"resume={stopped}"]) == 0
    assert summary(stopped)["parent"] == {"folder": str(whole()), "step": 20}
    assert summary(stopped)["params_sha256"] == summary(fork)["params_sha256"]


def test_a_fork_without_a_step_takes_the_newest_and_an_unknown_step_exits_4(whole, run, capsys):
    code, _ = run(f"init_from={whole()}", "training.steps=45", name="newest")
    assert code == 0
    assert "starts from step 40 of" in capsys.readouterr().out
    code, unknown = run(f"init_from={whole()}@999", name="unknown")
    assert code == 4
    assert "holds no checkpoint of step 999; known: " in capsys.readouterr().err
    assert not unknown.exists()


def test_parameters_alone_start_at_step_0_with_a_report(whole, run, summary, capsys):
    code, tuned = run(
        f"init_from={whole()}@20",
        FEW_SAVES,
        "init_params_only=true",
        "model.hidden=[8,8]",
        "seed=3",
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert "starts from the parameters of step 20 of" in printed
    assert "not found there, or of another shape: params/Dense_1/kernel" in printed
    assert "not used: params/Dense_1/kernel" in printed
    assert scalars(tuned)["train/loss"][0] == list(range(40))
    assert summary(tuned)["parent"] == {"folder": str(whole()), "step": 20}


def test_a_fork_at_the_end_of_its_run_says_that_nothing_is_trained(whole, run, summary, capsys):
    code, folder = run(f"init_from={whole()}")
    assert code == 0
    said = "training.steps: all 40 steps are complete at the start, so nothing is trained"
    assert said in " ".join(capsys.readouterr().out.split())
    assert summary(folder)["steps"] == 40


def test_the_summary_says_what_ran_and_where_it_was_saved(whole, summary):
    found = summary(whole())
    assert found["checkpoint"]["last"] == "checkpoints/40"
    assert found["checkpoint"]["best"] == f"checkpoints/{found['best']['step']}"
    assert 0 < found["goodput"] <= 1
    assert found["parent"] is None
    assert found["logging_lost_at_step"] is None
    assert found["overrides"] == [*TINY, *OPTIMIZERS["sgd"]]
    assert found["settings"]["scheduler.step_size_up"] == 5


def test_a_run_that_diverges_names_its_last_checkpoint(run, summary, capsys):
    code, folder = run(*TINY, "scheduler.max_lr=1e30", "training.chunk=1")
    assert code == 5
    error = capsys.readouterr().err
    last = Checkpoints(folder).steps()[-1]
    assert f"the last checkpoint is at step {last}" in error
    assert summary(folder)["status"] == "diverged"
    assert summary(folder)["checkpoint"]["last"] == f"checkpoints/{last}"
    assert all(np.isfinite(a).all() for a in arrays(folder, last).values() if a.dtype.kind == "f")


@pytest.mark.slow
def test_backing_off_halves_the_rates_three_times_at_most(run, capsys):
    rate = ("scheduler=constant", "scheduler.base_lr=1e30")
    code, _ = run(*TINY[:4], "checkpoint.every=1", *rate, "training.on_divergence=back_off")
    assert code == 5
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    assert all(f"at {factor} times the rates" in printed for factor in (0.5, 0.25, 0.125))
    assert "0.0625" not in printed


PLUGIN = """
from runner.registry import register_scheduler

@register_scheduler("steady")
def steady(*, base_lr: float = 0.1):
    return lambda step: base_lr + 0.0 * step
"""


@pytest.mark.slow
def test_a_run_with_plugins_names_the_line_to_type(tmp_path, run, plugin, capsys):
    plugin("steady_plugin", PLUGIN)
    (tmp_path / "conf" / "scheduler").mkdir(parents=True)
    (tmp_path / "conf" / "scheduler" / "steady.yaml").write_text("name: steady\nbase_lr: 0.1\n")
    line = [*TINY[:4], "--config-dir=conf", "scheduler=steady", "plugins=[steady_plugin]"]
    code, _ = run(*line, "checkpoint.every=10", "training.steps=20")
    assert code == 0
    schedulers._factories.pop("steady")  # as in a process that has not imported the plugin
    assert main(["resume=run", "training.steps=30"]) == 2
    assert "plugins=[steady_plugin]" in capsys.readouterr().err
    del sys.modules["steady_plugin"]
    assert main(["resume=run", "plugins=[steady_plugin]", "training.steps=30"]) == 0


def test_signals_save_and_stop_a_run_that_no_other_may_use_and_that_goes_on(
    whole, run, run_cli, monkeypatch, summary
):
    signals = {17: signal.SIGUSR1, 27: signal.SIGTERM}
    others, wants_state = [], Recorder.wants_state

    def signalled(recorder, step, **options):
        if step in signals:
            os.kill(os.getpid(), signals[step])
        if step == 20:
            others.append(run_cli("resume=run"))
        return wants_state(recorder, step, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "wants_state", signalled)
        every_step = ("training.chunk=1", "checkpoint.every=1000")
        code, folder = run(*TINY, *OPTIMIZERS["sgd"], *every_step)
    assert code == 143
    saved = Checkpoints(folder).steps()
    assert (17 in saved, saved[-1]) == (True, 27)
    assert (summary(folder)["status"], summary(folder)["steps"]) == ("stopped", 27)
    [other] = others
    assert (other.returncode, "another run is using it" in other.stderr) == (7, True)
    assert main([f"resume={folder}"]) == 0
    assert summary(folder)["params_sha256"] == summary(whole())["params_sha256"]


@pytest.mark.parametrize("step", ["last", "9" * 5000])
def test_a_step_of_init_from_that_is_not_a_number_is_refused(tmp_path, capsys, step):
    assert main([f"init_from={tmp_path}@{step}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: init_from: '{step[:50]}")
    assert "is not a step; write RUN_FOLDER or RUN_FOLDER@STEP" in error


def test_a_fork_of_a_fork_takes_the_whole_state_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--cfg", "job"]) == 0
    recorded = capsys.readouterr().out.replace("init_params_only: false", "init_params_only: true")
    recorded = recorded.replace("init_from: null", "init_from: other@5")
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "config.yaml").write_text(recorded)
    (tmp_path / "run" / "checkpoints" / "40").mkdir(parents=True)
    forked = configure("init_from=run@40")
    assert (forked.init_from, forked.init_params_only) == (f"{tmp_path / 'run'}@40", False)
    assert configure("init_from=run", "init_params_only=true").init_params_only is True


@pytest.mark.slow
def test_a_run_may_be_resumed_beyond_its_new_length_without_an_evaluation(run, tmp_path, summary):
    _, folder = run(*TINY, FEW_SAVES, "training.eval_every=null")
    stopped_at(folder, 20, tmp_path / "stopped")
    assert main([f"resume={tmp_path / 'stopped'}", "training.steps=10"]) == 0
    found = summary(tmp_path / "stopped")
    assert (found["status"], found["best"]) == ("finished", None)
