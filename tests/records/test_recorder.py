"""The recorder: everything handed over is recorded in order, and the caller never hangs."""

import logging
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.config import Ranking
from runner.errors import DivergedError, StorageError
from runner.records import recorder as recorder_module
from runner.records.events import EventWriter
from runner.records.figures import Figures
from runner.records.journal import Journal
from runner.records.recorder import Recorder
from runner.records.snapshot_files import Snapshots, SnapshotSaver
from runner.training.listener import Evaluations

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Screen:
    """A display that remembers its calls."""

    def __init__(self):
        self.updates, self.evaluations, self.closed = [], [], 0

    def update(self, step, values, steps_per_second):
        self.updates.append((step, dict(values), steps_per_second))

    def evaluation(self, step, metrics):
        self.evaluations.append((step, dict(metrics)))

    def close(self):
        self.closed += 1


ACCURACY, LOSS = Ranking("eval/accuracy", highest=True), Ranking("eval/loss", highest=False)


class Pending:
    """An array that is still being computed until it is released."""

    def __init__(self, value, released):
        self.value, self.released = value, released

    def __array__(self, dtype=None, copy=None):
        self.released.wait()
        return np.asarray(self.value)


@contextmanager
def recording(folder, *, log_every=1, screen=None, saver=None, snapshots=None, **more):
    journal = Journal(
        events=EventWriter(folder),
        display=screen or Screen(),
        log_every=log_every,
        started=time.perf_counter(),
        **{"ranking": ACCURACY, **more},
    )
    with Recorder(journal, saver=saver, snapshots=snapshots) as recorder:
        yield recorder


def read(folder, tag):
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    if tag not in accumulator.Tags()["scalars"]:
        return {}
    return {event.step: event.value for event in accumulator.Scalars(tag)}


def chunk_metrics(start, capacity, loss=None):
    steps = np.arange(start, start + capacity)
    loss = 1 / (1.0 + steps) if loss is None else loss
    return {
        "train/loss": jnp.asarray(loss, jnp.float32),
        "schedule/lr": jnp.asarray(steps * 1e-3, jnp.float32),
        "schedule/cycle": jnp.asarray(steps // 10, jnp.int32),
    }


def test_each_step_is_written_once_and_padding_is_not(tmp_path):
    with recording(tmp_path) as recorder:
        for start, count in ((0, 8), (8, 8), (16, 3)):
            recorder.chunk(start, count, chunk_metrics(start, 8))
    recorder.raise_failure()
    assert recorder.steps == 19
    expected = {step: np.float32(1 / (1.0 + step)) for step in range(19)}
    assert read(tmp_path, "train/loss") == expected
    assert read(tmp_path, "schedule/cycle") == {step: step // 10 for step in range(19)}


@pytest.mark.parametrize(
    ("log_every", "expected"), [(7, [0, 7, 14, 18]), (6, [0, 6, 12, 18]), (100, [0, 18])]
)
def test_every_nth_step_and_the_last_one_are_written(tmp_path, log_every, expected):
    with recording(tmp_path, log_every=log_every) as recorder:
        for start, count in ((0, 8), (8, 8), (16, 3)):
            recorder.chunk(start, count, chunk_metrics(start, 8))
    assert list(read(tmp_path, "train/loss")) == expected


def test_the_throughput_of_a_short_run_is_written_at_its_end(tmp_path):
    with recording(tmp_path) as recorder:
        for start in (0, 8, 16):
            recorder.chunk(start, 8, chunk_metrics(start, 8))
    found = read(tmp_path, "throughput/steps_per_second")
    assert found == {23: np.float32(recorder.steps_per_second)}
    assert 0 < recorder.seconds_to_first_step < 5


def test_one_chunk_alone_has_no_steps_per_second(tmp_path):
    with recording(tmp_path) as recorder:
        recorder.chunk(0, 8, chunk_metrics(0, 8))
    assert recorder.steps_per_second is None


def test_evaluations_are_written_and_the_best_and_the_last_are_kept(tmp_path):
    screen = Screen()
    with recording(tmp_path, screen=screen) as recorder:
        for step, accuracy in ((10, 0.5), (20, 0.75), (30, 0.75), (40, 0.625)):
            metrics = {"eval/loss": jnp.float32(1 / step), "eval/accuracy": jnp.float32(accuracy)}
            recorder.evaluation(step, metrics)
    assert recorder.best == {"metric": "eval/accuracy", "value": 0.75, "step": 20}
    assert recorder.last_metrics == {"eval/loss": float(np.float32(0.025)), "eval/accuracy": 0.625}
    assert read(tmp_path, "eval/accuracy") == {10: 0.5, 20: 0.75, 30: 0.75, 40: 0.625}
    assert [step for step, _ in screen.evaluations] == [10, 20, 30, 40]


class Offers:
    """A saver that keeps what it is offered."""

    last = best = None

    def __init__(self):
        self.offered = []

    def offer(self, step, state, figures, *, due):
        self.offered.append((step, state, figures.best["step"], due))

    def close(self): ...


class Saves(Offers):
    """It is due after multiples of ten."""

    def __init__(self, *, keeps_best, folder=None):
        super().__init__()
        self.keeps_best = keeps_best
        if folder is not None:
            self.last, self.best = folder / "checkpoints" / "30", folder / "checkpoints" / "20"

    def is_due(self, step):
        return step % 10 == 0

    def offer(self, step, state, figures, *, due):
        self.offered.append((step, state, due))


class SnapshotsAtTwelve:
    """Stands for a saver of snapshots."""

    def __init__(self, order):
        self.order = order

    def is_due(self, step):
        return step == 12

    def save(self, step, state):
        self.order.append((step, state))


@pytest.mark.parametrize(
    ("saves", "snapshots", "keeps_best", "expected"),
    [
        (False, False, False, []),
        (False, True, False, [12]),
        (True, False, False, [10]),
        (True, True, False, [10, 12]),
        (True, False, True, [10, 15]),
    ],
)
def test_only_states_that_are_saved_are_wanted(tmp_path, saves, snapshots, keeps_best, expected):
    """Evaluations are after steps 10 and 15."""
    saver, kept = Saves(keeps_best=keeps_best) if saves else None, []
    journal = Journal(
        events=EventWriter(tmp_path),
        display=Screen(),
        log_every=1,
        started=time.perf_counter(),
        ranking=ACCURACY,
    )
    store = SnapshotsAtTwelve(kept) if snapshots else None
    wanted = []
    with Recorder(journal, saver=saver, snapshots=store) as recorder:
        for step in (9, 10, 12, 13, 15):
            if recorder.wants_state(step, evaluated=step in (10, 15)):
                wanted.append(step)
                recorder.state(step, f"state {step}")
        recorder.final_state(17, "the last")
    recorder.raise_failure()
    assert wanted == expected
    assert kept == ([(12, "state 12")] if snapshots else [])
    if saver is not None:
        offered = [(step, f"state {step}", step == 10) for step in expected]
        assert saver.offered == [*offered, (17, "the last", True)]


def test_events_are_on_the_disk_before_a_state_that_is_due_is_saved(tmp_path, monkeypatch):
    """A run that resumes from that state does not write them again."""
    order, saver = [], Saves(keeps_best=True)
    monkeypatch.setattr(EventWriter, "flush", lambda _: order.append("flush"))
    monkeypatch.setattr(saver, "offer", lambda step, *_, due: order.append(step))
    with recording(tmp_path, saver=saver) as recorder:
        for step in (10, 15):
            assert recorder.wants_state(step, evaluated=True)
            recorder.state(step, None)
        recorder.final_state(17, None)
    assert order[:5] == ["flush", 10, 15, "flush", 17]


def test_checkpoints_are_named_by_their_paths_in_the_folder(tmp_path):
    with recording(tmp_path, saver=Saves(keeps_best=True, folder=tmp_path)) as recorder:
        assert recorder.checkpoint == {"last": "checkpoints/30", "best": "checkpoints/20"}
    with recording(tmp_path, saver=Saves(keeps_best=True)) as recorder:
        assert recorder.checkpoint == {"last": None, "best": None}
    with recording(tmp_path) as recorder:
        assert recorder.checkpoint == {"last": None, "best": None}


def test_goodput_is_the_share_of_the_time_spent_on_steps_that_count(tmp_path, monkeypatch):
    with recording(tmp_path) as recorder:
        assert recorder.goodput is None
        figures = Figures(seconds=8.0, training_seconds=6.0, logging_lost_at_step=3)
        monkeypatch.setattr(recorder._journal, "figures", lambda: figures)
        assert (recorder.goodput, recorder.logging_lost_at_step) == (0.75, 3)


def test_pictures_are_shown_at_the_first_step_and_texts_where_they_belong(tmp_path, monkeypatch):
    written = []
    for name in ("picture", "text"):
        monkeypatch.setattr(
            EventWriter, name, lambda _, *given, step: written.append((given, step))
        )
    with recording(tmp_path, start=20) as recorder:
        recorder.picture("schedule", b"png")
        recorder.text("sample", "once upon a time", step=30)
    assert written == [(("schedule", b"png"), 20), (("sample", "once upon a time"), 30)]


def evaluated_chunk(start, *, best=0, loss=None):
    """Evaluations after 4, 8 and 12 of 13 steps."""
    accuracies = jnp.zeros(16).at[jnp.array([3, 7, 11])].set(jnp.array([0.5, 0.75, 0.25]))
    metrics = {"eval/accuracy": accuracies}
    evaluations = Evaluations([4, 8, 12], metrics, jnp.int32(best), "the state")
    return start, 13, chunk_metrics(start, 16, loss), evaluations


def test_the_state_of_the_best_evaluation_within_a_chunk_is_offered_with_its_figures(tmp_path):
    saver = Offers()
    with recording(tmp_path, saver=saver) as recorder:
        recorder.evaluated_chunk(*evaluated_chunk(0, best=8))
        recorder.evaluated_chunk(*evaluated_chunk(13, best=0))
    recorder.raise_failure()
    assert saver.offered == [(8, "the state", 8, False)]
    assert read(tmp_path, "train/loss") == {s: np.float32(1 / (1.0 + s)) for s in range(26)}
    assert list(read(tmp_path, "eval/accuracy")) == [4, 8, 12, 17, 21, 25]


def test_an_evaluated_chunk_is_recorded_up_to_the_step_whose_loss_is_not_finite(tmp_path):
    loss = np.ones(16)
    loss[6] = np.inf
    with recording(tmp_path) as recorder:
        recorder.evaluated_chunk(*evaluated_chunk(0, loss=loss))
    with pytest.raises(DivergedError, match="inf at step 6"):
        recorder.raise_failure()
    assert recorder.steps == 6
    assert list(read(tmp_path, "train/loss")) == list(range(7))
    assert read(tmp_path, "eval/accuracy") == {4: 0.5}


@pytest.mark.parametrize("value", [0.9, 0.1])  # as a loss, worse and better than all others
def test_the_metric_ranks_the_evaluations_also_after_another_one_did(tmp_path, value):
    earlier = Figures(best={"metric": "eval/accuracy", "value": value, "step": 5})
    with recording(tmp_path, ranking=LOSS, earlier=earlier) as recorder:
        for step, loss in ((10, 0.75), (20, 0.25), (30, 0.5)):
            recorder.evaluation(step, {"eval/loss": loss, "eval/accuracy": loss})
    assert recorder.best == {"metric": "eval/loss", "value": 0.25, "step": 20}


def test_without_an_accuracy_the_lowest_loss_is_the_best(tmp_path):
    with recording(tmp_path, ranking=LOSS) as recorder:
        for step, loss in ((10, 0.5), (20, 0.25), (30, 0.375)):
            recorder.evaluation(step, {"eval/loss": jnp.float32(loss)})
    assert recorder.best == {"metric": "eval/loss", "value": 0.25, "step": 20}


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("log_every", [1, 5])
def test_a_loss_that_is_not_finite_is_found_whether_or_not_its_step_is_logged(
    tmp_path, bad, word, log_every
):
    loss = np.ones(8)
    loss[4:] = bad
    with recording(tmp_path, log_every=log_every) as recorder:
        recorder.chunk(0, 8, chunk_metrics(0, 8))
        recorder.chunk(8, 8, chunk_metrics(8, 8, loss))
        for start in range(16, 80, 8):  # more than the queue holds: must not block
            recorder.chunk(start, 8, chunk_metrics(start, 8))
    with pytest.raises(DivergedError) as caught:
        recorder.raise_failure()
    assert str(caught.value).startswith(
        f"train/loss: {word} at step 12, where the rate was 0.012, in cycle 1; lower "
    )
    assert recorder.steps == 12
    written = read(tmp_path, "train/loss")
    assert list(written) == [step for step in range(13) if step % log_every == 0 or step == 12]
    assert not np.isfinite(written[12])


def test_an_evaluation_that_is_not_finite_is_a_divergence(tmp_path):
    with recording(tmp_path) as recorder:
        recorder.evaluation(40, {"eval/loss": jnp.float32(np.nan), "eval/accuracy": jnp.float32(0)})
    with pytest.raises(DivergedError, match=r"^eval/loss: nan after 40 updates; "):
        recorder.raise_failure()
    assert np.isnan(recorder.last_metrics["eval/loss"])
    assert recorder.best is None  # an accuracy without a finite loss is chance


def test_a_loss_that_is_bad_from_the_start_is_not_blamed_on_the_rate(tmp_path):
    with recording(tmp_path) as recorder:
        recorder.chunk(0, 2, {"train/loss": jnp.array([np.nan, np.nan])})
    with pytest.raises(DivergedError, match=r"^train/loss: nan at step 0; check the data"):
        recorder.raise_failure()


def test_a_snapshot_is_on_the_disk_before_the_checkpoint_of_its_step(tmp_path):
    """Else a run that is killed between the two lacks the snapshot after it is resumed."""
    seen = []
    saver = SimpleNamespace(
        is_due=lambda step: True,
        keeps_best=False,
        offer=lambda step, *_, due: seen.append((step, Snapshots(tmp_path).steps())),
        close=lambda: None,
    )
    snapshots = SnapshotSaver(
        Snapshots(tmp_path), [3, 6], to_arrays=lambda state: {"params/a": np.float32(state)}
    )
    with recording(tmp_path, saver=saver, snapshots=snapshots) as recorder:
        for step in (2, 3, 6):
            assert recorder.wants_state(step, evaluated=False)
            recorder.state(step, step)
    assert seen == [(2, []), (3, [3]), (6, [3, 6])]


def test_the_failure_of_a_computation_reaches_the_caller(tmp_path):
    class Failed:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    with recording(tmp_path) as recorder:
        recorder.chunk(0, 8, chunk_metrics(0, 8))
        for start in range(8, 80, 8):
            recorder.chunk(start, 8, {"train/loss": Failed()})
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        recorder.raise_failure()
    assert recorder.steps == 8
    assert len(read(tmp_path, "train/loss")) == 8


def test_the_caller_continues_while_a_few_results_are_pending(tmp_path):
    released = threading.Event()
    handed_over = []

    def train(recorder):
        for start in range(0, 80, 8):
            recorder.chunk(start, 8, {"train/loss": Pending(np.ones(8), released)})
            handed_over.append(start)

    with recording(tmp_path) as recorder:
        trainer = threading.Thread(target=train, args=(recorder,))
        trainer.start()
        time.sleep(0.3)
        assert 2 <= len(handed_over) <= 4
        released.set()
        trainer.join(10)
    assert recorder.steps == 80


def test_a_disk_that_hangs_gives_one_warning_and_loses_nothing(tmp_path, monkeypatch, caplog):
    """Training waits: a network file system that comes back has every step."""
    monkeypatch.setattr(recorder_module, "_WARN_SECONDS", 0.1)
    answers, write = threading.Event(), EventWriter.scalars

    def hang(*arguments):
        answers.wait()
        write(*arguments)

    monkeypatch.setattr(EventWriter, "scalars", hang)
    with recording(tmp_path) as recorder, caplog.at_level(logging.WARNING, "runner"):
        threading.Timer(1.0, answers.set).start()
        for start in range(0, 80, 8):
            recorder.chunk(start, 8, chunk_metrics(start, 8))
    recorder.raise_failure()
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path}: nothing has been recorded for 0 s, and training waits")
    assert sorted(read(tmp_path, "train/loss")) == list(range(80))


@contextmanager
def stuck(folder, screen):
    """A recorder whose device never answers, until the test is over."""
    released, events = threading.Event(), EventWriter(folder)
    journal = Journal(
        events=events,
        display=screen,
        log_every=1,
        started=time.perf_counter(),
        ranking=ACCURACY,
    )
    recorder = Recorder(journal)
    for start in (0, 8, 16):
        recorder.chunk(start, 8, {"train/loss": Pending(np.ones(8), released)})
    before = time.monotonic()
    yield recorder
    assert time.monotonic() - before < 10
    released.set()
    recorder._thread.join(10)
    events.close()


def test_closing_times_out_and_still_closes_the_display(tmp_path):
    screen = Screen()
    with stuck(tmp_path, screen) as recorder:
        recorder.close(timeout=0.3)
        with pytest.raises(StorageError, match="check whether the disk or the device hangs"):
            recorder.raise_failure()
        assert screen.closed == 1


def test_a_second_signal_does_not_wait_for_the_device(tmp_path):
    screen = Screen()
    with stuck(tmp_path, screen) as recorder:
        with pytest.raises(KeyboardInterrupt), recorder:
            raise KeyboardInterrupt
        assert screen.closed == 1


def test_the_display_gets_the_values_of_the_last_step(tmp_path):
    screen = Screen()
    with recording(tmp_path, screen=screen) as recorder:
        recorder.chunk(0, 3, chunk_metrics(0, 8))
    step, values, speed = screen.updates[-1]
    assert (step, speed) == (3, None)
    assert values == {
        "train/loss": np.float32(1 / 3),
        "schedule/lr": np.float32(2e-3),
        "schedule/cycle": 0,
    }
    assert screen.closed >= 1


def test_wall_times_increase_from_step_to_step(tmp_path):
    before = time.time()
    with recording(tmp_path) as recorder:
        for start in (0, 8):
            recorder.chunk(start, 8, chunk_metrics(start, 8))
            time.sleep(0.05)
    accumulator = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    times = [event.wall_time for event in accumulator.Scalars("train/loss")]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= time.time()
    assert times[-1] - times[8] > 0.03  # spread over the second chunk's 0.05 s


def test_the_recorder_works_under_a_transfer_guard(tmp_path):
    double = jax.jit(lambda x: x * 2)
    ones = jnp.ones(8)
    with recording(tmp_path) as recorder, jax.transfer_guard("disallow"):
        for start in range(0, 32, 8):
            recorder.chunk(start, 8, {"train/loss": double(ones)})
    recorder.raise_failure()
    assert recorder.steps == 32


def test_a_run_that_diverges_in_its_last_chunk_is_marked_failed(tmp_path, monkeypatch):
    """Its loop has ended without an error, before the recorder found one."""
    marks, close = [], EventWriter.close

    def noted(events, *, succeeded):
        marks.append(succeeded)
        close(events, succeeded=succeeded)

    monkeypatch.setattr(EventWriter, "close", noted)
    for loss in (None, np.array([1, 1, np.nan])):
        with recording(tmp_path) as recorder:
            recorder.chunk(0, 3, chunk_metrics(0, 3, loss))
    assert marks == [True, False]


def test_chunks_and_evaluations_are_timed_when_they_are_handed_over(tmp_path, monkeypatch):
    """Chunks by the wall clock, of which their events tell; pauses by that of the speed."""
    handed = {}

    def note(name):
        return lambda _journal, *_, submitted: handed.update({name: submitted})

    for name in ("chunk", "evaluation"):
        monkeypatch.setattr(Journal, name, note(name))
    before = {"chunk": time.time(), "evaluation": time.perf_counter()}
    with recording(tmp_path) as recorder:
        recorder.chunk(0, 3, chunk_metrics(0, 8))
        recorder.evaluation(3, {"eval/loss": jnp.float32(1)})
    after = {"chunk": time.time(), "evaluation": time.perf_counter()}
    for name in ("chunk", "evaluation"):
        assert before[name] <= handed[name] <= after[name]
