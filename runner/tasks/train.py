"""The main task: train a model under a schedule, and record it."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import jax
from rich.console import Console

from runner.config import Config
from runner.errors import InterruptedRunError, TerminatedRunError
from runner.experiment.build import Experiment, build
from runner.experiment.check import check
from runner.experiment.device import describe_device, select_device, use_compilation_cache
from runner.experiment.timeline import ScheduleValues, sample_schedule
from runner.records.events import EventWriter
from runner.records.recorder import Recorder
from runner.records.stopping import Stop, stop_on_signals
from runner.report.announce import announce, conclude, print_line
from runner.report.console import open_console
from runner.report.plots import schedule_figure
from runner.report.progress import progress_display
from runner.tasks.ending import Ending
from runner.training.loop import train
from runner.training.state import tree_size
from runner.training.tags import EVAL_ACCURACY, EVAL_LOSS

DRAWING_AFTER_SECONDS = 2.0

_log = logging.getLogger("runner")


def run(config: Config, folder: Path) -> int | None:
    """Trains as ``config`` says; event files and ``summary.json`` are left in ``folder``.

    Returns the number of a signal that came too late to stop it, as all was done.

    Raises:
      RunnerError: see the exit codes; ``summary.json`` is written all the same.
    """
    console = open_console()
    # In this order: a signal does not keep the summary from being written.
    with stop_on_signals() as stop, Ending(folder, seed=config.seed) as ending:
        use_compilation_cache(config.compilation_cache)
        device = select_device(config.accelerator)
        ending.device = device.platform
        print_line(console, describe_device(device))
        with jax.default_device(device):
            experiment = build(config, device)
            check(experiment)
            values = sample_schedule(experiment)
            state = experiment.initial_state()
            ending.steps_per_epoch = experiment.lengths.steps_per_epoch
            ending.params_count = params_count = tree_size(state.params)
            announce(console, experiment, params=params_count)
            ending.recorder = recorder = _recorder(experiment, console, ending)
            with recorder, _schedule_drawn(experiment, values, recorder, stop):
                state = train(
                    experiment.static,
                    state,
                    experiment.hyperparams,
                    experiment.feed(),
                    plan=experiment.plan,
                    listener=recorder,
                    stopping=lambda: stop.signal is not None,
                )
                ending.params = state.params
            recorder.raise_failure()
            _raise_if_stopped(stop, step=int(state.step), of=experiment.lengths.steps)
    conclude(console, ending.summary, folder)
    return stop.signal


def _recorder(experiment: Experiment, console: Console, ending: Ending) -> Recorder:
    events = EventWriter(ending.folder)
    events.hparams(experiment.config.hparams, metrics=[EVAL_ACCURACY, EVAL_LOSS])
    return Recorder(
        events=events,
        display=progress_display(experiment.lengths.steps, console=console),
        log_every=experiment.lengths.log_every,
        started=ending.started,
    )


@contextmanager
def _schedule_drawn(
    experiment: Experiment, values: ScheduleValues, recorder: Recorder, stop: Stop
) -> Iterator[None]:
    """Shows the schedule in TensorBoard, drawn in a thread during training.

    If training is over soon it is drawn afterwards: importing the plotting library would delay the
    first chunks by more than a short run takes.
    """
    ends = experiment.schedule.cycle_ends(experiment.lengths.steps)
    over = Event()

    def draw() -> None:
        over.wait(timeout=DRAWING_AFTER_SECONDS)
        if stop.signal is not None:  # a person who stops a run does not wait for a picture
            return
        try:
            title = experiment.config.scheduler.option
            png = schedule_figure(values, cycle_ends=ends, title=title)
        except Exception as error:  # a broken plotting library does not end the run
            _log.warning("the schedule was not drawn: %s: %s", type(error).__name__, error)
        else:
            recorder.figure("schedule", png)

    thread = Thread(target=draw, name="schedule figure", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _raise_if_stopped(stop: Stop, *, step: int, of: int) -> None:
    if stop.signal is None or step == of:
        return
    kind = InterruptedRunError if stop.signal == signal.SIGINT else TerminatedRunError
    raise kind(
        signal.Signals(stop.signal).name,
        f"stopped after {step:,} of {of:,} steps",
        "what was recorded up to there is kept; start the run again",
    )
