"""A checkpoint whose record is not one of a run's is damaged, even if its hashes agree."""

import os

import numpy as np
import pytest

from runner.errors import StorageError
from runner.records.checkpoints import Checkpoints
from runner.records.run_record import check_run_record

TARGETS = {
    "shape": [],
    "num_classes": 2,
    "counts": [3, 4],
    "token_bytes": None,
    "mean": 0.0,
    "std": 1.0,
}
DATA = {
    "shape": [8, 8, 1],
    "dtype": "float32",
    "mean": 0.5,
    "std": 2.0,
    "classes": None,
    "targets": TARGETS,
}
RECORD = {
    "settings": {"seed": 0},
    "steps": 60,
    "plugins": [],
    "time": 1.5,
    "parent": {"folder": "run", "step": 0},
    "data": DATA,
}
WRONG = [
    ("settings", []),
    ("steps", "60"),
    ("steps", 0),
    ("steps", True),
    ("plugins", "os"),
    ("time", "now"),
    ("time", float("nan")),
    ("parent", [1]),
    ("parent", {"folder": "run", "step": -1}),
    ("data", None),
    ("data", DATA | {"shape": 8}),
    ("data", DATA | {"shape": [-1]}),
    ("data", DATA | {"dtype": "object"}),
    ("data", DATA | {"mean": None}),
    ("data", DATA | {"std": [1.0, 0.0]}),
    ("data", DATA | {"mean": [1.0, 2.0, 3.0]}),
    ("data", DATA | {"std": [1.0, 2.0, 3.0]}),
    ("data", DATA | {"shape": [], "mean": [1.0, 2.0]}),
    ("data", DATA | {"targets": TARGETS | {"num_classes": "ten"}}),
    ("data", DATA | {"targets": TARGETS | {"shape": [-1]}}),
    ("data", DATA | {"targets": TARGETS | {"std": 0.0}}),
    ("data", DATA | {"targets": {"shape": []}}),
    ("data", DATA | {"targets": TARGETS | {"more": 1}}),
    ("data", DATA | {"mean": "x"}),
    ("data", DATA | {"std": 0}),
    ("data", DATA | {"classes": {"a": 1}}),
    ("steps", 60.0),
    ("plugins", ["os", 1]),
    ("time", True),
    ("time", float("inf")),
    ("parent", {"step": 0}),
    ("parent", {"folder": "run"}),
    ("parent", {"folder": 1, "step": 0}),
    ("data", DATA | {"shape": [8, True]}),
    ("data", DATA | {"std": None}),
    ("data", DATA | {"std": "x"}),
    ("data", DATA | {"std": -1.0}),
    ("data", DATA | {"mean": [0.5, float("nan")]}),
    ("data", DATA | {"classes": ["a", 1]}),
    ("data", {name: value for name, value in DATA.items() if name != "dtype"}),
    ("data", {name: value for name, value in DATA.items() if name != "targets"}),
    ("data", DATA | {"targets": list(TARGETS)}),
    ("data", DATA | {"targets": TARGETS | {"shape": 2}}),
    ("data", DATA | {"targets": TARGETS | {"num_classes": -1}}),
    ("data", DATA | {"targets": TARGETS | {"counts": [3, -4]}}),
    ("data", DATA | {"targets": TARGETS | {"token_bytes": [1.5]}}),
    ("data", DATA | {"targets": TARGETS | {"mean": "x"}}),
    ("data", DATA | {"targets": TARGETS | {"std": "x"}}),
    ("data", DATA | {"targets": TARGETS | {"std": [1.0, -1.0]}}),
]


def test_the_record_of_a_run_is_accepted():
    check_run_record(RECORD)
    check_run_record(RECORD | {"parent": None, "data": DATA | {"classes": ["a", "b"]}})
    values = TARGETS | {"num_classes": None, "counts": None, "mean": [1.0], "std": [2.0]}
    check_run_record(RECORD | {"data": DATA | {"mean": None, "std": None, "targets": values}})


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_part_of_another_type_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is not what a run records"):
        check_run_record(RECORD | {name: value})


@pytest.mark.parametrize("record", [None, [1], "x"])
def test_a_record_that_is_not_a_mapping_is_refused(record):
    with pytest.raises(ValueError, match="not a mapping"):
        check_run_record(record)


def test_a_checkpoint_with_a_wrong_record_is_damaged(tmp_path):
    Checkpoints(tmp_path).save(1, {"step": np.array(1)}, {"steps": "60"})
    with pytest.raises(StorageError, match=r"is damaged .*steps is not what a run records"):
        Checkpoints(tmp_path).load(1)


@pytest.mark.parametrize(
    "record",
    [
        {"time": 10**400},
        {"data": DATA | {"mean": 10**400}},
        {"figures": {"best": {"metric": "eval/loss", "value": 0.5, "step": 10**400}}},
    ],
)
def test_a_checkpoint_with_an_integer_out_of_range_is_damaged(tmp_path, record):
    Checkpoints(tmp_path).save(1, {"step": np.array(1)}, record)
    with pytest.raises(StorageError, match=r"is damaged .*out of range"):
        Checkpoints(tmp_path).load(1)


@pytest.mark.parametrize("name", ["manifest.json", "record.json"])
def test_a_pipe_in_a_checkpoint_is_not_read(tmp_path, name):
    path = Checkpoints(tmp_path).save(1, {"step": np.array(1)}, {})
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(StorageError, match=r"is damaged .*is not a file"):
        Checkpoints(tmp_path).load(1)
