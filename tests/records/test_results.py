"""The results of a multirun's jobs, read from their summaries."""

import json
from pathlib import Path

from runner.records.results import read_results
from runner.records.summary import blank_summary


def leave(folder: Path, **figures: object) -> None:
    folder.mkdir(parents=True)
    summary = blank_summary("finished", seed=0, seconds=1.5) | figures
    (folder / "summary.json").write_text(json.dumps(summary))


def test_jobs_are_read_in_the_order_of_their_numbers(tmp_path):
    best = {"metric": "eval/loss", "value": 0.5, "step": 9}
    leave(tmp_path / "10_seed=2", overrides=["seed=2"], steps=9, best=best)
    leave(tmp_path / "2_seed=1", overrides=["seed=1"], status="diverged", steps=3)
    first, second = read_results(tmp_path)
    assert (str(first.folder), first.overrides, first.status) == (
        "2_seed=1",
        ("seed=1",),
        "diverged",
    )
    assert (str(second.folder), second.steps, second.seconds) == ("10_seed=2", 9, 1.5)
    assert (first.best, second.best) == (None, best)


def test_folders_may_be_nested_and_what_is_in_a_run_is_no_job(tmp_path):
    leave(tmp_path / "constant" / "0")
    leave(tmp_path / "constant" / "0" / "checkpoints" / "8")
    leave(tmp_path / "triangular" / "1")
    found = [str(result.folder) for result in read_results(tmp_path)]
    assert found == ["constant/0", "triangular/1"]


def test_a_summary_that_cannot_be_read_is_left_out(tmp_path):
    for number, text in enumerate(("", "[]", "{}", '{"status": "finished"}', "\0")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "summary.json").write_text(text)
    leave(tmp_path / "9")
    assert [str(result.folder) for result in read_results(tmp_path)] == ["9"]
