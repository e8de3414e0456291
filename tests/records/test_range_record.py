"""The answer of an earlier range test is used only if it is one that a range test gives."""

import json
import os

import pytest
import yaml

from runner.ranges import Answer, Spread
from runner.records.range_record import read_result, result_of, write_option, write_result

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
    ],
)
def test_an_answer_that_no_range_test_gives_is_not_used(tmp_path, changed):
    write_result(tmp_path, {**result_of(ANSWER), "steps": 880})
    result = json.loads((tmp_path / "range_test.json").read_text())
    result["answer"] |= changed
    (tmp_path / "range_test.json").write_text(json.dumps(result))
    assert read_result(tmp_path) is None


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
