"""Trains the default run with every optimizer under every scheduler, and prints the accuracies.

Each pair uses the default settings of both; only ``cycle_momentum`` is false for an optimizer
without a momentum. The runs of an optimizer are computed side by side, with the same updates as
one after another.

    python benchmarks/optimizers.py [--optimizers adam,lion] [--seed 0]
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from runner.cli.commands import configure
from runner.cli.sources import CONF
from runner.config import Config
from runner.data.dataset import Examples
from runner.data.feed import Source
from runner.errors import ConfigError
from runner.experiment.build import Experiment, build
from runner.schedules import Schedule
from runner.training.evaluation import evaluated_variables, score
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import train_step

OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").iterdir())
SCHEDULERS = sorted(path.stem for path in (CONF / "scheduler").iterdir())


class Table(Schedule):
    """The rates and momenta of another schedule at every step of a run, so that all are alike."""

    def __init__(self, rates: np.ndarray, momenta: np.ndarray | None) -> None:
        self.rates = rates
        self.momenta = momenta

    @property
    def cycles_momentum(self) -> bool:  # type: ignore[override]
        return self.momenta is not None

    def _rate(self, steps: jax.Array) -> jax.Array:
        return self.rates[steps.astype(jnp.int32)]

    def _momentum(self, steps: jax.Array) -> jax.Array:
        return self.momenta[steps.astype(jnp.int32)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains with every optimizer and scheduler.")
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        f"{'test accuracy in %':22}" + " ".join(f"{name[:7]:>7}" for name in SCHEDULERS) + "  least"
    )
    for optimizer in given.optimizers.split(","):
        found = accuracies(optimizer, given.seed)
        row = " ".join(f"{100 * accuracy:7.1f}" for accuracy in found)
        print(f"{optimizer:22}{row} {100 * min(found):6.1f}", flush=True)


def accuracies(optimizer: str, seed: int) -> list[float]:
    """The final test accuracy of the default run with ``optimizer``, under each scheduler."""
    configs = [configuration(optimizer, scheduler, seed) for scheduler in SCHEDULERS]
    experiment = build(configs[0], jax.devices()[0])
    tables = [tabulated(experiment.under(config.scheduler)) for config in configs]
    found = np.zeros(len(tables))
    for with_momentum in (False, True):  # their programs differ
        members = [i for i, t in enumerate(tables) if t.cycles_momentum == with_momentum]
        if members:
            found[members] = trained(experiment, [tables[i] for i in members])
    return found.tolist()


def configuration(optimizer: str, scheduler: str, seed: int) -> Config:
    """The default run with these options; momentum is cycled where that is possible."""
    chosen = [f"optimizer={optimizer}", f"scheduler={scheduler}", f"seed={seed}"]
    try:
        return configure(*chosen)
    except ConfigError as error:
        if not error.key.endswith("cycle_momentum"):
            raise
        return configure(*chosen, f"{error.key}=false")


def tabulated(experiment: Experiment) -> Table:
    """The schedule of an experiment at every step of its run."""
    schedule, steps = experiment.schedule, np.arange(experiment.lengths.steps)
    momenta = np.asarray(schedule.momentum(steps)) if schedule.cycles_momentum else None
    return Table(np.asarray(schedule(steps)), momenta)


def trained(experiment: Experiment, tables: Sequence[Table]) -> np.ndarray:
    """The final test accuracy under each of ``tables`` [tables]."""
    dataset, lengths = experiment.dataset, experiment.lengths
    feed = experiment.feed()
    batches = feed.batches(0, lengths.steps, capacity=lengths.steps)
    hyperparams = [replace(experiment.hyperparams, schedule=table) for table in tables]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hyperparams)
    state = experiment.initial_state()
    (test, valid), *_ = feed.split_batches("test")  # the digits are one batch
    train = jax.jit(jax.vmap(partial(_correct, experiment.static), (None, 0, None, None, None)))
    examples = feed.source("test").prepared(test), valid
    correct = train(state, stacked, feed.source("train"), batches, examples)
    return np.asarray(correct) / len(dataset.test)


def _correct(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: jax.Array,
    test: tuple[Examples, jax.Array],
) -> jax.Array:
    """The number of correct answers after training on ``batches`` [steps, batch]."""

    def step(state: TrainState, batch: jax.Array) -> tuple[TrainState, None]:
        return train_step(static, state, hyperparams, source, batch)[0], None

    state, _ = jax.lax.scan(step, state, batches)
    variables = evaluated_variables(static, state)
    return score(static, variables, hyperparams.objective, *test)["correct"]


if __name__ == "__main__":
    main()
