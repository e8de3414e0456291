"""Measures what a user runs: the default command, with evaluations, saves and every step logged.

The time of a step is that of a long run less that of a short one, whole processes, so that imports
and compilation cancel. It is compared with two scripts written by hand that log nothing: one scans
as many steps as lie between two evaluations and evaluates as often; the other scans all steps, and
the computation of the evaluations is timed apart and added. Prints the ratio of the first script's
time to the runner's (above 1: the runner is faster), and that of the runner's time to the second's.

    python benchmarks/user.py [--pairs 5] [--epochs 400]
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import optax

from runner.data.dataset import Split
from runner.data.order import batch_indices
from runner.registry import datasets

BATCH, SHORT, EVERY, EXAMPLES, WIDTHS = 64, 40, 44, 1437, (64, 128, 128, 10)
SGD = partial(optax.sgd, momentum=0.9)


def main() -> None:
    """Prints a line for each pair, then the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=400, help="length of the long run")
    options = parser.parse_args()
    scanned, without, evaluations = bare_scripts()
    per_epoch = EXAMPLES // BATCH
    short, long = SHORT * per_epoch, options.epochs * per_epoch
    process(SHORT)  # fills the compilation cache
    ratios, overheads = [], []
    for pair in range(options.pairs):
        ours = (process(options.epochs) - process(SHORT)) / (long - short)
        bare = (scanned(long) - scanned(short)) / (long - short)
        limit = (without(long) - without(short) + evaluations((long - short) // EVERY)) / (
            long - short
        )
        ratios.append(bare / ours)
        overheads.append(ours / limit)
        print(
            f"pair {pair + 1}: runner {1e6 * ours:.1f} µs a step, script that evaluates "
            f"{1e6 * bare:.1f}, scan + evaluations {1e6 * limit:.1f}",
            flush=True,
        )
    for name, values in (
        ("script that evaluates / runner", ratios),
        ("runner / (scan + evaluations)", overheads),
    ):
        print(f"{name}: {median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


def process(epochs: int) -> float:
    """The seconds of ``python -m runner`` with the default configuration."""
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "runner",
                f"training.epochs={epochs}",
                f"training.eval_every={EVERY}",
                f"hydra.run.dir={folder}/run",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return perf_counter() - started


def bare_scripts() -> tuple[Callable[[int], float], ...]:
    """Functions from a number of steps, or of evaluations, to seconds."""
    dataset = datasets.build("digits", {})
    train, test = arrays(dataset.train), arrays(dataset.selection)

    def trained(steps: int, every: int, *, evaluates: bool) -> float:
        carry, found = start(), []
        started = perf_counter()
        for first in range(0, steps, every):
            carry, losses = scan(carry, train, rows(first, min(every, steps - first)))
            found.append(evaluate(carry[0], test) if evaluates else losses)
        jax.block_until_ready((carry, found))
        return perf_counter() - started

    def evaluated(count: int) -> float:
        params = start()[0]
        started = perf_counter()
        jax.block_until_ready([evaluate(params, test) for _ in range(count)])
        return perf_counter() - started

    def without(steps: int) -> float:
        trained(steps, steps, evaluates=False)  # compiles, as each length has its own program
        return trained(steps, steps, evaluates=False)

    trained(EVERY, EVERY, evaluates=True)
    return partial(trained, every=EVERY, evaluates=True), without, evaluated


def arrays(split: Split) -> tuple[jax.Array, jax.Array]:
    """Normalised inputs and targets on the device."""
    inputs = (split.inputs.reshape(len(split), -1) - 4.893) / 6.020
    return jnp.asarray(inputs, jnp.float32), jnp.asarray(split.targets)


def rows(first: int, count: int) -> Any:
    """The examples of some steps."""
    return batch_indices(seed=0, first_step=first, count=count, batch_size=BATCH, n=EXAMPLES)


def start() -> Any:
    """Parameters, optimizer state and step before the first update."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = [
        (jax.random.normal(key, (n, m)) * (2 / n) ** 0.5, jnp.zeros(m))
        for key, n, m in zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]
    return params, SGD(0.1).init(params), 0


def outputs(params: Any, x: jax.Array) -> jax.Array:
    """The logits of the default multilayer perceptron."""
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs(params, x), y).mean()


@partial(jax.jit, donate_argnums=0)
def scan(carry: Any, train: Any, indices: jax.Array) -> Any:
    """Trains on the rows of ``indices`` under a triangular schedule."""

    def body(carry: Any, row: jax.Array) -> Any:
        params, opt_state, step = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, train[0][row], train[1][row])
        rate = 0.01 + 0.19 * (1 - jnp.abs(step % 220 / 110 - 1))
        updates, opt_state = SGD(rate).update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, step + 1), loss

    return jax.lax.scan(body, carry, indices)


@jax.jit
def evaluate(params: Any, test: Any) -> Any:
    """Loss and accuracy."""
    logits = outputs(params, test[0])
    return loss_fn(params, *test), (logits.argmax(-1) == test[1]).mean()


if __name__ == "__main__":
    main()
