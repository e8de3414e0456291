"""The settings of a run for TensorBoard's HParams tab: flat, with values of one type per key."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from runner.config import Choice
from runner.config.choice import per_group_names
from runner.experiment.build import Experiment
from runner.experiment.schedule import Clock, in_steps
from runner.optimizers import Groups
from runner.registry import GROUPS

Value = str | int | float | bool

# How a run is computed and recorded; none of it decides what is trained.
_LEFT_OUT = (
    "log_every",
    "eval_every",
    "eval_at_cycle_end",
    "snapshots",
    "dispatch",
    "chunk",
    "placement",
)
# A value that is one reference, absolute or relative: ``${scheduler.max_lr}``, ``${.max_lr}``.
_REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")


def flat_settings(experiment: Experiment) -> dict[str, Value]:
    """The settings that decide what is trained by dotted key, and the option of each group.

    TensorBoard sorts a column only if all its values are of one type, so lengths are in steps, a
    number for one parameter group has a key of its own, and settings that are null are left out.
    No value of an environment variable is included: a setting that is a string shows its
    interpolation, and any other is left out.
    """
    config, lengths, groups = experiment.config, experiment.lengths, experiment.static.groups
    training = {k: v for k, v in asdict(config.training).items() if k not in _LEFT_OUT}
    if config.training.steps is not None:
        del training["epochs"]
    wrappers = asdict(config.wrappers)
    data = {k: v for k, v in asdict(config.data).items() if k not in _LEFT_OUT}
    sections = {
        "scheduler": in_steps(config.scheduler, Clock(lengths.steps_per_epoch, lengths.steps)),
        "optimizer": config.optimizer,
        "model": config.model,
        "objective": config.objective,
        "dataset": config.dataset,
        "augmentation": asdict(config.augmentation),
        "seed": config.seed,
        "training": {**training, "steps": lengths.steps},
    }
    found = dict(_flat(sections, groups))
    wrappers["multiplier"] = _by_group(wrappers["multiplier"], groups)
    found |= _flat({"optimizer": wrappers, "dataset": data}, groups)
    return dict(_publishable(found, config.hparams))


def _flat(section: Mapping[str, Any], groups: Groups, prefix: str = "") -> Iterator[Any]:
    """(dotted key, value) of everything in ``section`` that is not null."""
    for name, value in section.items():
        key = f"{prefix}{name}"
        if isinstance(value, Choice):
            yield key, value.option
            yield from _flat(_choice_settings(value, key, groups), groups, f"{key}.")
        elif isinstance(value, Mapping):
            yield from _flat(value, groups, f"{key}.")
        elif isinstance(value, list | tuple):
            yield key, f"[{', '.join(map(str, value))}]"
        elif value is not None:
            yield key, value if isinstance(value, bool | int | float) else str(value)


def _choice_settings(choice: Choice, key: str, groups: Groups) -> dict[str, Any]:
    factory = GROUPS[key.partition(".")[0]].get(choice.name)
    names = per_group_names(factory)
    return {k: _by_group(v, groups) if k in names else v for k, v in choice.settings}


def _by_group(numbers: Any, groups: Groups) -> Any:
    """A list of numbers as a mapping from the trained groups; anything else as it is."""
    if not isinstance(numbers, tuple):
        return numbers
    by_name = dict(zip(groups.names, numbers, strict=False))
    return {name: number for name, number in by_name.items() if name not in groups.frozen}


def _publishable(found: Mapping[str, Value], as_written: Mapping[str, Value]) -> Iterator[Any]:
    for key, value in found.items():
        written = str(_written(as_written, key))
        if "${" not in written:
            yield key, value
        elif isinstance(value, str):
            yield key, written


def _written(settings: Mapping[str, Value], key: str) -> Value | None:
    """What was written for ``key``, or for the section that holds it; references are followed."""
    names = key.split(".")
    sections = (".".join(names[:count]) for count in range(len(names), 0, -1))
    value = next((settings[name] for name in sections if name in settings), None)
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    dots, target = found.groups()
    above = names[: -len(dots)] if dots else []
    return _written(settings, ".".join([*above, target]))
