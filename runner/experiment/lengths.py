"""The lengths of a run in steps, once the size of the data set is known."""

from dataclasses import dataclass

from runner.config import Training
from runner.config.lengths import Length, resolve_length
from runner.errors import ConfigError


@dataclass(frozen=True)
class Lengths:
    """The lengths of a run over a data set of known size.

    examples_per_step: examples of all the microbatches that one update accumulates.
    steps_per_epoch, steps, eval_every, log_every, save_every: counts of steps; ``save_every`` is
      None if saves are not at fixed steps.
    """

    examples_per_step: int
    steps_per_epoch: int
    steps: int
    eval_every: int | None
    log_every: int
    save_every: int | None


def resolve_lengths(
    training: Training, *, examples: int, save_every: Length | None = None
) -> Lengths:
    """The lengths that ``training`` sets for a run over that many training ``examples``.

    Args:
      save_every: ``checkpoint.every``.

    Raises:
      ConfigError: a step needs more examples than there are, or a length is below one step.
    """
    examples_per_step = _examples_per_step(training, examples)
    steps_per_epoch = examples // examples_per_step

    def in_steps(key: str, value: Length, total_steps: int | None = None) -> int:
        return resolve_length(
            value, key=key, steps_per_epoch=steps_per_epoch, total_steps=total_steps
        )

    if training.steps is not None:
        steps = in_steps("training.steps", training.steps)
    else:
        steps = in_steps("training.epochs", f"{training.epochs}ep")
    every = training.eval_every
    return Lengths(
        examples_per_step=examples_per_step,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        eval_every=None if every is None else in_steps("training.eval_every", every, steps),
        log_every=in_steps("training.log_every", training.log_every, steps),
        save_every=(
            None
            if save_every in (None, "auto")
            else in_steps("checkpoint.every", save_every, steps)
        ),
    )


def _examples_per_step(training: Training, examples: int) -> int:
    batch_size, microbatches = training.batch_size, training.accumulate
    if batch_size > examples:
        raise ConfigError(
            "training.batch_size",
            f"{batch_size} is more than the {examples} training examples",
            f"write a number from 1 to {examples}",
        )
    if microbatches * batch_size > examples:
        raise ConfigError(
            "training.accumulate",
            f"{microbatches} batches of {batch_size} are more than the {examples} "
            "training examples",
            f"write at most {examples // batch_size}",
        )
    return microbatches * batch_size
