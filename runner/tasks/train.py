"""The main job: train a model under a schedule, and leave a record of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import jax
from rich.console import Console

from runner.config import Config
from runner.device import compile_clock, describe_device, select_device, use_compilation_cache
from runner.records.ending import Ending
from runner.records.events import EventWriter
from runner.records.plots import schedule_figure
from runner.records.progress import progress
from runner.records.recorder import Recorder
from runner.records.screen import screen
from runner.tags import EVAL_ACCURACY, EVAL_LOSS
from runner.tasks.announce import announce, conclude, line
from runner.tasks.job import Job, build_job
from runner.tasks.timeline import outline
from runner.training.loop import train
from runner.training.state import count

DRAWING_AFTER_SECONDS = 2.0

_log = logging.getLogger("runner")


def run(config: Config, folder: Path, ending: Ending) -> None:
    """Trains as ``config`` says; event files and ``summary.json`` are left in ``folder``.

    Raises:
      RunnerError: see the exit codes; ``summary.json`` is written all the same.
    """
    ending.begin(compile_clock)
    console = screen()
    use_compilation_cache(config.compilation_cache)
    device = select_device(config.accelerator)
    ending.device = device.platform
    line(console, describe_device(device))
    with jax.default_device(device):
        job = build_job(config, device)
        _train(config, job, folder, console=console, ending=ending)
    conclude(console, ending.finish(), folder)


def _train(config: Config, job: Job, folder: Path, *, console: Console, ending: Ending) -> None:
    state = job.initial_state()
    ending.steps_per_epoch = job.length.steps_per_epoch
    ending.params_count = params_count = count(state.params)
    announce(console, config, job, params=params_count)
    events = EventWriter(folder)
    events.hparams(config.hparams, metrics=[EVAL_ACCURACY, EVAL_LOSS])
    ending.recorder = recorder = Recorder(
        events=events,
        progress=progress(job.plan.steps, console=console),
        log_every=job.length.log_every,
        started=ending.started,
    )
    with recorder, _schedule_drawn(config, job, recorder, ending):
        state = train(
            job.program(),
            state,
            job.hyper,
            job.feed(),
            plan=job.plan,
            recorder=recorder,
            stopping=lambda: ending.stop_signal is not None,
        )
        ending.params = state.params
    recorder.raise_failure()
    if (step := int(state.step)) < job.plan.steps:
        stopped = ending.stop_error(
            f"stopped after {step:,} of {job.plan.steps:,} steps",
            "what was recorded up to there is kept; start the run again",
        )
        if stopped is not None:
            raise stopped


@contextmanager
def _schedule_drawn(config: Config, job: Job, recorder: Recorder, ending: Ending) -> Iterator[None]:
    """Shows the schedule in TensorBoard, drawn in a thread while the training goes on.

    Or after it, if it is over soon: importing the plotting library would hold up the first chunks
    more than the whole of a short run takes.
    """
    values = outline(job)
    ends = job.schedule.cycle_ends(job.plan.steps)
    over = Event()

    def draw() -> None:
        over.wait(timeout=DRAWING_AFTER_SECONDS)
        if ending.stop_signal is not None:  # whoever stops a run does not wait for a picture
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
