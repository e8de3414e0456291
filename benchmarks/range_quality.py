"""Compares ``scheduler=auto`` with a grid search over rates, the default policy and others' rules.

For each of nine data sets with a model, and three optimizers: a grid of twelve rates with three
seeds each under one policy; ``scheduler=auto`` with the same policy and seeds; the default policy
of this project, whose rates suit each optimizer; a constant rate, Keras's default for the
optimizer; and the policy at the rates that the rules of other libraries read from the same curves.
Prints the validation metric of each at the end of the run (the mean over the seeds), the difference
to the best of the grid, the cost of finding the rate in updates, and the updates to the target
(the median over the seeds): 95% of the accuracy of the grid's best rate, or 105% of its loss. The
row "grid, soonest" is the rate of the grid that reaches the target first: no rate under this policy
reaches it much sooner.

Results are kept in ``--results``, so that an interrupted benchmark continues where it stopped. The
last line is the time that all runs took together.

    python benchmarks/range_quality.py --tables FOLDER --fashion FOLDER --text FILE
        [--results range_quality.json] [--only NAME,...] [--policy triangular]
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from range_rules import PEERS
from range_tasks import COMBINATIONS, Combination

from runner.cli.commands import configure
from runner.errors import DivergedError
from runner.experiment.build import Experiment, build
from runner.experiment.range_choice import suggested_scheduler
from runner.experiment.range_test import run_range_test
from runner.ranges import Answer
from runner.ranges.answer import Spread
from runner.tasks.range_test import settings_of
from runner.training.lanes import Lane, choose_lane_mode, train_lanes
from runner.training.listener import Listener

SEEDS = (0, 1, 2)
# The result of a method that finds no rate.
UNTRAINED = {"final": [[float("nan")]], "curves": [[[]]]}
# The name of the highest rate where it is not max_lr, and the policies with a lower bound, which is
# this share of it.
HIGHEST = {"cosine": "base_lr", "wsd": "base_lr"}
WITH_BASE = ("triangular", "triangular2", "exp_range")
BASE_SHARE = 0.05


class Results:
    """What was found so far, by combination and method, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._seconds = 0.0

    def get(self, key: str, compute: Any) -> Any:
        """What was found under ``key``, computed if it is missing."""
        if key not in self._found:
            started = time.monotonic()
            self._found[key] = compute() | {"seconds": time.monotonic() - started}
            self._path.write_text(json.dumps(self._found, indent=1))
            print(f"  {key}: {self._found[key]['seconds']:.0f} s", flush=True)
        self._seconds += self._found[key]["seconds"]
        return self._found[key]

    @property
    def seconds(self) -> float:
        """The time that it took to compute what was asked for, in this run or before."""
        return self._seconds


class History(Listener):
    """Keeps the evaluations of a lane; a listener of ``train_lanes``."""

    steps_per_second = None

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._losses: list[jax.Array] = []
        self.evaluations: list[tuple[int, jax.Array]] = []

    def chunk(self, start: int, length: int, metrics: Any) -> None:
        self._losses.append(metrics["train/loss"][length - 1])

    def evaluation(self, step: int, metrics: Any) -> None:
        self.evaluations.append((step, metrics[self._metric]))

    def wants_state(self, step: int, *, evaluated: bool) -> bool:
        return False

    def state(self, step: int, state: Any) -> None: ...

    def raise_failure(self) -> None:
        """Checks the loss before the newest one, as it has been computed by now."""
        if len(self._losses) > 1 and not np.isfinite(float(self._losses[-2])):
            raise DivergedError("training", "the loss is not finite", "lower the rate")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default="", help="a folder of .npz files")
    parser.add_argument("--fashion", default="", help="a folder of Fashion-MNIST's IDX files")
    parser.add_argument("--text", default="", help="a text file")
    parser.add_argument("--results", type=Path, default=Path("range_quality.json"))
    parser.add_argument("--only", help="names of combinations, with commas")
    parser.add_argument("--policy", default="triangular")
    given = parser.parse_args()
    chosen = [c for c in COMBINATIONS if given.only is None or c.name in given.only.split(",")]
    results, rows = Results(given.results), []
    for number, combination in enumerate(chosen):
        print(f"{number + 1} of {len(chosen)}: {combination.name}", flush=True)
        rows += compared(combination, given, results)
    print_table(rows)
    print(f"all runs together took {results.seconds / 3600:.2f} hours")


def compared(combination: Combination, given: argparse.Namespace, results: Results) -> list[Any]:
    """The rows of the table of one combination."""
    folders = {name: getattr(given, name) for name in ("tables", "fashion", "text")}
    overrides = [*combination.overrides.format(**folders).split(), "training.eval_every=2%"]
    default = configure(*overrides)
    experiment = build(default, jax.devices()[0])
    sign, rates = default.ranking.sign, combination.grid

    def kept(method: str, compute: Any) -> Any:
        return results.get(f"{combination.name} / {given.policy} / {method}", compute)

    def at_rates(rates: Sequence[float]) -> dict[str, Any]:
        policies = [policy_overrides(given.policy, rate) for rate in rates]
        return trained(experiment, [configure(*overrides, *p).scheduler for p in policies])

    grid = kept("grid", lambda: at_rates(rates))
    finals = np.array(grid["final"]).mean(axis=1) * sign
    best = int(np.argmax(np.where(np.isfinite(finals), finals, -np.inf)))
    final = finals[best] * sign
    target = final * (0.95 if sign > 0 else 1.05)
    steps = experiment.lengths.steps
    grid_updates = len(rates) * len(SEEDS) * steps

    def row(method: str, found: Any, index: int, rate: float | None, cost: int) -> Any:
        value = float(np.mean(found["final"][index]))
        times = [updates_to(curve, target, sign) for curve in found["curves"][index]]
        return {
            "combination": combination.name,
            "method": method,
            "rate": rate,
            "final": value,
            "difference": value - final,
            "updates": cost,
            "cost": cost / grid_updates,
            "time": float(np.median(times)),
            "highest": default.ranking.highest,
        }

    rows = [row("grid", grid, best, rates[best], grid_updates)]
    every = [row("grid, soonest", grid, i, rate, grid_updates) for i, rate in enumerate(rates)]
    rows.append(min(every, key=lambda found: found["time"]))
    plain = kept("default", lambda: trained(experiment, [default.scheduler]))
    rows.append(row("default", plain, 0, None, 0))
    rate = combination.constant
    constant = configure(*overrides, "scheduler=constant", f"scheduler.base_lr={rate}").scheduler
    fixed = kept("constant", lambda: trained(experiment, [constant]))
    rows.append(row("constant", fixed, 0, rate, 0))
    ranged = kept("range test", lambda: range_tested(experiment, overrides, given.policy))
    if ranged["answer"] is not None:
        answer = as_answer(ranged["answer"])
        policy = configure(*overrides, f"scheduler={given.policy}").scheduler
        chosen = suggested_scheduler(policy, answer, experiment.lengths)
        auto = kept("auto", lambda: trained(experiment, [chosen]))
        rows.append(row("auto", auto, 0, answer.max_lr, ranged["updates"]))
    else:
        rows.append(row("auto", UNTRAINED, 0, None, ranged["updates"]))
    for name, rate in ranged["peers"].items():
        found = UNTRAINED if rate is None else kept(name, lambda rate=rate: at_rates([rate]))
        rows.append(row(name, found, 0, rate, ranged["test_updates"]))
    return rows


def trained(experiment: Experiment, schedulers: Sequence[Any]) -> dict[str, Any]:
    """Final metrics [schedulers, seeds] and curves of pairs (step, metric) under each scheduler."""
    metric = experiment.config.ranking.metric
    lanes, histories = [], []
    feeds = {seed: experiment.feed() for seed in SEEDS[:1]}
    feeds |= {seed: feeds[SEEDS[0]].reseeded(seed) for seed in SEEDS[1:]}
    for scheduler in schedulers:
        for seed in SEEDS:
            lane = experiment.under(scheduler).seeded(seed)
            histories.append(History(metric))
            lanes.append(
                Lane(
                    state=lane.initial_state(),
                    hyperparams=lane.hyperparams,
                    feed=feeds[seed],
                    plan=replace(lane.plan, scores_test=False, save_every=None, cycle_ends=()),
                    listener=histories[-1],
                    should_stop=lambda: False,
                )
            )
    mode = choose_lane_mode(experiment.device.platform, experiment.plan.dispatch)
    ends = train_lanes(experiment.static, lanes, mode=mode)
    curves = [[(step, float(value)) for step, value in h.evaluations] for h in histories]
    finals = [
        curve[-1][1] if end.failure is None and curve else float("nan")
        for curve, end in zip(curves, ends, strict=True)
    ]
    count = len(SEEDS)
    return {
        "final": [finals[i : i + count] for i in range(0, len(finals), count)],
        "curves": [curves[i : i + count] for i in range(0, len(curves), count)],
    }


def policy_overrides(policy: str, rate: float) -> list[str]:
    """The overrides that choose ``policy`` with ``rate`` as its highest."""
    chosen = [f"scheduler={policy}", f"scheduler.{HIGHEST.get(policy, 'max_lr')}={rate}"]
    if policy in WITH_BASE:
        chosen.append(f"scheduler.base_lr={rate * BASE_SHARE}")
    return chosen


def range_tested(experiment: Experiment, overrides: Sequence[str], policy: str) -> dict[str, Any]:
    """What the range test finds, and what others' rules read from the same curves."""
    config = configure(*overrides, "scheduler=auto", f"scheduler.policy={policy}")
    settings = settings_of(config.auto.settings.range_test)
    found = run_range_test(experiment.under(config.scheduler), settings, should_stop=lambda: False)
    peers = {
        name: [rule(curve.rates, curve.losses) for curve in found.curves]
        for name, rule in PEERS.items()
    }
    answer = found.answer if isinstance(found.answer, Answer) else None
    return {
        "answer": None if answer is None else asdict(answer),
        "reason": None if answer is not None else found.answer.reason,
        "before": asdict(found.found),
        "scores": {str(multiple): list(scores) for multiple, scores in found.scores.items()},
        "curves": [[list(curve.rates), list(curve.losses)] for curve in found.curves],
        "updates": found.updates,
        "test_updates": sum(len(curve.losses) for curve in found.curves),
        "peers": {
            name: float(np.median(rates)) if None not in rates else None
            for name, rates in peers.items()
        },
    }


def as_answer(stored: dict[str, Any]) -> Answer:
    """An answer that was stored as JSON."""
    spreads = {name: Spread(**stored[name]) for name in ("base_lr_spread", "max_lr_spread")}
    return Answer(**stored | spreads | {"reasons": tuple(stored["reasons"])})


def updates_to(curve: Sequence[Sequence[float]], target: float, sign: int) -> float:
    """The updates after which a curve first reaches ``target``; infinite if it never does."""
    return next((step for step, value in curve if sign * value >= sign * target), float("inf"))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Prints all rows, and in how many combinations auto reaches the figures it is held to."""
    print(
        f"{'combination':26}{'method':26}{'rate':>10}{'final':>9}{'to grid':>9}{'cost':>10}"
        f"{'of grid':>8}{'updates to target':>19}"
    )
    for row in rows:
        rate = "" if row["rate"] is None else f"{row['rate']:.3g}"
        print(
            f"{row['combination']:26}{row['method']:26}{rate:>10}{row['final']:>9.4f}"
            f"{row['difference']:>+9.4f}{row['updates']:>10,}{row['cost']:>8.1%}{row['time']:>19,.0f}"
        )
    by_name = {(row["combination"], row["method"]): row for row in rows}
    names = list(dict.fromkeys(row["combination"] for row in rows))
    close = [name for name in names if is_close(by_name.get((name, "auto")), by_name[name, "grid"])]
    print(f"auto is within a point (5% of a loss) of the grid in {len(close)} of {len(names)}")
    cheap = [name for name in names if cost(by_name.get((name, "auto"))) <= 0.1]
    print(f"auto costs at most a tenth of the grid's updates in {len(cheap)} of {len(names)}")
    for method, other in itertools.product(("auto", "grid, soonest"), ("default", "constant")):
        faster = [n for n in names if is_faster(by_name.get((n, method)), by_name[n, other])]
        print(
            f"{method} reaches the target at least 1.6 times sooner than {other} in {len(faster)} "
            f"of {len(names)}"
        )


def is_close(auto: dict[str, Any] | None, grid: dict[str, Any]) -> bool:
    """Whether auto's final metric is within a point of an accuracy, or 5% of a loss."""
    if auto is None or not np.isfinite(auto["final"]):
        return False
    if auto["highest"]:
        return auto["final"] >= grid["final"] - 0.01
    return auto["final"] <= 1.05 * grid["final"]


def is_faster(found: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    """Whether a method reaches the target at least 1.6 times sooner than the other."""
    return found is not None and np.isfinite(found["time"]) and other["time"] >= 1.6 * found["time"]


def cost(auto: dict[str, Any] | None) -> float:
    return float("inf") if auto is None else auto["cost"]


if __name__ == "__main__":
    main()
