"""The main task: trains a model under a schedule and records the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from etils import epy

from runner.config import Config
from runner.records.ending import Ending
from runner.registry import register_task

with epy.lazy_imports():
    import jax

    from runner.experiment import build, check, device, timeline
    from runner.records import events, recorder
    from runner.report import announce, console, plots, progress
    from runner.training import loop, state, tags

if TYPE_CHECKING:
    from rich.console import Console

DRAWING_AFTER_SECONDS = 2.0

_log = logging.getLogger("runner")


@register_task("train")
def train(config: Config, folder: Path, ending: Ending) -> None:
    """Trains a model; writes TensorBoard events and ``summary.json`` to ``folder``.

    Raises:
      RunnerError: see the exit codes; ``summary.json`` is written in every case.
    """
    # The first use of a module imports it, which is not part of the run's seconds.
    _ = build.build, check.check, loop.train, recorder.Recorder, progress.progress_display
    ending.begin(device.compile_clock)
    screen = console.open_console()
    device.use_compilation_cache(config.compilation_cache)
    chosen = device.select_device(config.accelerator)
    ending.device = chosen.platform
    announce.print_line(screen, device.describe_device(chosen))
    with jax.default_device(chosen):
        experiment = build.build(config, chosen)
        check.check(experiment)
        values = timeline.sample_schedule(experiment)
        train_state = experiment.initial_state()
        ending.steps_per_epoch = experiment.lengths.steps_per_epoch
        ending.params_count = params_count = state.tree_size(train_state.params)
        announce.announce(screen, experiment, params=params_count)
        ending.recorder = record = _recorder(experiment, folder, screen, ending.started)
        with record, _schedule_drawn(experiment, values, record, ending):
            train_state = loop.train(
                experiment.static,
                train_state,
                experiment.hyperparams,
                experiment.feed(),
                plan=experiment.plan,
                listener=record,
                stopping=lambda: ending.stop_signal is not None,
            )
            ending.params = train_state.params
        record.raise_failure()
        ending.raise_if_stopped(int(train_state.step), experiment.lengths.steps)
    announce.conclude(screen, ending.finish(), folder)


def _recorder(
    experiment: build.Experiment, folder: Path, screen: Console, started: float
) -> recorder.Recorder:
    writer = events.EventWriter(folder)
    writer.hparams(experiment.config.hparams, metrics=[tags.EVAL_ACCURACY, tags.EVAL_LOSS])
    return recorder.Recorder(
        events=writer,
        display=progress.progress_display(
            experiment.lengths.steps,
            console=screen,
            has_cycles=len(experiment.schedule.cycle_ends(experiment.lengths.steps)) > 0,
        ),
        log_every=experiment.lengths.log_every,
        started=started,
    )


@contextmanager
def _schedule_drawn(
    experiment: build.Experiment,
    values: timeline.ScheduleValues,
    record: recorder.Recorder,
    ending: Ending,
) -> Iterator[None]:
    """Draws the schedule for TensorBoard, in a thread during training.

    After a short run it is drawn at the end: importing the plotting library would delay the first
    chunks by more than such a run takes.
    """
    ends = experiment.schedule.cycle_ends(experiment.lengths.steps)
    over = Event()

    def draw() -> None:
        over.wait(timeout=DRAWING_AFTER_SECONDS)
        if ending.stop_signal is not None:  # an interrupted run must end without delay
            return
        try:
            title = experiment.config.scheduler.option
            png = plots.schedule_figure(values, cycle_ends=ends, title=title)
        except Exception as error:  # a broken plotting library does not end the run
            _log.warning("the schedule was not drawn: %s: %s", type(error).__name__, error)
        else:
            record.figure("schedule", png)

    thread = Thread(target=draw, name="schedule figure", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
