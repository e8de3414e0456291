"""The main job: train a model under a schedule, and leave a record of it."""

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
from runner.experiment.build import Job, build_job
from runner.experiment.device import describe_device, select_device, use_compilation_cache
from runner.experiment.timeline import outline
from runner.records.events import EventWriter
from runner.records.recorder import Recorder
from runner.records.stopping import Stop, stop_on_signals
from runner.report.announce import announce, conclude, line
from runner.report.console import screen
from runner.report.plots import schedule_figure
from runner.report.progress import progress
from runner.tasks.ending import Ending
from runner.training.loop import train
from runner.training.state import count
from runner.training.tags import EVAL_ACCURACY, EVAL_LOSS

DRAWING_AFTER_SECONDS = 2.0

_log = logging.getLogger("runner")


def run(config: Config, folder: Path) -> int | None:
    """Trains as ``config`` says; event files and ``summary.json`` are left in ``folder``.

    Returns the number of a signal that came too late to stop it, as all was done.

    Raises:
      RunnerError: see the exit codes; ``summary.json`` is written all the same.
    """
    console = screen()
    # In this order: a signal does not keep the summary from being written.
    with stop_on_signals() as stop, Ending(folder, seed=config.seed) as ending:
        use_compilation_cache(config.compilation_cache)
        device = select_device(config.accelerator)
        ending.device = device.platform
        line(console, describe_device(device))
        with jax.default_device(device):
            job = build_job(config, device)
            _train(config, job, console=console, ending=ending, stop=stop)
    conclude(console, ending.summary, folder)
    return stop.signal


def _train(config: Config, job: Job, *, console: Console, ending: Ending, stop: Stop) -> None:
    state = job.initial_state()
    ending.steps_per_epoch = job.length.steps_per_epoch
    ending.params_count = params_count = count(state.params)
    announce(console, config, job, params=params_count)
    events = EventWriter(ending.folder)
    events.hparams(config.hparams, metrics=[EVAL_ACCURACY, EVAL_LOSS])
    ending.recorder = recorder = Recorder(
        events=events,
        progress=progress(job.plan.steps, console=console),
        log_every=job.length.log_every,
        started=ending.started,
    )
    with recorder, _schedule_drawn(config, job, recorder, stop):
        state = train(
            job.program(),
            state,
            job.hyper,
            job.feed(),
            plan=job.plan,
            recorder=recorder,
            stopping=lambda: stop.signal is not None,
        )
        ending.params = state.params
    recorder.raise_failure()
    _raise_if_stopped(stop, step=int(state.step), of=job.plan.steps)


@contextmanager
def _schedule_drawn(config: Config, job: Job, recorder: Recorder, stop: Stop) -> Iterator[None]:
    """Shows the schedule in TensorBoard, drawn in a thread while the training goes on.

    Or after it, if it is over soon: importing the plotting library would hold up the first chunks
    more than the whole of a short run takes.
    """
    values = outline(job)
    ends = job.schedule.cycle_ends(job.plan.steps)
    over = Event()

    def draw() -> None:
        over.wait(timeout=DRAWING_AFTER_SECONDS)
        if stop.signal is not None:  # whoever stops a run does not wait for a picture
            return
        try:
            png = schedule_figure(values, cycle_ends=ends, title=config.scheduler.option)
        except Exception as error:  # a broken plotting library is no reason to lose a run
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
