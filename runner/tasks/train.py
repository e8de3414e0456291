"""The main task: trains a model under a schedule and records the run."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from runner.config import Config
from runner.errors import DivergedError
from runner.records.ending import Ending
from runner.registry import register_task
from runner.tasks.automatic import with_found_rates
from runner.tasks.start import Start, start_of

with epy.lazy_imports():
    import jax
    import numpy as np

    from runner.experiment import build, check, device, hparams, timeline
    from runner.records import checkpoints, events, journal, recorder, saving
    from runner.report import announce, drawing, progress, snapshots, text
    from runner.training import checkpoint, evaluation, loop, sampling, state

if TYPE_CHECKING:
    from rich.console import Console

    from runner.data import feed

# checkpoint.every=auto: the least time between two saves, and the least share of the run.
SAVE_SECONDS, SAVE_SHARE = 30.0, 0.01
# training.on_divergence=back_off halves the rates down to this factor.
LEAST_FACTOR = 1 / 8
# Tokens of the text that a language model samples at the end of a run.
SAMPLED_TOKENS = 400


@register_task("train")
def train(config: Config, folder: Path, ending: Ending) -> float | None:
    """Trains a model; writes TensorBoard events, checkpoints and ``summary.json`` to ``folder``.

    Returns:
      The best value of the metric that ranks evaluations; None without an evaluation, or if the run
      had finished before.

    Raises:
      RunnerError: see the exit codes; ``summary.json`` is written in every case.
    """
    # Imports these modules now, so that the run's time does not include their import.
    _ = build.build, check.check, loop.train, recorder.Recorder, progress.progress_display
    ending.begin(device.compile_clock)
    chosen = device.prepare_device(config)
    ending.device = chosen.platform
    screen = announce.open_screen(chosen)
    with jax.default_device(chosen):
        experiment = build.build(config, chosen)
        check.check(experiment)
        if config.auto is not None:
            experiment = with_found_rates(experiment, folder, screen, ending)
        start = start_of(experiment, folder, resumes=config.resume is not None)
        is_over = loop.is_over(start.state, start.step, experiment.lengths.steps)
        if is_over and ending.keep_finished():
            announce.print_line(screen, f"the run has already finished · {text.short_path(folder)}")
            return None
        _announce(experiment, start, screen, ending)
        values = timeline.sample_schedule(experiment)
        while True:
            try:
                with _recorded(experiment, start, values, folder, screen, ending) as (record, feed):
                    trained = start.state
                    states = loop.train(
                        experiment.static,
                        trained,
                        experiment.hyperparams,
                        feed,
                        plan=experiment.plan,
                        listener=record,
                        should_stop=ending.is_stopping,
                    )
                    for newest in states:
                        trained = newest
                    _record_end(experiment, trained, record, ending)
                break
            except DivergedError as error:
                start = _back_off(experiment, folder, start, error)
                announce.print_warnings(screen, start.notes)
        _check_end(experiment, trained, screen, ending)
        snapshots.conclude_snapshots(experiment, trained, folder, screen, ending, start=start.step)
    summary = ending.finish()
    announce.conclude(screen, summary, folder)
    best = summary["best"]
    return None if best is None else best["value"]


def _announce(experiment: build.Experiment, start: Start, screen: Console, ending: Ending) -> None:
    """Tells the summary and the user what is about to be trained."""
    ending.steps_per_epoch = experiment.lengths.steps_per_epoch
    ending.params_count = state.tree_size(start.state.params)
    ending.parent = start.parent
    announce.announce(screen, experiment, params=ending.params_count)
    for note in start.notes:
        announce.print_line(screen, note)
    if start.parent is not None and start.step >= experiment.lengths.steps:
        problem = f"training.steps: all {start.step:,} steps are complete at the start"
        remedy = "nothing is trained; a larger number continues"
        announce.print_warnings(screen, [f"{problem}, so {remedy}"])


def _check_end(
    experiment: build.Experiment, trained: state.TrainState, screen: Console, ending: Ending
) -> None:
    """Prints that training stopped early, or raises the error of the signal that stopped it."""
    config, step, steps = experiment.config, int(trained.step), experiment.lengths.steps
    patience = config.training.patience
    if patience is not None and step < steps and loop.is_over(trained, step, steps):
        waited = f"{text.counted(patience, 'evaluation')} without a better"
        announce.print_line(screen, f"{waited} {config.ranking.metric}: stopped early")
    else:
        ending.raise_if_stopped(step, steps)


@contextmanager
def _recorded(
    experiment: build.Experiment,
    start: Start,
    values: timeline.ScheduleValues,
    folder: Path,
    screen: Console,
    ending: Ending,
) -> Iterator[tuple[recorder.Recorder, feed.Feed]]:
    """The recorder and the feed of training from ``start``; both are closed at the end.

    Raises:
      RunnerError: what the recorder found after training had ended.
    """
    ending.recorder = record = _recorder(experiment, start, folder, screen, ending)
    pictures = drawing.pictures_of(experiment, values)
    drawn = drawing.drawn(pictures, record.picture, is_stopped=ending.is_stopping)
    with record, closing(experiment.feed()) as opened, drawn:
        yield record, opened
    record.raise_failure()


def _record_end(
    experiment: build.Experiment,
    trained: state.TrainState,
    record: recorder.Recorder,
    ending: Ending,
) -> None:
    """Records the last state, and a text that a language model writes."""
    ending.params = trained.params
    record.final_state(int(trained.step), trained)
    if experiment.samples_text and not ending.is_stopping():
        sample = _sample(experiment, trained)
        # Four spaces: TensorBoard shows the text as it is.
        record.text("sample", textwrap.indent(sample, "    "), step=int(trained.step))


def _sample(experiment: build.Experiment, trained: state.TrainState) -> str:
    """The model's continuation of the first validation example, as text."""
    dataset, static = experiment.dataset, experiment.static
    prompt = dataset.selection.take(np.arange(1)).inputs[0]
    tokens = sampling.sample_tokens(
        static,
        evaluation.evaluated_variables(static, trained),
        prompt,
        jax.random.key(experiment.config.seed),
        count=SAMPLED_TOKENS,
    )
    return dataset.decoded(np.asarray(tokens))


def _back_off(
    experiment: build.Experiment, folder: Path, start: Start, error: DivergedError
) -> Start:
    """Goes back to the last checkpoint with half the rates.

    Raises:
      DivergedError: ``error``, if the run does not back off, or has done so often enough.
    """
    again = start_of(experiment, folder, resumes=True)
    step, factor = again.step, start.rate_factor
    if factor is None or factor / 2 < LEAST_FACTOR:
        saved = f"the last checkpoint is at step {step}" if step else "no checkpoint was saved"
        raise DivergedError(error.key, error.problem, f"{error.remedy}; {saved}") from error
    half = factor / 2
    note = f"{error.key}: {error.problem}; continues from step {step:,} at {half:g} times the rates"
    halved = replace(again.state, rate_factor=jax.device_put(np.float32(half), experiment.device))
    # Time is measured from the start of this process; only that of earlier attempts is added.
    figures = replace(again.figures, seconds=start.figures.seconds)
    return replace(again, state=halved, figures=figures, notes=(note,))


def _recorder(
    experiment: build.Experiment, start: Start, folder: Path, screen: Console, ending: Ending
) -> recorder.Recorder:
    config, lengths, step = experiment.config, experiment.lengths, start.step
    writer = events.EventWriter(folder, purge_step=step)
    writer.hparams(_hparams(experiment, start))
    saver = None
    if config.checkpoint.every is not None:
        saver = saving.Saver(
            checkpoints.Checkpoints(folder, keep=config.checkpoint.keep),
            _save_plan(experiment),
            to_arrays=partial(_finite_arrays, experiment.static),
            record=_checkpoint_record(experiment, start),
            requested=ending.take_save_request,
            start=step,
            earlier=start.figures,
        )
    has_cycles = len(experiment.schedule.cycle_ends(lengths.steps)) > 0
    kept = journal.Journal(
        events=writer,
        display=progress.progress_display(
            lengths.steps,
            console=screen,
            metric=config.ranking.metric,
            has_cycles=has_cycles,
        ),
        log_every=lengths.log_every,
        started=ending.started,
        ranking=config.ranking,
        tables=drawing.class_tables(experiment),
        has_cycles=has_cycles,
        start=step,
        earlier=start.figures,
    )
    kept_at_ends = snapshots.snapshot_saver(experiment, folder, start=step)
    return recorder.Recorder(kept, saver=saver, snapshots=kept_at_ends)


def _save_plan(experiment: build.Experiment) -> saving.SavePlan:
    return saving.SavePlan(
        seconds=SAVE_SECONDS,
        steps=int(SAVE_SHARE * experiment.lengths.steps),
        every=experiment.plan.save_every,
        cycle_ends=experiment.plan.cycle_ends if experiment.config.checkpoint.cycle_ends else (),
        best=experiment.config.checkpoint.best,
    )


def _finite_arrays(static: state.Static, trained: state.TrainState) -> Any:
    arrays = checkpoint.to_arrays(static, trained)
    return arrays if checkpoint.is_finite(arrays) else None


def _checkpoint_record(experiment: build.Experiment, start: Start) -> dict[str, Any]:
    config, dataset = experiment.config, experiment.dataset
    return {
        "settings": dict(config.hparams),
        "steps": experiment.lengths.steps,
        "plugins": list(config.plugins),
        "parent": start.parent,
        "data": {
            "shape": list(experiment.example.shape[1:]),
            "dtype": experiment.example.dtype.name,
            "mean": dataset.mean,
            "std": dataset.std,
            "classes": dataset.classes,
            "targets": asdict(experiment.targets),
        },
    }


def _hparams(experiment: build.Experiment, start: Start) -> dict[str, Any]:
    settings = hparams.flat_settings(experiment)
    if start.parent is not None:
        settings["init_from"] = f"{start.parent['folder']}@{start.parent['step']}"
    return settings
