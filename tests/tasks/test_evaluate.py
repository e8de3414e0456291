"""``task=evaluate``: the metrics that training recorded, on any split and data set."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sampling import slow_except

from runner.cli import main
from runner.data.sources.digits import digits
from runner.tasks import evaluate as evaluate_module

SHORT = ("training.steps=44", "training.eval_every=11", "model.hidden=[16]")

# Runs whose evaluated parameters are not the trained ones, or that compute differently.
SAMPLE = ["moving average"]
KINDS = {
    "sgd": (),
    "moving average": ("training.ema_decay=0.9",),
    "lookahead": ("optimizer.lookahead.sync_period=5",),
    "schedule-free": ("optimizer=schedule_free_adamw", "scheduler=constant"),
    "frozen": ("optimizer.groups={body: Dense_0/*}", "optimizer.frozen=[body]"),
    "bfloat16": ("training.compute_dtype=bfloat16",),
    "cnn": ("model=cnn", "model.features=[4]", "model.dense=8"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    assert main([f"hydra.run.dir={folder}", *SHORT]) == 0
    return folder


@pytest.fixture
def evaluate(run, saved):
    """Evaluates a run; returns the exit code and the folder that was written."""
    return lambda *overrides, of=saved: run("task=evaluate", f"resume={of}", *overrides)


def evaluation(folder):
    return json.loads((folder / "evaluation.json").read_text())


def of_test(summary):
    """The metrics of the test split, without those of single classes."""
    return {t: v for t, v in summary["metrics"].items() if t in ("test/accuracy", "test/loss")}


@pytest.mark.parametrize("kind", slow_except(SAMPLE, KINDS))
def test_the_metrics_are_those_of_training_to_the_bit(kind, run, summary):
    overrides = [*SHORT, *KINDS[kind]]
    if kind == "cnn":
        overrides.remove("model.hidden=[16]")
    code, trained = run(*overrides, name="trained")
    assert code == 0
    code, folder = run("task=evaluate", f"resume={trained}")
    assert code == 0
    assert evaluation(folder)["metrics"] == of_test(summary(trained))


def test_the_best_checkpoint_has_the_best_accuracy(evaluate, saved, summary):
    code, folder = evaluate("task.best=true", "task.split=validation")
    assert code == 0
    best = summary(saved)["best"]
    assert evaluation(folder)["metrics"]["eval/accuracy"] == best["value"]
    assert evaluation(folder)["parent"] == {"folder": str(saved), "step": best["step"]}
    assert evaluation(folder)["checkpoint"] == str(saved / "checkpoints" / str(best["step"]))


def test_predictions_are_the_logits_behind_the_metrics(evaluate, capsys):
    code, folder = evaluate("task.split=train", "task.predictions=true")
    assert code == 0
    found = evaluation(folder)
    with np.load(folder / "predictions.npz", allow_pickle=False) as file:
        logits, targets, indices = file["predictions"], file["targets"], file["indices"]
    assert (logits.dtype, logits.shape) == (np.float32, (1437, 10))
    assert np.array_equal(targets, digits().train.targets)
    assert indices.tolist() == list(range(1437))
    shifted = logits.astype(float) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[indices, targets]
    assert found["metrics"]["train/loss"] == pytest.approx(losses.mean(), rel=1e-5)
    accuracy = (logits.argmax(axis=1) == targets).mean()
    assert found["metrics"]["train/accuracy"] == pytest.approx(accuracy)
    assert (found["split"], found["examples"], found["dataset"]) == ("train", 1437, "digits")
    said = capsys.readouterr().out
    assert f"accuracy {accuracy:.2%}" in said
    assert "1,437 train examples of digits" in said


def test_a_metric_that_is_not_finite_is_null(tmp_path):
    config = SimpleNamespace(dataset=SimpleNamespace(option="digits"))
    run = SimpleNamespace(checkpoint=tmp_path / "44", origin={"folder": "run", "step": 44})
    metrics = {"test/loss": float("nan"), "test/rmse": float("inf"), "test/accuracy": 0.5}
    evaluate_module._write_evaluation(tmp_path, config, run, metrics, split="test", examples=3)
    assert evaluation(tmp_path) == {
        "metrics": {"test/loss": None, "test/rmse": None, "test/accuracy": 0.5},
        "dataset": "digits",
        "split": "test",
        "examples": 3,
        "checkpoint": str(tmp_path / "44"),
        "parent": {"folder": "run", "step": 44},
    }


def test_another_data_set_is_normalised_as_the_runs_own(evaluate, saved, summary, digits_as_idx):
    # The same images; their data set declares another normalisation.
    code, folder = evaluate("dataset=fashion_mnist", f"dataset.root={digits_as_idx}")
    assert code == 0
    found = evaluation(folder)
    assert found["dataset"] == "fashion_mnist"
    assert found["metrics"] == of_test(summary(saved))


def test_a_data_set_of_another_shape_is_refused(evaluate, digits_as_idx, capsys):
    for path in digits_as_idx.glob("*images*"):
        stored = path.read_bytes()
        path.write_bytes(stored[:8] + bytes([0, 0, 0, 16, 0, 0, 0, 4]) + stored[16:])
    code, _ = evaluate("dataset=mnist", f"dataset.root={digits_as_idx}")
    assert code == 3
    said = "error: dataset inputs: have the shape [180, 16, 4, 1], the run's have [n, 8, 8, 1];"
    assert said in capsys.readouterr().err


def test_the_saved_run_stays_as_it_is(evaluate, saved):
    def contents():
        files = (path for path in saved.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = contents()
    code, folder = evaluate()
    assert code == 0
    assert contents() == before
    assert sorted(path.name for path in folder.iterdir()) == [".hydra", "evaluation.json"]


@pytest.mark.parametrize(
    ("overrides", "code", "said"),
    [
        (["task.step=5"], 4, "checkpoints: holds no checkpoint of step 5; known: "),
        (["task.step=44", "task.best=true"], 2, "task.best: true, but step is 44; give one"),
        (["task.step=-1"], 2, "task.step: -1 is not an integer from 0"),
        (["task.split=all"], 2, "task.split: 'all' is not one of test, validation, train"),
        (["resume=null"], 2, "resume: is null, but the task needs a run; add resume=RUN_FOLDER"),
        (["resume=nowhere"], 2, "resume: 'nowhere' is not a run folder"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(evaluate, capsys, overrides, code, said):
    found, _ = evaluate(*overrides)
    error = capsys.readouterr().err
    assert said in error
    assert (found, error.count("\n")) == (code, 1)


@pytest.mark.slow
def test_a_run_without_checkpoints_cannot_be_evaluated(run, evaluate, capsys):
    code, trained = run(*SHORT, "checkpoint.every=null", name="trained")
    assert code == 0
    assert evaluate(of=trained)[0] == 4
    assert "trained/checkpoints: holds no checkpoint; name a run" in capsys.readouterr().err
