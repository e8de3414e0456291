"""The answer of an earlier range test is used only if it is one that a range test gives."""

import json
import os

import numpy as np
import pytest
import yaml

from runner.errors import FLOAT32_MAX
from runner.ranges import Answer, Curve, NoAnswer, Spread
from runner.records.range_record import (
    clear,
    read_result,
    result_of,
    write_curves,
    write_option,
    write_result,
)

ANSWER = Answer(0.01, 0.3, 4.5, Spread(0.008, 0.02), Spread(0.2, 0.4), ("the loss falls",))


def test_what_was_written_is_read(tmp_path):
    write_result(tmp_path, {**result_of(ANSWER), "steps": 880})
    found = read_result(tmp_path)
    assert found is not None
    assert (found.answer, found.steps) == (ANSWER, 880)


@pytest.mark.parametrize(
    "changed",
    [
        {"step_size_epochs": 1e-9},
        {"step_size_epochs": 1e300},
        {"step_size_epochs": True},
        {"base_lr": 0.31},
        {"base_lr": -0.1},
        {"max_lr": 1e39},
        {"max_lr": 10**400},
        {"max_lr": "0.3"},
        {"max_lr_spread": {"low": "x", "high": 1}},
        {"max_lr_spread": {"low": 0.1}},
        {"base_lr_spread": {"low": 0.1, "high": None}},
        {"reasons": 5},
        {"reasons": [{"a": 1}]},
        {"more": 1},
        {"step_size_epochs": 1.99},
        {"step_size_epochs": 10.01},
        {"step_size_epochs": "4"},
        {"base_lr": 0.0},
        {"base_lr": True, "max_lr": 2.0},
        {"base_lr_spread": {"low": 0.0, "high": 0.1}},
        {"max_lr_spread": {"low": 0.1, "high": 1e39}},
        {"reasons": ["a", 1]},
    ],
)
def test_an_answer_that_no_range_test_gives_is_not_used(tmp_path, changed):
    write_result(tmp_path, {**result_of(ANSWER), "steps": 880})
    result = json.loads((tmp_path / "range_test.json").read_text())
    result["answer"] |= changed
    (tmp_path / "range_test.json").write_text(json.dumps(result))
    assert read_result(tmp_path) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"step_size_epochs": 2},
        {"step_size_epochs": 10},
        {"base_lr": 0.3},
        {"max_lr": FLOAT32_MAX},
        {"max_lr": 1},
        {"reasons": []},
    ],
)
def test_an_answer_at_the_limits_is_used(tmp_path, changed):
    result = {**result_of(ANSWER), "steps": 2**31 - 1}
    result["answer"] |= changed
    write_result(tmp_path, result)
    found = read_result(tmp_path)
    assert found is not None
    expected = {name: tuple(v) if name == "reasons" else v for name, v in changed.items()}
    assert vars(found.answer) == vars(ANSWER) | expected
    assert found.steps == 2**31 - 1


def test_a_test_without_an_answer_says_why(tmp_path):
    result = result_of(NoAnswer("the loss never falls", "try a smaller model"))
    assert result == {
        "answer": None,
        "reason": "the loss never falls",
        "remedy": "try a smaller model",
    }
    write_result(tmp_path, {**result, "steps": 880})
    assert read_result(tmp_path) is None


def test_numbers_that_json_lacks_become_null(tmp_path):
    given = {"a": [np.inf, (-np.inf, 1.5)], "b": {2: np.nan}, "c": "é", "d": None, "e": True}
    write_result(tmp_path, given)
    text = (tmp_path / "range_test.json").read_text()
    assert json.loads(text) == {
        "a": [None, [None, 1.5]],
        "b": {"2": None},
        "c": "é",
        "d": None,
        "e": True,
    }
    assert "é" in text


def test_an_option_is_yaml_with_a_comment_above_it(tmp_path):
    section = {
        "name": "sequence",
        "base_lr": 1e-05,
        "max_lr": 3e20,
        "gamma": 0.5,
        "step_size_up": 100,
        "cycle_momentum": False,
        "last_epoch": None,
        "values": [0.1, (1e-07, 2)],
        "text": "1e-3",
        "empty": {},
        "groups": {"head": {"base_lr": 2e-06}, "b": 1},
    }
    for _ in range(2):
        write_option(tmp_path, section, comments=["of a range\n  test", "two"])
    text = (tmp_path / "scheduler" / "suggested.yaml").read_text()
    assert text.startswith("# of a range test\n# two\n\nname: ")
    assert text.endswith("1\n")
    expected = section | {"values": [0.1, [1e-07, 2]]}
    assert yaml.safe_load(text) == expected


def test_curves_are_a_table_of_each_step(tmp_path):
    def curve(seed, n):
        rates = np.arange(1, n + 1) / 8
        return Curve(seed, rates, rates + 1, rates + 2, False)

    write_curves(tmp_path / "a.csv", {None: [curve(3, 2), curve(4, 1)]}, over=None)
    assert (tmp_path / "a.csv").read_text() == (
        "seed,step,lr,loss,smoothed_loss\n"
        "3,0,0.125,1.125,2.125\n3,1,0.25,1.25,2.25\n4,0,0.125,1.125,2.125\n"
    )
    write_curves(tmp_path / "b.csv", {"sgd": [curve(3, 1)], "adam": [curve(3, 1)]}, over="name")
    assert (tmp_path / "b.csv").read_text() == (
        "name,seed,step,lr,loss,smoothed_loss\n"
        "sgd,3,0,0.125,1.125,2.125\nadam,3,0,0.125,1.125,2.125\n"
    )


def test_the_files_of_an_interrupted_test_are_removed_and_no_others(tmp_path):
    clear(tmp_path)
    (tmp_path / "scheduler").mkdir()
    names = ["range_test.csv", "range_test.png", "range_test.json", "scheduler/suggested.yaml"]
    for name in [*names, "summary.json", "scheduler/mine.yaml"]:
        (tmp_path / name).touch()
    clear(tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"summary.json", "scheduler/mine.yaml"}


def test_the_rates_of_an_option_are_numbers_in_yaml_1_1(tmp_path):
    """There a number with an exponent needs a point: 1e-05 is a text."""
    section = {"name": "cyclic", "base_lr": 1e-05, "max_lr": [2.5e-06, 1e20, 0.25], "step": 4}
    section["parts"] = {"warmup": {"name": "linear", "base_lr": 3e-07, "periodic": True}}
    write_option(tmp_path, section, comments=["found by a\n range test"])
    text = (tmp_path / "scheduler" / "suggested.yaml").read_text()
    assert text.startswith("# found by a range test\n")
    assert yaml.safe_load(text) == section


@pytest.mark.parametrize("steps", [0, -1, 2**31, 10**400, 1.5, True, None])
def test_a_length_that_no_run_has_is_not_used(tmp_path, steps):
    (tmp_path / "range_test.json").write_text(json.dumps({**result_of(ANSWER), "steps": steps}))
    assert read_result(tmp_path) is None


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "range_test.json")
    assert read_result(tmp_path) is None
