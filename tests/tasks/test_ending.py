"""The summary is written however a run ends: by an error, and by signals that come meanwhile."""

import json

import pytest

from runner.errors import DivergedError
from runner.records.stopping import EndAtOnceError
from runner.records.summary import blank_summary
from runner.tasks import ending as ending_module
from runner.tasks.ending import Ending


def read(folder):
    assert [path.name for path in folder.iterdir()] == ["summary.json"]
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DivergedError("train/loss", "nan", "lower it"), "diverged"),
        (EndAtOnceError(2), "stopped"),
        (RuntimeError("a bug"), "failed"),
    ],
)
def test_a_run_that_ends_early_says_how(tmp_path, error, status):
    with pytest.raises(type(error)), Ending(tmp_path, seed=3):
        raise error
    found = read(tmp_path)
    assert found["seconds"].pop("total") >= 0
    assert found["seconds"].pop("compile") == 0
    expected = blank_summary(status, seed=3, seconds=0)
    del expected["seconds"]["total"], expected["seconds"]["compile"]
    assert found == expected


class Broken:
    """Parameters of a computation that failed on the device."""

    def __array__(self, *_, **__):
        raise RuntimeError("INTERNAL: the device is gone")


def test_parameters_that_cannot_be_fetched_do_not_cost_the_summary(tmp_path):
    broken = {"kernel": Broken()}
    with pytest.raises(ValueError, match="first"), Ending(tmp_path, seed=0, params=broken):
        raise ValueError("what came first")
    assert read(tmp_path)["status"] == "failed"


@pytest.mark.parametrize("interrupted", ["params_sha256", "write_summary"])
def test_a_second_signal_does_not_cost_the_summary(tmp_path, monkeypatch, interrupted):
    action, calls = getattr(ending_module, interrupted), []

    def once(*args):
        calls.append(args)
        if len(calls) == 1:
            raise EndAtOnceError(15)
        return action(*args)

    monkeypatch.setattr(ending_module, interrupted, once)
    with pytest.raises(EndAtOnceError), Ending(tmp_path, seed=0) as ending:
        ending.params = {}
    assert read(tmp_path)["status"] == "finished"
