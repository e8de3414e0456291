"""``task=range_test``: its files, what it prints, and what it refuses."""

import csv
import io
import json
import struct

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard_reading import scalars

from runner.cli import main
from runner.cli.commands import configure
from runner.report import range_figure

SHORT = ("model=linear", "training.epochs=6", "task.seeds=2")


def keep_axes(patched):
    """The axes of the pictures that are drawn from now on."""
    drawn, as_png = [], range_figure.as_png

    def kept(figure):
        drawn.extend(figure.axes)
        return as_png(figure)

    patched.setattr(range_figure, "as_png", kept)
    return drawn


@pytest.fixture(scope="module")
def tested_and_drawn(tmp_path_factory):
    """The folder of a range test, what it printed, and the axes of its picture."""
    folder, printed = tmp_path_factory.mktemp("tested") / "run", io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stdout", printed)
        drawn = keep_axes(patched)
        assert main(["task=range_test", f"hydra.run.dir={folder}", *SHORT]) == 0
    (axes,) = drawn
    return folder, printed.getvalue(), axes


@pytest.fixture
def tested(tested_and_drawn):
    """The folder of a range test, and what it printed."""
    return tested_and_drawn[:2]


def rows(folder):
    with (folder / "range_test.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_each_seeds_losses_and_rates_with_equal_factors(tested):
    found = rows(tested[0])
    assert list(found[0]) == ["seed", "step", "lr", "loss", "smoothed_loss"]
    assert {row["seed"] for row in found} == {"0", "1"}
    for seed in ("0", "1"):
        own = [row for row in found if row["seed"] == seed]
        assert [int(row["step"]) for row in own] == list(range(len(own)))
        expected = 1e-7 * 1e8 ** (np.arange(len(own)) / (79 - 1))
        np.testing.assert_allclose([float(row["lr"]) for row in own], expected, rtol=1e-6)
        assert 1.5 < float(own[0]["loss"]) < 4  # ten classes, untrained
        assert own[0]["smoothed_loss"] == own[0]["loss"]


def test_the_folder_has_a_picture_a_result_and_no_summary(tested):
    folder, _ = tested
    names = {path.name for path in folder.iterdir()}
    files = {f"range_test.{kind}" for kind in ("csv", "json", "png")}
    assert names == {".hydra", "range_test", "scheduler", *files}
    with Image.open(folder / "range_test.png") as picture:
        assert picture.width >= 800
    result = json.loads((folder / "range_test.json").read_text())
    assert result["answer"]["base_lr"] < result["answer"]["max_lr"]
    assert result["metric"] == "eval/accuracy"
    assert (result["steps"], result["seeds"]) == (132, [0, 1])
    assert result["before_verification"]["answer"].keys() == result["answer"].keys()
    multiples = list(result["scores"])
    assert all(len(scores) == 2 for scores in result["scores"].values())
    # Two runs for every multiple, of one length, besides the two of the test itself.
    assert (result["updates"] - len(rows(folder))) % (2 * len(multiples)) == 0
    assert {rule["rule"] for rule in result["rules"]} >= {"steepest", "valley", "slide"}


def test_the_result_has_the_answer_before_and_after_its_verification(tested):
    result = json.loads((tested[0] / "range_test.json").read_text())
    before, after = result["before_verification"]["answer"], result["answer"]
    *reasons, verified = after["reasons"]
    assert reasons == before["reasons"]
    assert verified.startswith("short runs")
    factor = 1.0 if "score these rates best" in verified else float(verified.split(" by ")[1])
    for name in ("base_lr", "max_lr"):
        assert after[name] == pytest.approx(factor * before[name])
    for name in ("base_lr_spread", "max_lr_spread"):
        for end, rate in before[name].items():
            assert after[name][end] == pytest.approx(factor * rate)


def test_the_picture_has_the_curves_the_verified_bounds_and_the_rules(tested_and_drawn):
    folder, _, axes = tested_and_drawn
    result = json.loads((folder / "range_test.json").read_text())
    curves = [
        np.array([float(row["smoothed_loss"]) for row in rows(folder) if row["seed"] == seed])
        for seed in ("0", "1")
    ]
    shared = min(map(len, curves))
    mean = (curves[0][:shared] + curves[1][:shared]) / 2
    heights = [np.asarray(line.get_ydata()) for line in axes.lines]
    for curve in (*curves, mean):
        assert any(len(y) == len(curve) and np.allclose(y, curve, rtol=1e-6) for y in heights)
    upright = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert upright == [result["answer"]["base_lr"], result["answer"]["max_lr"]]
    marks = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
    for rule in result["rules"]:
        assert marks[rule["rule"]] == rule["median"]
    assert axes.get_xscale() == "log"


def test_tensorboard_has_the_same_picture_and_the_curves(tested):
    folder, _ = tested
    events = EventAccumulator(str(folder / "range_test"), size_guidance={"images": 0})
    events.Reload()
    (picture,) = events.Images("range_test")
    png = (folder / "range_test.png").read_bytes()
    assert picture.encoded_image_string == png
    assert (picture.width, picture.height) == struct.unpack(">II", png[16:24])
    found = scalars(folder / "range_test")
    own = [row for row in rows(folder) if row["seed"] == "1"]
    for column in ("smoothed_loss", "loss"):
        steps, losses = found[f"range_test/{column}/seed_1"]
        assert steps == [int(row["step"]) for row in own]
        np.testing.assert_allclose(losses, [float(row[column]) for row in own], rtol=1e-6)
    longest = max((found[f"range_test/loss/seed_{seed}"][0] for seed in (0, 1)), key=len)
    steps, rates = found["range_test/lr"]
    assert sorted({*steps}) == longest
    np.testing.assert_allclose(rates, 1e-7 * 1e8 ** (np.array(steps) / (79 - 1)), rtol=1e-6)


def test_rules_scores_and_two_commands_are_printed(tested):
    folder, printed = tested
    for name in ("steepest", "valley", "minimum/10", "slide", "base_lr", "max_lr", "(× 0.25)"):
        assert name in printed
    answer = json.loads((folder / "range_test.json").read_text())["answer"]
    low, high = (f"{answer['max_lr_spread'][end]:.3g}" for end in ("low", "high"))
    lines = printed.splitlines()
    assert ["max_lr", f"{answer['max_lr']:.3g}", low, high] in [line.split() for line in lines]
    for reason in answer["reasons"]:
        assert f"  {reason}" in lines
    assert f" (max_lr {low} to {high} over seeds)\n" in printed
    kept = "model=linear training.epochs=6"
    command = f"python -m runner --config-dir {folder} scheduler=suggested"
    assert f"\n{command} {kept}\n" in printed
    assert f"\n{command} task=check {kept}\n" in printed


def test_the_suggested_option_is_a_complete_scheduler(tested):
    folder, _ = tested
    answer = json.loads((folder / "range_test.json").read_text())["answer"]
    option = yaml.safe_load((folder / "scheduler" / "suggested.yaml").read_text())
    default = configure().scheduler
    assert option["name"] == default.name
    assert option.keys() == {"name", *dict(default.settings)}
    scheduler = configure("--config-dir", str(folder), "scheduler=suggested", *SHORT[:2]).scheduler
    assert scheduler.settings.max_lr == pytest.approx(answer["max_lr"], rel=5e-3)
    assert scheduler.settings.base_lr == pytest.approx(answer["base_lr"], rel=5e-3)
    # Rates of a file are not scaled for an optimizer.
    line = ("--config-dir", str(folder), "scheduler=suggested", "optimizer=adam")
    assert configure(*line).scheduler.settings == scheduler.settings


def test_without_an_answer_it_says_why_and_suggests_nothing(run, capsys):
    code, folder = run("task=range_test", *SHORT, "task.start_lr=1e3", "task.end_lr=1e6")
    assert code == 0
    assert "no suggestion: the curve has fewer than 10 points; " in capsys.readouterr().out
    assert not (folder / "scheduler").exists()
    assert json.loads((folder / "range_test.json").read_text())["answer"] is None
    assert 2 <= len(rows(folder)) < 20


def test_a_range_that_diverges_keeps_the_curve_to_that_point(run):
    high = "task.start_lr=1e-3", "task.end_lr=1e30", "task.verify=false"
    code, folder = run("task=range_test", "model.hidden=[16]", *SHORT[1:], *high)
    assert code == 0
    found = rows(folder)
    assert 2 < len(found) < 2 * 79
    assert all(np.isfinite(float(row["loss"])) for row in found)


def test_linear_rates_have_equal_distances_in_the_table_and_the_picture(run, monkeypatch):
    drawn = keep_axes(monkeypatch)
    rates = "task.spacing=linear", "task.start_lr=0.02", "task.end_lr=0.4", "task.steps=20"
    code, folder = run("task=range_test", *SHORT[:2], "task.seeds=1", *rates, "task.verify=false")
    assert code == 0
    found = [float(row["lr"]) for row in rows(folder)]
    np.testing.assert_allclose(found, 0.02 * np.arange(1, 21), rtol=1e-6)
    assert [axes.get_xscale() for axes in drawn] == ["linear"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "values", "spacing", "scale"),
    [
        ("weight_decay", [0.1, 0.001, 0.0], "exponential", "log"),
        ("batch_size", [32.0, 128.0], "linear", "linear"),
    ],
)
def test_each_value_of_a_setting_has_its_curves(
    run, capsys, monkeypatch, over, values, spacing, scale
):
    drawn = keep_axes(monkeypatch)
    listed = ",".join(f"{value:g}" for value in values)
    line = f"task.over={over}", f"task.values=[{listed}]", f"task.spacing={spacing}"
    code, folder = run("task=range_test", *SHORT, *line, "task.steps=15")
    assert code == 0
    found = rows(folder)
    assert list(found[0]) == [over, "seed", "step", "lr", "loss", "smoothed_loss"]
    assert [float(v) for v in dict.fromkeys(row[over] for row in found)] == pytest.approx(values)
    assert not (folder / "scheduler").exists()
    with Image.open(folder / "range_test.png") as picture:
        assert picture.width >= 800
    (axes,) = drawn
    assert [line.get_label() for line in axes.lines] == [f"{over} {value:g}" for value in values]
    assert axes.get_xscale() == scale
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    first = lines.index([over, "lowest", "loss", "base_lr", "max_lr"]) + 1
    assert [line[0] for line in lines[first : first + len(values)]] == listed.split(",")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.start_lr=1", "task.end_lr=1"], "task.start_lr: 1.0 is not below end_lr (1.0)"),
        (["task.start_lr=0"], "task.start_lr: 0 is not above 0"),
        (["task.steps=9"], "task.steps: 9 is not a length of 10 to"),
        (["task.steps=0.1ep"], "task.steps: '0.1ep' resolves to 2 steps"),
        (["task.seeds=0"], "task.seeds: 0 is not an integer from 1"),
        (["task.smoothing=1"], "task.smoothing: 1 is not at least 0 and below 1"),
        (["task.spacing=log"], "task.spacing: 'log' is not one of exponential, linear"),
        (["task.over=momentum"], "task.values: there are no values to compare"),
        (
            ["task.over=depth", "task.values=[1]"],
            "task.over: 'depth' is not a numeric setting of the",
        ),
        (["task.values=[1]"], "task.over: there are values, but no setting that has them"),
        (
            ["task.over=momentum", "task.values=[0.5]", "optimizer.momentum=null"],
            "task.over: optimizer.momentum is null; set it",
        ),
        (  # of 100 numbers in float32, whose distance there is 6e-8
            ["task.spacing=linear", "task.start_lr=0.5", "task.end_lr=0.500001"],
            "task.end_lr: 0.500001 is too close to start_lr for",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused_and_leaves_no_folder(run, capsys, overrides, said):
    code, folder = run("task=range_test", *SHORT, *overrides)
    assert code == 2
    assert f"error: {said}" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.slow
def test_a_saved_run_takes_no_range_test(run, capsys):
    _, saved = run("model=linear", "training.steps=2", name="saved")
    for key in ("resume", "init_from"):
        code, _ = run("task=range_test", f"{key}={saved}", name=key)
        assert code == 2
        assert f"error: {key}: a range test starts from new parameters" in capsys.readouterr().err
