"""Measures runs of the digits mlp that share a compiled program.

On a CPU: lane-steps per second of one lane and of ``--lanes``, trained one after another, in
threads and vmapped. The three ways run in turns in this process. Prints the median and the range
over the rounds, and the ratios to "one after another" within a round.

On an accelerator: the wall time of 1, 2, 4, ... lanes, vmapped, as a multiple of one lane's.

    python benchmarks/lanes.py [--lanes 16] [--steps 2000] [--rounds 5]
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import jax

from runner.cli.commands import configure
from runner.experiment.build import Experiment, build
from runner.experiment.device import describe_device
from runner.training.lanes import Lane, train_lanes
from runner.training.listener import Listener
from runner.training.loop import train

# Lanes are compared without evaluations, and in chunks as long as a program takes.
SETTINGS = ("training.eval_every=null", "training.chunk=1024", "scheduler.step_size_up=88")


class Silent(Listener):
    """A listener that ignores what it receives."""

    steps_per_second = None

    def chunk(self, start, length, metrics): ...
    def evaluation(self, step, metrics): ...
    def wants_state(self, step, *, evaluated):
        return False

    def state(self, step, state): ...
    def raise_failure(self): ...


def lanes_of(experiment: Experiment, count: int) -> list[Lane]:
    """Lanes with a seed each, before their first update."""
    feed = experiment.feed()
    lanes = []
    for seed in range(count):
        seeded = experiment.seeded(seed)
        lanes.append(
            Lane(
                jax.block_until_ready(seeded.initial_state()),
                experiment.hyperparams,
                feed.reseeded(seed),
                replace(experiment.plan, scores_test=False),
                Silent(),
                lambda: False,
            )
        )
    return lanes


def one_after_another(experiment: Experiment, lanes: list[Lane]) -> list[jax.Array]:
    """The parameters of each lane, trained by the loop of a solo run."""
    found = []
    for lane in lanes:
        *_, trained = train(
            experiment.static,
            lane.state,
            lane.hyperparams,
            lane.feed,
            plan=lane.plan,
            listener=lane.listener,
            should_stop=lane.should_stop,
        )
        found.append(trained.params)
    return found


def in_threads(experiment: Experiment, lanes: list[Lane]) -> list[jax.Array]:
    return [end.state.params for end in train_lanes(experiment.static, lanes, mode="threads")]


def vmapped(experiment: Experiment, lanes: list[Lane]) -> list[jax.Array]:
    return [end.state.params for end in train_lanes(experiment.static, lanes, mode="vmap")]


WAYS = {"one after another": one_after_another, "threads": in_threads, "vmap": vmapped}


def seconds(way: Callable[..., list[jax.Array]], experiment: Experiment, count: int) -> float:
    """The wall time of training ``count`` lanes; their initial states are made beforehand."""
    lanes = lanes_of(experiment, count)
    started = perf_counter()
    jax.block_until_ready(way(experiment, lanes))
    return perf_counter() - started


def compare_ways(experiment: Experiment, count: int, rounds: int) -> None:
    """Prints the lane-steps per second of each way, measured in turns."""
    taken = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        print(f"{count} lanes: round {number} of {rounds}", file=sys.stderr, flush=True)
        # The order alternates, so that a drift of the machine's speed favours no way.
        for name in list(WAYS)[:: 1 if number % 2 else -1]:
            found = seconds(WAYS[name], experiment, count)
            if number > 0:  # the first round compiles
                taken[name].append(found)
    for name, times in taken.items():
        speeds = [count * experiment.plan.steps / time for time in times]
        ratios = [base / time for base, time in zip(taken["one after another"], times, strict=True)]
        print(
            f"{count} lanes, {name}: {spread(speeds, ',.0f')} lane-steps/s, "
            f"{spread(ratios, '.2f')} of one after another",
            flush=True,
        )


def compare_counts(experiment: Experiment, most: int, rounds: int) -> None:
    """Prints the wall time of 1, 2, 4, ... ``most`` vmapped lanes, measured in turns with one."""
    count = 1
    while count <= most:
        print(f"{count} lanes: compiling", file=sys.stderr, flush=True)
        for number in (1, count):
            seconds(vmapped, experiment, number)
        times, ratios = [], []
        for _ in range(rounds):
            one = seconds(vmapped, experiment, 1)
            times.append(seconds(vmapped, experiment, count))
            ratios.append(times[-1] / one)
        speed = count * experiment.plan.steps / statistics.median(times)
        print(
            f"{count} lanes: {spread(times, '.3f')} s, {spread(ratios, '.2f')} of one lane's, "
            f"{speed:,.0f} lane-steps/s",
            flush=True,
        )
        count *= 2


def spread(values: list[float], spec: str) -> str:
    """``median (lowest to highest)``."""
    return f"{statistics.median(values):{spec}} ({min(values):{spec}} to {max(values):{spec}})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lanes", type=int, help="the largest number of lanes: 16, on an accelerator 256"
    )
    parser.add_argument("--steps", type=int, default=2000, help="updates of each lane")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way")
    options = parser.parse_args()
    device = jax.devices()[0]
    print(describe_device(device))
    experiment = build(configure(f"training.steps={options.steps}", *SETTINGS), device)
    if device.platform == "cpu":
        for count in (1, options.lanes or 16):
            compare_ways(experiment, count, options.rounds)
    else:
        compare_counts(experiment, options.lanes or 256, options.rounds)


if __name__ == "__main__":
    main()
