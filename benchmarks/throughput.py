"""Compares the runner's loop with hand-written JAX that logs nothing.

The runner writes the loss, rate and cycle of every step to TensorBoard. There are three rows: the
mlp on digits against one ``jax.jit(lax.scan)``; the same with three parameter groups, clipped
gradients and an average of the parameters, against a scan that does all this with optax; and the
cnn on 28×28 images against a jitted step that is dispatched once per update and leaves its values
on the device. The two sides run alternately in this process. Prints the median and the range of
the ratios of their speeds.

    python benchmarks/throughput.py [--pairs 7] [--only mlp]
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from runner.cli.commands import configure
from runner.data.dataset import Dataset, Split
from runner.data.order import batch_indices
from runner.experiment.build import Experiment, build
from runner.experiment.device import describe_device
from runner.records.events import EventWriter
from runner.records.journal import Journal
from runner.records.recorder import Recorder
from runner.training.loop import train

BATCH = 64
# Settings that the hand-written loops below implement.
PLAIN = ("training.eval_every=null", "optimizer.weight_decay=null", "scheduler.step_size_up=88")
# The second row: each layer in a group with its own bounds and weight decay, clipping, an average.
SURROUNDED = (
    "optimizer.groups={first: Dense_0/*, second: Dense_1/*}",
    "scheduler.base_lr={first: 0.01, second: 0.005, default: 0.001}",
    "scheduler.max_lr={first: 0.2, second: 0.1, default: 0.05}",
    "optimizer.weight_decay={first: 0.001, second: 0.0001, default: 0.0}",
    "optimizer.clip_norm=1",
    "training.ema_decay=0.99",
)
BOUNDS = {"first": (0.01, 0.2), "second": (0.005, 0.1), "default": (0.001, 0.05)}
DECAYS = {"first": 0.001, "second": 0.0001, "default": 0.0}


class Silent:
    """A progress display that shows nothing."""

    def update(self, step, values, steps_per_second): ...
    def evaluation(self, step, metrics): ...
    def close(self): ...


def the_runner(experiment: Experiment) -> Callable[[], float]:
    """Measures the seconds of the runner's loop, with recorder and event writer."""
    feed = experiment.feed()

    def measure() -> float:
        state = jax.block_until_ready(experiment.initial_state())
        with tempfile.TemporaryDirectory() as folder:
            started = perf_counter()
            journal = Journal(
                events=EventWriter(Path(folder)),
                display=Silent(),
                log_every=experiment.lengths.log_every,
                started=started,
                ranking=experiment.config.ranking,
            )
            recorder = Recorder(journal)
            with recorder:
                train(
                    experiment.static,
                    state,
                    experiment.hyperparams,
                    feed,
                    plan=experiment.plan,
                    listener=recorder,
                    stopping=lambda: False,
                )
            recorder.raise_failure()
            assert recorder.steps == experiment.plan.steps
            return perf_counter() - started

    return measure


def bare_mlp(dataset: Dataset, steps: int) -> Callable[[], float]:
    """A hand-written scan over all updates."""
    tx = partial(optax.sgd, momentum=0.9)

    def update(carry, grads):
        params, opt_state, step = carry
        updates, opt_state = tx(triangular(step)).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, step + 1

    return scanned(dataset, steps, lambda params: (params, tx(0.1).init(params), 0), update)


def scanned(
    dataset: Dataset, steps: int, start: Callable[..., tuple], update: Callable[..., tuple]
) -> Callable[[], float]:
    """Measures a scan of ``update(carry, grads)``; the first item of a carry is the parameters."""

    def loss_fn(params, x, y):
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return optax.softmax_cross_entropy_with_integer_labels(x @ w + b, y).mean()

    @jax.jit
    def run(carry, x, y, indices):
        def body(carry, row):
            loss, grads = jax.value_and_grad(loss_fn)(carry[0], x[row], y[row])
            return update(carry, grads), loss

        return jax.lax.scan(body, carry, indices)

    x = jnp.asarray(
        (dataset.train.inputs.reshape(-1, 64) - dataset.mean) / dataset.std, jnp.float32
    )
    y = jnp.asarray(dataset.train.targets)

    def measure() -> float:
        carry = jax.block_until_ready(start(mlp_params(jax.random.key(0))))
        started = perf_counter()
        indices = rows(len(y), steps)
        jax.block_until_ready(run(carry, x, y, indices))
        return perf_counter() - started

    return measure


def bare_mlp_surrounded(dataset: Dataset, steps: int) -> Callable[[], float]:
    """The same scan with partition, clipping and average from optax."""
    labels = [(group, group) for group in BOUNDS]

    def tx(step):
        rate = {name: triangular(step, low, high) for name, (low, high) in BOUNDS.items()}
        parts = {
            name: optax.chain(
                optax.add_decayed_weights(DECAYS[name]), optax.sgd(rate[name], momentum=0.9)
            )
            for name in BOUNDS
        }
        return optax.chain(optax.clip_by_global_norm(1.0), optax.partition(parts, labels))

    average = optax.ema(0.99)

    def update(carry, grads):
        params, opt_state, ema_state, step = carry
        updates, opt_state = tx(step).update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        _, ema_state = average.update(params, ema_state)
        return params, opt_state, ema_state, step + 1

    def start(params):
        return params, tx(0).init(params), average.init(params), 0

    return scanned(dataset, steps, start, update)


def mlp_params(key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Weights and biases of the default mlp on 8×8 images."""
    shapes = list(pairwise([64, 128, 128, 10]))
    he_normal = nn.initializers.he_normal()
    keys = jax.random.split(key, len(shapes))
    return [(he_normal(k, s), jnp.zeros(s[1])) for k, s in zip(keys, shapes, strict=True)]


def bare_cnn(experiment: Experiment, steps: int) -> Callable[[], float]:
    """One jitted update per dispatch; the state is donated and nothing is fetched."""
    model, dataset = experiment.static.model, experiment.dataset
    tx = partial(optax.sgd, momentum=0.9)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt_state, step, x, y, row):
        def loss_fn(params):
            logits = model.apply(
                params, (x[row].astype(jnp.float32) - dataset.mean) / dataset.std, train=True
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[row]).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = tx(triangular(step)).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    x, y = jnp.asarray(dataset.train.inputs), jnp.asarray(dataset.train.targets)

    def measure() -> float:
        params = model.init(
            jax.random.key(0), np.zeros(experiment.example.shape, np.float32), train=False
        )
        opt_state = tx(0.1).init(params)
        jax.block_until_ready((params, opt_state))
        started = perf_counter()
        losses = []
        for step, row in enumerate(rows(len(y), steps)):
            params, opt_state, loss = update(params, opt_state, step, x, y, row)
            losses.append(loss)
        jax.block_until_ready((params, losses))
        return perf_counter() - started

    return measure


def triangular(step: jax.Array, low: float = 0.01, high: float = 0.2) -> jax.Array:
    position = step % 176
    return low + (high - low) * jnp.where(position <= 88, position / 88, (176 - position) / 88)


def rows(n: int, steps: int) -> np.ndarray:
    return batch_indices(seed=0, first_step=0, count=steps, batch_size=BATCH, n=n)


def with_images_28(experiment: Experiment, n: int = 6400) -> Experiment:
    """The experiment on random images of Fashion-MNIST's size; speed does not depend on pixels."""
    random = np.random.default_rng(0)
    split = Split(
        random.integers(0, 256, (n, 28, 28, 1)).astype(np.uint8),
        random.integers(0, 10, n).astype(np.int32),
    )
    few = Split(split.inputs[:64], split.targets[:64])
    return replace(
        experiment,
        dataset=Dataset(split, few, num_classes=10, mean=128.0, std=64.0),
        example=jax.ShapeDtypeStruct((1, 28, 28, 1), np.float32),
    )


def compare(
    name: str, ours: Callable[[], float], bare: Callable[[], float], *, steps: int, pairs: int
) -> None:
    """Measures both sides ``pairs`` times and prints the ratio of their speeds."""
    print(f"{name}: compiling", file=sys.stderr, flush=True)
    pair_seconds = ours() + bare()
    ratios, speeds = [], {ours: [], bare: []}
    for pair in range(pairs):
        left = f"about {pair_seconds * (pairs - pair):.0f} s left"
        print(f"{name}: pair {pair + 1} of {pairs}, {left}", file=sys.stderr, flush=True)
        # The order alternates, so that a drift of the machine's speed favours neither side.
        order = (ours, bare) if pair % 2 == 0 else (bare, ours)
        seconds = {side: side() for side in order}
        pair_seconds = sum(seconds.values())
        ratios.append(seconds[bare] / seconds[ours])
        for side, taken in seconds.items():
            speeds[side].append(steps / taken)
    print(
        f"{name}: {statistics.median(ratios):.3f} of bare "
        f"(pairs {min(ratios):.3f} to {max(ratios):.3f}, n={pairs}); steps/s: runner "
        f"{statistics.median(speeds[ours]):,.0f}, bare {statistics.median(speeds[bare]):,.0f}",
        flush=True,
    )


def compare_mlp(pairs: int) -> None:
    steps = 30_000
    experiment = an_experiment("mlp", steps)
    compare(
        "mlp", the_runner(experiment), bare_mlp(experiment.dataset, steps), steps=steps, pairs=pairs
    )


def compare_surrounded(pairs: int) -> None:
    steps = 30_000
    experiment = an_experiment("mlp", steps, *SURROUNDED)
    bare = bare_mlp_surrounded(experiment.dataset, steps)
    compare(
        "mlp, groups, clipping, average", the_runner(experiment), bare, steps=steps, pairs=pairs
    )


def compare_cnn(pairs: int) -> None:
    steps = 400
    experiment = with_images_28(an_experiment("cnn", steps))
    compare("cnn", the_runner(experiment), bare_cnn(experiment, steps), steps=steps, pairs=pairs)


def an_experiment(model: str, steps: int, *more: str) -> Experiment:
    """The default run with ``steps`` steps, evaluated only at the end: the bare loop never is."""
    config = configure(f"model={model}", f"training.steps={steps}", *PLAIN, *more)
    return build(config, jax.devices()[0])


ROWS = {"mlp": compare_mlp, "surrounded": compare_surrounded, "cnn": compare_cnn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7, help="number of runs of each side")
    parser.add_argument("--only", choices=ROWS, help="measure one row only")
    args = parser.parse_args()
    print(describe_device(jax.devices()[0]))
    for name, compare_row in ROWS.items():
        if args.only in (None, name):
            compare_row(args.pairs)


if __name__ == "__main__":
    main()
