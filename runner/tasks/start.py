"""Where training starts: the newest checkpoint, the state of another run, or a new state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from etils import epy

from runner.records.figures import Figures

with epy.lazy_imports():
    import jax

    from runner.experiment import build, timeline
    from runner.records import checkpoints, run_folder
    from runner.training import checkpoint, state


@dataclass(frozen=True, eq=False)
class Start:
    """Where training starts.

    Attributes:
      state: training donates its buffers, so it can be read only before training.
      figures: the metrics and times of the run up to here.
      parent: the run and step that a forked run's state was taken from; None for any other.
      notes: lines to print.
      step, rate_factor: of the state, as numbers on the host.
    """

    state: state.TrainState
    figures: Figures
    parent: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    step: int = field(init=False)
    rate_factor: float | None = field(init=False)

    def __post_init__(self) -> None:
        factor = self.state.rate_factor
        object.__setattr__(self, "step", int(self.state.step))
        object.__setattr__(self, "rate_factor", None if factor is None else float(factor))


def start_of(experiment: build.Experiment, folder: Path, *, resumes: bool) -> Start:
    """The newest checkpoint of a resumed run, the saved state of ``init_from``, or a new state."""
    config = experiment.config
    saved = checkpoints.Checkpoints(folder).newest() if resumes else None
    if saved is not None:
        figures = Figures.saved(saved.record, source=str(saved.path))
        gap = max(0.0, run_folder.last_write(folder) - float(saved.record.get("time", 0)))
        notes = [f"resumes at step {saved.step:,} of {experiment.lengths.steps:,}"]
        earlier = saved.record.get("steps", experiment.lengths.steps)
        if earlier != experiment.lengths.steps:
            notes += filter(None, [timeline.effect_of_length(experiment, earlier)])
        return Start(
            experiment.restored_state(saved.arrays, source=str(saved.path)),
            replace(figures, seconds=figures.seconds + gap),
            saved.record.get("parent"),
            tuple(notes),
        )
    notes = ("no checkpoint was saved; starts again at step 0",) if resumes else ()
    if config.init_from is None:
        return Start(experiment.initial_state(), Figures(), None, notes)
    return _fork(experiment, config.init_from)


def _fork(experiment: build.Experiment, name: str) -> Start:
    folder, step = run_folder.fork_source(name)
    saved = checkpoints.Checkpoints(folder).saved(step)
    parent = {"folder": str(folder.absolute()), "step": saved.step}
    if not experiment.config.init_params_only:
        taken = experiment.restored_state(saved.arrays, source=str(saved.path))
        notes = [f"starts from step {saved.step:,} of {folder}"]
    else:
        initial = experiment.initial_state()
        taken, missing, unused = checkpoint.with_params(initial, saved.arrays)
        notes = [f"starts from the parameters of step {saved.step:,} of {folder}"]
        notes += [f"  not found there, or of another shape: {name}" for name in missing]
        notes += [f"  not used: {name}" for name in unused]
    taken = jax.device_put(taken, experiment.device)
    return Start(taken, Figures(), parent, tuple(notes))
