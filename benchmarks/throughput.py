"""Compares the runner's loop with hand-written JAX that logs nothing.

The runner writes the loss, rate and cycle of every step to TensorBoard. The other side trains the
same model on the same batches with the same optimizer and schedule: in one ``jax.jit(lax.scan)``,
or for a model with convolutions, which XLA's CPU backend runs slowly inside a loop, in one jitted
update per dispatch, which leaves its values on the device. The two sides run alternately in this
process. Prints the median and the range of the ratios of their speeds.

The row ``user`` measures whole processes, see ``user.py``.

    python benchmarks/throughput.py [--pairs 7] [--only mlp]
    python benchmarks/throughput.py --fashion FOLDER --mnist1d FILE.npz --text FILE.txt
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np
import user
from bare import dispatched, flax_model, mlp, scanned
from descents import adam_one_cycle, adamw_one_cycle, sgd, sgd_one_cycle, surrounded
from pairs import Side, compare

from runner.cli.commands import configure
from runner.data.dataset import Dataset, Split
from runner.experiment.build import Experiment, build
from runner.experiment.device import describe_device
from runner.records.events import EventWriter
from runner.records.journal import Journal
from runner.records.recorder import Recorder
from runner.training.loop import train

# The bare loops of most rows do not evaluate: the runner scores this few examples at the end.
EVALUATED = 8
# The command-line option that gives a row its data → what it is, and the setting it becomes.
DATA = {
    "fashion": ("FOLDER", "the folder of Fashion-MNIST's IDX files", "dataset.root"),
    "mnist1d": (
        "FILE",
        "MNIST-1D as .npz with x_train, y_train, x_test and y_test",
        "dataset.path",
    ),
    "text": ("FILE", "a text, plain or .gz", "dataset.path"),
}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    settings: the command line of the experiment, without its length.
    bare: the hand-written side.
    seconds: of a pair on two cores, for the expected time.
    data: the option that gives its data, if it needs any.
    adapted: what is changed in the experiment.
    """

    title: str
    steps: int
    settings: tuple[str, ...]
    bare: Callable[[Experiment], Side]
    seconds: float
    data: str | None = None
    adapted: Callable[[Experiment], Experiment] = lambda experiment: experiment

    def experiment(self, steps: int, *settings: str) -> Experiment:
        """The experiment with ``steps`` steps."""
        config = configure(*self.settings, f"training.steps={steps}", *settings)
        return self.adapted(build(config, jax.devices()[0]))


class Silent:
    """A progress display that shows nothing."""

    def update(self, step, values, steps_per_second): ...
    def evaluation(self, step, metrics): ...
    def close(self): ...


def the_runner(experiment: Experiment) -> Side:
    """The runner's loop, with recorder and event writer."""
    feed = experiment.feed()

    def run(state: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(
                events=EventWriter(Path(folder)),
                display=Silent(),
                log_every=experiment.lengths.log_every,
                started=perf_counter(),
                ranking=experiment.config.ranking,
            )
            recorder = Recorder(journal)
            with recorder:
                *_, trained = train(
                    experiment.static,
                    state,
                    experiment.hyperparams,
                    feed,
                    plan=experiment.plan,
                    listener=recorder,
                    should_stop=lambda: False,
                )
            recorder.raise_failure()
            assert recorder.steps == experiment.plan.steps
            return trained.params

    return Side(experiment.initial_state, run)


def with_few_evaluated(experiment: Experiment) -> Experiment:
    """The experiment with a few examples in each split that is evaluated at its end."""
    dataset = experiment.dataset
    few = Split(*dataset.selection.take(np.arange(EVALUATED))[:2])
    return replace(experiment, dataset=replace(dataset, validation=few, test=few))


def with_images_28(experiment: Experiment, n: int = 6400) -> Experiment:
    """The experiment on random images of Fashion-MNIST's size; speed does not depend on pixels."""
    random = np.random.default_rng(0)
    split = Split(
        random.integers(0, 256, (n, 28, 28, 1)).astype(np.uint8),
        random.integers(0, 10, n).astype(np.int32),
    )
    dataset = Dataset(split, split, num_classes=10, mean=128.0, std=64.0)
    example = jax.ShapeDtypeStruct((1, 28, 28, 1), np.float32)
    return with_few_evaluated(replace(experiment, dataset=dataset, example=example))


def bare_model(experiment: Experiment, loop: Callable[..., Side], descent: Any) -> Side:
    """A hand-written loop around the experiment's flax module."""
    return loop(experiment, flax_model(experiment.static.model), descent)


def one_cycle_of(descent: Callable[..., Any], loop: Callable[..., Side], **settings: float) -> Any:
    """The hand-written side of an experiment under 1cycle, which depends on its length."""
    return lambda e: bare_model(e, loop, descent(e.lengths.steps, **settings))


# Settings that the hand-written loops on digits implement, without evaluations before the end.
NO_DECAY = ("optimizer.weight_decay=null", "scheduler.step_size_up=88")
PLAIN = (*NO_DECAY, "training.eval_every=null")
# Each layer in a group with its own bounds and weight decay, clipping, an average.
SURROUNDED = (
    *PLAIN,
    "optimizer.groups={first: Dense_0/*, second: Dense_1/*}",
    "scheduler.base_lr={first: 0.01, second: 0.005, default: 0.001}",
    "scheduler.max_lr={first: 0.2, second: 0.1, default: 0.05}",
    "optimizer.weight_decay={first: 0.001, second: 0.0001, default: 0.0}",
    "optimizer.clip_norm=1",
    "training.ema_decay=0.99",
)
AT_END = "training.eval_every=null"
ROWS = {
    "mlp": Row(
        "mlp",
        30_000,
        PLAIN,
        lambda e: scanned(e, mlp, sgd()),
        seconds=6,
        adapted=with_few_evaluated,
    ),
    "evaluations": Row(
        "mlp, evaluated every 44 steps on both sides",
        30_800,
        (*NO_DECAY, "training.eval_every=44"),
        lambda e: scanned(e, mlp, sgd(), every=44),
        seconds=7,
    ),
    "surrounded": Row(
        "mlp, groups, clipping, average",
        30_000,
        SURROUNDED,
        lambda e: scanned(e, mlp, surrounded()),
        seconds=7,
        adapted=with_few_evaluated,
    ),
    "cnn": Row(
        "cnn, random images",
        400,
        ("model=cnn", *PLAIN),
        lambda e: bare_model(e, dispatched, sgd()),
        seconds=5,
        adapted=with_images_28,
    ),
    "fashion_cnn": Row(
        "cnn, Fashion-MNIST",
        150,
        ("experiment=fashion_mnist_cnn", AT_END),
        one_cycle_of(adam_one_cycle, dispatched, max_lr=0.003),
        seconds=12,
        data="fashion",
        adapted=with_few_evaluated,
    ),
    "fashion_resnet20": Row(
        "resnet20, Fashion-MNIST",
        8,
        ("experiment=superconvergence", AT_END),
        one_cycle_of(sgd_one_cycle, dispatched),
        seconds=30,
        data="fashion",
        adapted=with_few_evaluated,
    ),
    "mnist1d_cnn": Row(
        "cnn, MNIST-1D",
        1500,
        ("experiment=mnist1d_cnn", AT_END),
        one_cycle_of(adam_one_cycle, dispatched, max_lr=0.005),
        seconds=10,
        data="mnist1d",
        adapted=with_few_evaluated,
    ),
    "text_transformer": Row(
        "transformer, text",
        60,
        ("experiment=text_transformer", AT_END),
        one_cycle_of(adamw_one_cycle, scanned),
        seconds=20,
        data="text",
        adapted=with_few_evaluated,
    ),
}
USER_SECONDS = 120


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=7, help="number of runs of each side")
    parser.add_argument("--only", choices=[*ROWS, "user"], help="measure one row only")
    for option, (metavar, meaning, _) in DATA.items():
        parser.add_argument(f"--{option}", metavar=metavar, help=meaning)
    given = vars(parser.parse_args())
    print(describe_device(jax.devices()[0]))
    rows = [name for name in [*ROWS, "user"] if given["only"] in (None, name)]
    measured = [name for name in rows if name == "user" or is_given(name, given)]
    # One more pair for the first, which compiles.
    pair_seconds = sum(USER_SECONDS if name == "user" else ROWS[name].seconds for name in measured)
    minutes = pair_seconds * (given["pairs"] + 1) / 60
    if measured:
        print(f"about {minutes:.1f} minutes on two quiet cores", file=sys.stderr, flush=True)
    for name in measured:
        measure_row(name, given)


def is_given(name: str, given: dict[str, Any]) -> bool:
    """Whether the data of a row is given; prints how to give it otherwise."""
    option = ROWS[name].data
    if option is None or given[option] is not None:
        return True
    metavar, meaning, _ = DATA[option]
    print(f"{ROWS[name].title}: left out; give --{option} {metavar}, {meaning}")
    return False


def measure_row(name: str, given: dict[str, Any]) -> None:
    if name == "user":
        user.measure(pairs=given["pairs"])
        return
    row = ROWS[name]
    data = () if row.data is None else (f"{DATA[row.data][2]}={given[row.data]}",)
    experiment = row.experiment(row.steps, *data)
    compare(
        row.title,
        the_runner(experiment),
        row.bare(experiment),
        steps=row.steps,
        pairs=given["pairs"],
    )


if __name__ == "__main__":
    main()
