"""Runs that keep snapshots: their files, table and curves, also after a kill."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
import tensorboard_reading
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runner import load
from runner.cli import main
from runner.data.sources.digits import digits
from runner.errors import ConfigError
from runner.experiment import snapshot_scores
from runner.records.checkpoints import Checkpoints
from runner.records.snapshot_files import Snapshots
from runner.report import snapshots

ENDS = [10, 20, 30]
TINY = (
    "training.snapshots=true",
    "training.steps=35",
    "training.eval_every=null",
    "training.chunk=7",
    "model.hidden=[8]",
    "model.norm=batch",
    "scheduler.step_size_up=5",
    "scheduler.step_size_down=5",
    "checkpoint.every=1",
    "checkpoint.keep=100",
)
KINDS = ("snapshot", "ensemble", "swa")


@pytest.fixture(scope="module")
def whole_and_drawn(tmp_path_factory):
    """The folder of a run, and the figure of its snapshots."""
    folder, drawn, as_png = tmp_path_factory.mktemp("whole") / "run", [], snapshots.as_png
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshots, "as_png", lambda figure: drawn.append(figure) or as_png(figure))
        assert main([f"hydra.run.dir={folder}", *TINY]) == 0
    (figure,) = drawn
    return folder, figure


@pytest.fixture
def whole(whole_and_drawn):
    return whole_and_drawn[0]


@pytest.fixture
def rows(read_table):
    """The rows of ``snapshots.csv`` as numbers by column."""

    def rows(folder):
        header, *lines = read_table(folder / "snapshots.csv")
        return [dict(zip(header, map(float, line), strict=True)) for line in lines]

    return rows


def killed_at(run, step, copy):
    """A copy of a run as a kill after the save of ``step`` leaves it, with a later snapshot."""
    shutil.copytree(run, copy)
    for saved in Checkpoints(copy).steps():
        if saved > step:
            shutil.rmtree(copy / "checkpoints" / str(saved))
    for later in [end for end in ENDS if end > step][1:]:
        Snapshots(copy).path(later).unlink()
    for name in ("summary.json", "snapshots.csv", "snapshots.png", "snapshots/swa.safetensors"):
        (copy / name).unlink()
    events = sorted(copy.glob("events.*"))
    events[-1].unlink()  # written after training
    return copy


def snapshot_scalars(folder):
    found = tensorboard_reading.scalars(folder)
    return {tag: curve for tag, curve in found.items() if tag.startswith(KINDS)}


def test_the_table_has_a_row_for_each_cycle_end(whole, rows, summary):
    found = rows(whole)
    assert [row["step"] for row in found] == ENDS
    assert [row["cycle"] for row in found] == [0, 1, 2]
    metrics = [f"{split}/{name}" for split in ("eval", "test") for name in ("accuracy", "loss")]
    columns = [f"{kind}/{metric}" for kind in KINDS for metric in metrics]
    assert list(found[0]) == ["step", "cycle", *columns]
    assert summary(whole)["status"] == "finished"
    assert (whole / "snapshots.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_the_curves_of_the_table(whole_and_drawn, rows):
    folder, figure = whole_and_drawn
    found, labels = rows(folder), ["snapshot", "ensemble", "average of weights"]
    for axes, metric in zip(figure.axes, ("eval/accuracy", "test/accuracy"), strict=True):
        assert axes.get_title() == metric.replace("/", " ")
        assert [line.get_label() for line in axes.lines] == labels
        for line, kind in zip(axes.lines, KINDS, strict=True):
            assert list(line.get_xdata()) == ENDS
            values = [row[f"{kind}/{metric}"] for row in found]
            np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-6)
    assert [text.get_text() for text in figure.axes[0].get_legend().texts] == labels


def test_an_ensemble_of_one_is_its_snapshot(whole, rows):
    first = rows(whole)[0]
    for metric in ("eval/accuracy", "test/accuracy"):
        assert first[f"ensemble/{metric}"] == first[f"snapshot/{metric}"]
    for metric in ("eval/loss", "test/loss"):
        assert first[f"ensemble/{metric}"] == pytest.approx(first[f"snapshot/{metric}"], rel=1e-6)


def test_a_snapshot_is_the_state_at_its_step(whole):
    for step in ENDS:
        arrays = Snapshots(whole).load(step)
        saved = Checkpoints(whole).load(step).arrays
        assert len(arrays) == 8  # two layers, scale, bias and statistics
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, saved[name])


@pytest.mark.slow
def test_the_score_of_a_snapshot_is_that_of_its_checkpoint(whole, rows, run):
    for step, row in zip(ENDS, rows(whole), strict=True):
        task = ("task=evaluate", f"resume={whole}", f"task.step={step}")
        code, folder = run(*task, name=f"scored{step}")
        assert code == 0
        found = json.loads((folder / "evaluation.json").read_text())["metrics"]
        for metric in ("test/accuracy", "test/loss"):
            assert np.float32(row[f"snapshot/{metric}"]) == np.float32(found[metric])


def test_the_average_can_be_scored_and_loaded(whole, rows, run, tmp_path):
    last = rows(whole)[-1]
    code, folder = run("task=evaluate", f"resume={whole}", "task.snapshot=swa", name="scored")
    assert code == 0
    found = json.loads((folder / "evaluation.json").read_text())
    for metric in ("test/accuracy", "test/loss"):
        assert np.float32(last[f"swa/{metric}"]) == np.float32(found["metrics"][metric])
    assert found["parent"] == {"folder": str(whole), "step": 30}
    kernels = [Snapshots(whole).load(step)["params/Dense_0/kernel"] for step in ENDS]
    average = load(whole, snapshot="swa")
    np.testing.assert_array_equal(
        average.variables["params"]["Dense_0"]["kernel"],
        np.mean(kernels, 0, dtype=np.float64).astype(np.float32),
    )
    test = digits().test
    answers = average.predict(test.inputs).argmax(-1)
    assert np.mean(answers == test.targets) == pytest.approx(last["swa/test/accuracy"])


def test_the_statistics_of_the_average_are_those_of_the_training_examples(whole):
    """An epoch of whole batches has 1,408 of the 1,437 examples, hence the tolerance."""
    variables = load(whole, snapshot="swa").variables
    inputs = digits().train.inputs.reshape(1437, 64).astype(np.float64)
    layer = variables["params"]["Dense_0"]
    sums = (inputs - inputs.mean()) / inputs.std() @ layer["kernel"] + layer["bias"]
    found = variables["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], sums.mean(0), atol=0.05)
    np.testing.assert_allclose(found["var"], sums.var(0), rtol=0.05)
    stored = [Snapshots(whole).load(step) for step in ENDS]
    means = np.mean([one["model_state/batch_stats/BatchNorm_0/mean"] for one in stored], axis=0)
    assert np.abs(means - sums.mean(0)).max() > 0.1


def test_an_ensemble_by_hand_has_the_accuracy_of_the_table(whole, rows):
    test = digits().test
    logits = [load(whole, snapshot=step).predict(test.inputs) for step in ENDS]
    for k, row in enumerate(rows(whole), start=1):
        mean = np.mean([jax.nn.softmax(one) for one in logits[:k]], axis=0)
        assert np.mean(mean.argmax(-1) == test.targets) == pytest.approx(
            row["ensemble/test/accuracy"]
        )
        own = mean[np.arange(len(test.targets)), test.targets]
        assert row["ensemble/test/loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)


def test_tensorboard_has_the_curves_and_the_picture(whole, rows):
    curves = snapshot_scalars(whole)
    assert curves.keys() == rows(whole)[0].keys() - {"step", "cycle"}
    for tag, (steps, values) in curves.items():
        assert steps == ENDS
        assert values == pytest.approx([row[tag] for row in rows(whole)])
    events = EventAccumulator(str(whole), size_guidance={"images": 0})
    events.Reload()
    assert len(events.Images("snapshots")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", [9, 10, 11, 35])
def test_a_resumed_run_has_the_snapshots_and_the_table_of_one_that_never_stopped(
    whole, tmp_path, step
):
    copy = killed_at(whole, step, tmp_path / "copy")
    assert main([f"resume={copy}", "checkpoint.every=20"]) == 0
    names = [f"{name}.safetensors" for name in sorted(["swa", *map(str, ENDS)])]
    assert sorted(os.listdir(copy / "snapshots")) == names
    for name in ("snapshots.csv", *(f"snapshots/{name}" for name in names)):
        assert (copy / name).read_bytes() == (whole / name).read_bytes()
    assert snapshot_scalars(copy) == snapshot_scalars(whole)


@pytest.mark.slow
def test_a_longer_run_adds_rows_and_points(whole, tmp_path, rows):
    copy = tmp_path / "longer"
    shutil.copytree(whole, copy)
    assert main([f"resume={copy}", "training.steps=55", "checkpoint.every=20"]) == 0
    assert rows(copy)[:3] == rows(whole)
    for steps, _ in snapshot_scalars(copy).values():
        assert steps == [10, 20, 30, 40, 50]


@pytest.mark.slow
def test_the_parameters_are_those_without_snapshots(whole, run, summary):
    code, folder = run(*TINY, "training.snapshots=false")
    assert code == 0
    assert summary(folder)["params_sha256"] == summary(whole)["params_sha256"]
    assert not (folder / "snapshots").exists()
    assert not (folder / "snapshots.csv").exists()


@pytest.mark.slow
def test_a_run_that_is_stopped_while_it_scores_is_scored_when_it_is_resumed(
    whole, run, summary, monkeypatch, capsys
):
    def evaluate(*arguments):
        os.kill(os.getpid(), 15)
        return original(*arguments)

    original = snapshot_scores.evaluate
    monkeypatch.setattr(snapshot_scores, "evaluate", evaluate)
    code, folder = run(*TINY)
    assert code == 143
    assert "stopped while the snapshots were scored; resume the run" in capsys.readouterr().err
    assert summary(folder)["status"] == "stopped"
    assert not (folder / "snapshots.csv").exists()
    monkeypatch.undo()
    assert main([f"resume={folder}"]) == 0
    assert (folder / "snapshots.csv").read_bytes() == (whole / "snapshots.csv").read_bytes()


@pytest.mark.slow
def test_snapshots_that_are_asked_for_late_are_named(whole, tmp_path, run, capsys, rows):
    code, folder = run(*TINY, "training.snapshots=false", "training.steps=25")
    assert code == 0
    assert main([f"resume={folder}", "training.snapshots=true", "training.steps=35"]) == 0
    said = capsys.readouterr().out
    assert "warning: 2 of 3 cycle ends have no snapshot (steps 10, 20)" in said
    assert [row["step"] for row in rows(folder)] == [30]


@pytest.mark.parametrize(
    "settings",
    [("scheduler=constant",), ("training.steps=9", "scheduler.step_size_up=5")],
)
def test_snapshots_need_a_cycle_that_ends(run, capsys, settings):
    code, folder = run("training.snapshots=true", *settings)
    assert code == 2
    said = capsys.readouterr().err
    assert "error: training.snapshots: true, but no cycle of scheduler=" in said
    assert not (folder / "snapshots").exists()


@pytest.mark.slow
def test_a_regression_prints_a_table_of_its_own_metric(run, tmp_path, capsys):
    inputs = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    np.savez(
        tmp_path / "data.npz",
        **{"x_train": inputs, "y_train": inputs.sum(1), "x_test": inputs, "y_test": inputs.sum(1)},
    )
    code, _ = run(
        *[line for line in TINY if "norm" not in line],
        "dataset=arrays",
        f"dataset.path={tmp_path}/data.npz",
        "objective=regression",
        "training.batch_size=16",
        "metric=eval/rmse",
    )
    assert code == 0
    printed = capsys.readouterr().out
    for shown in ("3 snapshots", "eval rmse", "test rmse", "average of weights (SWA)"):
        assert shown in printed


def test_a_checkpoint_and_a_snapshot_are_not_both_loaded(whole):
    with pytest.raises(ConfigError, match="swa, but step or best chooses a checkpoint"):
        load(whole, step=10, snapshot="swa")
