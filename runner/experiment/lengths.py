"""How long a run is and where its host steps in: every length of ``training`` in steps."""

from dataclasses import dataclass
from typing import Any

from runner.config import Training
from runner.errors import ConfigError
from runner.lengths import resolve_length


@dataclass(frozen=True)
class RunLength:
    """Of a run over a data set of known size; all but the examples are counts of steps.

    examples_per_step: of all the batches that a step accumulates.
    """

    examples_per_step: int
    steps_per_epoch: int
    steps: int
    eval_every: int | None
    log_every: int


def run_length(training: Training, *, examples: int) -> RunLength:
    """The lengths of a run over so many training ``examples``.

    Raises:
      ConfigError: a step takes more examples than there are, or a length comes to no step.
    """
    per_step = _examples_per_step(training, examples)
    steps_per_epoch = examples // per_step
    if training.steps is not None:
        steps = resolve_length(
            training.steps, key="training.steps", steps_per_epoch=steps_per_epoch
        )
    else:
        steps = resolve_length(
            f"{training.epochs}ep", key="training.epochs", steps_per_epoch=steps_per_epoch
        )

    def in_steps(key: str, value: Any) -> int:
        return resolve_length(value, key=key, steps_per_epoch=steps_per_epoch, total_steps=steps)

    every = training.eval_every
    return RunLength(
        examples_per_step=per_step,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        eval_every=None if every is None else in_steps("training.eval_every", every),
        log_every=in_steps("training.log_every", training.log_every),
    )


def _examples_per_step(training: Training, examples: int) -> int:
    batch_size, batches = training.batch_size, training.accumulate
    if batch_size > examples:
        raise ConfigError(
            "training.batch_size",
            f"{batch_size} is more than the {examples} training examples",
            f"write a number from 1 to {examples}",
        )
    if batches * batch_size > examples:
        raise ConfigError(
            "training.accumulate",
            f"{batches} batches of {batch_size} are more than the {examples} training examples",
            f"write at most {examples // batch_size}",
        )
    return batches * batch_size
