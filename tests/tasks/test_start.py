"""Where training starts: its time, its notes and what it keeps of an earlier attempt."""

import os
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import DivergedError
from runner.experiment import hparams, timeline
from runner.objectives import Targets
from runner.records import checkpoints, figures
from runner.tasks import train as train_module
from runner.tasks.start import Start, start_of
from runner.training import checkpoint


class Experiment:
    """An experiment of 100 steps whose states only say where they are from."""

    config = SimpleNamespace(init_from=None, init_params_only=False)
    lengths = SimpleNamespace(steps=100)
    device = None

    def initial_state(self):
        return SimpleNamespace(step=np.int32(0), rate_factor=None, source="new")

    def restored_state(self, arrays, *, source):
        return SimpleNamespace(step=np.int32(40), rate_factor=np.float32(0.5), source=source)


FIGURES = {"seconds": 7.0, "training_seconds": 5.0}


def resumed(tmp_path, monkeypatch, **record):
    """The start of a run whose newest checkpoint has such a record; it last wrote at 1,000 s."""
    (tmp_path / "events").touch()
    os.utime(tmp_path / "events", (1000, 1000))
    found = {"figures": FIGURES, "time": 990.0, "steps": 100, "parent": None, **record}
    saved = SimpleNamespace(step=40, path="saved", arrays={}, record=found)
    of_folder = SimpleNamespace(newest=lambda: saved)
    monkeypatch.setattr(checkpoints, "Checkpoints", lambda folder: of_folder)
    return start_of(Experiment(), tmp_path, resumes=True)


@pytest.mark.parametrize(("time", "gap"), [(990.0, 10.0), (1000.0, 0.0), (1005.0, 0.0)])
def test_the_time_after_the_checkpoint_in_which_the_run_wrote_results_counts(
    tmp_path, monkeypatch, time, gap
):
    start = resumed(tmp_path, monkeypatch, time=time)
    assert (start.figures.seconds, start.figures.training_seconds) == (7.0 + gap, 5.0)
    assert (start.step, start.rate_factor) == (40, 0.5)
    assert start.state.source == "saved"
    assert start.notes == ("resumes at step 40 of 100",)


def test_what_another_length_changes_is_noted_and_the_parent_kept(tmp_path, monkeypatch):
    effects = {80: "the schedule changes", 90: None}
    monkeypatch.setattr(timeline, "effect_of_length", lambda _, earlier: effects[earlier])
    parent = {"folder": "/runs/a", "step": 3}
    start = resumed(tmp_path, monkeypatch, steps=80, parent=parent)
    assert start.notes == ("resumes at step 40 of 100", "the schedule changes")
    assert start.parent == parent
    assert resumed(tmp_path, monkeypatch, steps=90).notes == ("resumes at step 40 of 100",)


@pytest.mark.parametrize("resumes", [False, True])
def test_without_a_checkpoint_a_run_starts_at_step_0(tmp_path, resumes):
    start = start_of(Experiment(), tmp_path, resumes=resumes)
    assert (start.step, start.rate_factor, start.parent) == (0, None, None)
    assert start.state.source == "new"
    assert start.figures == figures.Figures()
    said = ("no checkpoint was saved; starts again at step 0",)
    assert start.notes == (said if resumes else ())


ERROR = DivergedError("train/loss", "nan at step 50", "lower it")


@dataclass(frozen=True)
class State:
    """What backing off reads and replaces of a state."""

    step: np.ndarray
    rate_factor: np.ndarray | None


def backed_off(monkeypatch, factor, *, step=40):
    """The start after a run at ``factor`` times its rates has diverged."""

    def start(factor, seconds):
        state = State(np.int32(step), None if factor is None else np.float32(factor))
        return Start(state, figures.Figures(seconds=seconds, training_seconds=3.0))

    again = start(1.0, 30.0)
    saved = {True: again, False: None}
    monkeypatch.setattr(train_module, "start_of", lambda *_, resumes: saved[resumes])
    return train_module._back_off(Experiment(), "folder", start(factor, 8.0), ERROR)


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.25])
def test_backing_off_halves_the_rates_of_the_run_that_diverged(monkeypatch, factor):
    start = backed_off(monkeypatch, factor)
    assert start.rate_factor == factor / 2
    assert start.state.rate_factor.dtype == jnp.float32
    # The time of earlier attempts alone, as this process measures its own.
    assert (start.figures.seconds, start.figures.training_seconds) == (8.0, 3.0)
    (note,) = start.notes
    assert note == (
        f"train/loss: nan at step 50; continues from step 40 at {factor / 2:g} times the rates"
    )


@pytest.mark.parametrize("factor", [0.125, None])
@pytest.mark.parametrize(
    ("step", "saved"), [(40, "the last checkpoint is at step 40"), (0, "no checkpoint was saved")]
)
def test_a_run_that_has_backed_off_often_enough_or_may_not_ends(monkeypatch, factor, step, saved):
    with pytest.raises(DivergedError) as caught:
        backed_off(monkeypatch, factor, step=step)
    assert str(caught.value) == f"train/loss: nan at step 50; lower it; {saved}"


def test_a_state_with_a_value_that_is_not_finite_is_not_saved(monkeypatch):
    found = {"params/kernel": np.ones(2, np.float32)}
    monkeypatch.setattr(checkpoint, "to_arrays", lambda *_: found)
    assert train_module._finite_arrays(None, None) is found
    found["params/bias"] = np.array([0.0, np.nan], np.float32)
    assert train_module._finite_arrays(None, None) is None


def test_a_forked_run_shows_where_it_started(monkeypatch):
    monkeypatch.setattr(hparams, "flat_settings", lambda _: {"seed": 3})
    start = SimpleNamespace(parent=None)
    assert train_module._hparams(None, start) == {"seed": 3}
    start.parent = {"folder": "/runs/a", "step": 40}
    assert train_module._hparams(None, start) == {"seed": 3, "init_from": "/runs/a@40"}


def test_a_checkpoint_records_what_resuming_and_loading_need():
    experiment = SimpleNamespace(
        config=SimpleNamespace(hparams={"seed": 3}, plugins=("mine",)),
        lengths=SimpleNamespace(steps=880),
        example=SimpleNamespace(shape=(1, 8, 8, 1), dtype=np.dtype("float32")),
        dataset=SimpleNamespace(mean=1.5, std=2.5, classes=("a", "b")),
        targets=Targets((), 2),
    )
    parent = {"folder": "/runs/a", "step": 40}
    assert train_module._checkpoint_record(experiment, SimpleNamespace(parent=parent)) == {
        "settings": {"seed": 3},
        "steps": 880,
        "plugins": ["mine"],
        "parent": parent,
        "data": {
            "shape": [8, 8, 1],
            "dtype": "float32",
            "mean": 1.5,
            "std": 2.5,
            "classes": ("a", "b"),
            "targets": asdict(Targets((), 2)),
        },
    }


@pytest.mark.parametrize("is_stopping", [False, True])
@pytest.mark.parametrize("samples", [False, True])
def test_a_language_model_writes_a_text_unless_a_signal_ends_the_run(
    monkeypatch, is_stopping, samples
):
    told = []
    monkeypatch.setattr(train_module, "_sample", lambda *_: "one\ntwo")
    trained = SimpleNamespace(step=np.int32(40), params="params")
    ending = SimpleNamespace(is_stopping=lambda: is_stopping)
    record = SimpleNamespace(
        final_state=lambda step, state: told.append((step, state)),
        text=lambda tag, text, step: told.append((tag, text, step)),
    )
    experiment = SimpleNamespace(samples_text=samples)
    train_module._record_end(experiment, trained, record, ending)
    assert ending.params == "params"
    expected = [(40, trained)]
    if samples and not is_stopping:
        expected.append(("sample", "    one\n    two", 40))
    assert told == expected


def test_the_plan_of_saving_is_that_of_the_settings():
    def plan(**checkpoint):
        experiment = SimpleNamespace(
            lengths=SimpleNamespace(steps=880),
            plan=SimpleNamespace(save_every=7, cycle_ends=(220, 440)),
            config=SimpleNamespace(checkpoint=SimpleNamespace(**checkpoint)),
        )
        return train_module._save_plan(experiment)

    found = plan(cycle_ends=True, best=False)
    # Half a minute and a hundredth of the run.
    assert (found.seconds, found.steps, found.every) == (30.0, 8, 7)
    assert (found.cycle_ends, found.best) == ((220, 440), False)
    found = plan(cycle_ends=False, best=True)
    assert (found.cycle_ends, found.best) == ((), True)
