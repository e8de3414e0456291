"""Kills runs with SIGKILL at random times, resumes them, and compares them with undisturbed ones.

Runs with three optimizers take turns. A kill comes at a time drawn uniformly from the length of
the undisturbed process, imports and compilation included; about half of the runs, drawn at random,
are killed a second time. Each run is resumed to its end with ``resume=auto``. Prints a line for
each run and a table: whether all parameters are equal to the bit, whether TensorBoard has one point
per step, how many checkpoints that had been seen were lost, and how many steps were done twice.
Exits with 1 if anything differs.

With ``--default-interval COUNT``, kills one long run that many times instead, 0 to 90 s after
each start. The run saves at the default interval of 30 s. Prints how many seconds of training, up
to the last step that was logged, were lost by each kill.

    python benchmarks/kill_resume.py [--seed 0] [--count 100]
    python benchmarks/kill_resume.py --default-interval 10 [--seed 0]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runner.records.checkpoints import Checkpoints

START = [sys.executable, "-m", "runner", "resume=auto"]
STEPS, SAVE_EVERY = 1000, 100
COMMON = (
    f"training.steps={STEPS}",
    f"checkpoint.every={SAVE_EVERY}",
    "training.eval_every=250",
    "scheduler.step_size_up=100",
    "scheduler.step_size_down=100",
    "model.hidden=[16]",
)
OPTIMIZERS = {
    "sgd": (),
    "adam, groups": (
        "optimizer=adam",
        "optimizer.groups={head: Dense_1/*}",
        "scheduler.base_lr={head: 0.001, default: 0.0001}",
        "scheduler.max_lr={head: 0.01, default: 0.001}",
    ),
    "lamb, average, accumulation": (
        "optimizer=lamb",
        "scheduler.base_lr=0.0001",
        "scheduler.max_lr=0.002",
        "training.ema_decay=0.99",
        "training.accumulate=2",
        "training.batch_size=16",
    ),
}

# Of which 1% takes less than 30 s; only some steps are logged, as TensorBoard is slow to read all.
LONG_RUN = ("training.steps=3000000", "training.log_every=1000")
LONGEST_DELAY = 90.0  # in seconds: three intervals


@dataclass
class Tally:
    """What was seen of the runs with one optimizer."""

    sha256: str
    seconds: float
    kills: int = 0
    before_first_save: int = 0
    runs: int = 0
    equal: int = 0
    one_point_per_step: int = 0
    lost_checkpoints: int = 0
    repeated: list[int] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.equal == self.one_point_per_step == self.runs and not self.lost_checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills runs at random times and resumes them.")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random kill times")
    parser.add_argument("--count", type=int, default=100, help="how many kills")
    parser.add_argument("--default-interval", type=int, metavar="COUNT", help="kills of a long run")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    if given.default_interval:
        measure_lost_work(given.default_interval, rng)
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        tallies = {name: undisturbed(root, name) for name in OPTIMIZERS}
        number = 0
        while (left := given.count - sum(t.kills for t in tallies.values())) > 0:
            name = list(OPTIMIZERS)[number % len(OPTIMIZERS)]
            kills = 1 + (left > 1 and rng.random() < 0.5)
            trial(root / f"run{number}", name, tallies[name], rng, kills)
            number += 1
    show(tallies)
    sys.exit(0 if all(tally.is_clean for tally in tallies.values()) else 1)


def measure_lost_work(count: int, rng: random.Random) -> None:
    """Kills a run that saves by the clock, and prints how much of its training each kill cost."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, lost = Path(scratch) / "run", []
        for number in range(count):
            delay = rng.uniform(0, LONGEST_DELAY)
            started = [*START, f"hydra.run.dir={folder}", *LONG_RUN]
            acknowledged = kill_after(delay, started, folder)
            saved = Checkpoints(folder).steps()
            newest = saved[-1] if saved else 0
            if acknowledged and newest < max(acknowledged):
                sys.exit(f"checkpoint {max(acknowledged)} is lost")
            times = [event.wall_time for event in loss_events(folder) if event.step >= newest]
            lost.append(max(times) - min(times) if times else 0.0)
            print(
                f"kill {number + 1}, after {delay:.1f} s: checkpoint {newest}, "
                f"{lost[-1]:.1f} s lost",
                flush=True,
            )
        print(f"most work lost: {max(lost):.1f} s in {count} kills")


def undisturbed(root: Path, name: str) -> Tally:
    """Runs one optimizer without a kill, twice, as only the second one finds compiled programs."""
    for attempt in ("cold", "whole"):
        started = perf_counter()
        folder = root / f"{attempt}-{name.replace(', ', '-')}"
        finish(folder, name)
        seconds = perf_counter() - started
    tally = Tally(summary(folder)["params_sha256"], seconds)
    print(f"{name}: undisturbed in {seconds:.1f} s, {tally.sha256[:12]}", flush=True)
    return tally


def trial(folder: Path, name: str, tally: Tally, rng: random.Random, kills: int) -> None:
    """One run that is killed and resumed ``kills`` times, and then resumed to its end."""
    told = []
    for _ in range(kills):
        delay = rng.uniform(0, tally.seconds)
        acknowledged = kill_after(delay, command(folder, name), folder)
        saved = Checkpoints(folder).steps()
        newest = saved[-1] if saved else 0
        tally.kills += 1
        tally.before_first_save += not saved
        tally.lost_checkpoints += bool(acknowledged) and newest < max(acknowledged)
        done = logged_steps(folder)
        tally.repeated.append(max(0, (done[-1] + 1 if done else 0) - newest))
        told.append(f"{delay:.2f} s (checkpoint {newest}, {tally.repeated[-1]} steps repeated)")
    finish(folder, name)
    tally.runs += 1
    is_equal = summary(folder)["params_sha256"] == tally.sha256
    has_all = logged_steps(folder) == list(range(STEPS))
    tally.equal += is_equal
    tally.one_point_per_step += has_all
    verdict = "equal" if is_equal else "DIFFERS"
    points = "one point per step" if has_all else "POINTS DIFFER"
    print(f"{name}: killed after {', '.join(told)}: {verdict}, {points}", flush=True)


def command(folder: Path, name: str) -> list[str]:
    return [*START, f"hydra.run.dir={folder}", *COMMON, *OPTIMIZERS[name]]


def kill_after(delay: float, started: list[str], folder: Path) -> set[int]:
    """Kills a run after that many seconds; returns the steps of the checkpoints seen until then."""
    log = folder.with_suffix(".log")
    seen: set[int] = set()
    with log.open("w") as output:
        process = subprocess.Popen(started, stdout=output, stderr=output)
        deadline = perf_counter() + delay
        while (left := deadline - perf_counter()) > 0 and process.poll() is None:
            seen |= set(Checkpoints(folder).steps())
            sleep(min(left, 0.005))
        process.kill()
        process.wait()
    return seen


def finish(folder: Path, name: str) -> None:
    done = subprocess.run(command(folder, name), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name}: exit code {done.returncode} in {folder}\n{done.stdout}{done.stderr}")


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def logged_steps(folder: Path) -> list[int]:
    """The steps that TensorBoard shows for the loss."""
    return [event.step for event in loss_events(folder)]


def loss_events(folder: Path) -> list:
    """What TensorBoard shows of the loss, with ``step`` and ``wall_time``."""
    if not folder.is_dir():
        return []
    events = EventAccumulator(os.fspath(folder), size_guidance={"scalars": 0}).Reload()
    return events.Scalars("train/loss") if "train/loss" in events.Tags()["scalars"] else []


def show(tallies: dict[str, Tally]) -> None:
    columns = ["optimizer", "kills (before the first save)", "runs", "equal to the bit"]
    columns += ["one point per step", "checkpoints lost", "most steps repeated"]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, t in tallies.items():
        repeated = max(t.repeated, default=0)
        print(
            f"| {name} | {t.kills} ({t.before_first_save}) | {t.runs} | {t.equal} "
            f"| {t.one_point_per_step} | {t.lost_checkpoints} | {repeated} |"
        )


if __name__ == "__main__":
    main()
