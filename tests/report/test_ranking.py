"""The table that ends a multirun."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from runner.config import Ranking
from runner.records.results import JobResult
from runner.report.ranking import MOST_ROWS, print_ranking


def job(number, overrides, value=None, *, status="finished", metric="eval/accuracy", seconds=1.25):
    best = None if value is None else {"metric": metric, "value": value, "step": 5}
    folder = Path(f"{number}_{overrides.replace(' ', ',')}")
    lines = (*overrides.split(), "training.steps=880")
    return JobResult(folder, lines, status, 880, best, seconds)


RESULTS = [
    job(0, "scheduler=triangular seed=0", 0.975),
    job(1, "scheduler=triangular2 seed=0", 0.99, seconds=75),
    job(2, "scheduler=one_cycle seed=0", 0.999, status="diverged"),
    job(3, "scheduler=constant seed=0", 0.5),
    job(4, "scheduler=linear seed=0", status="failed"),
]


def printed(results, *, width, metric="eval/accuracy"):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=False)
    order = Ranking(metric, highest=metric == "eval/accuracy")
    print_ranking(console, results, order, title=f"{len(results)} jobs in sweep")
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_wide_terminal_has_a_line_for_each_job():
    assert printed(RESULTS, width=100) == [
        "5 jobs in sweep",
        "job                    eval/accuracy  steps   time  folder",
        "scheduler=triangular2         99.00%    880   1:15  1_scheduler=triangular2,seed=0",
        "scheduler=triangular          97.50%    880  1.2 s  0_scheduler=triangular,seed=0",
        "scheduler=constant            50.00%    880  1.2 s  3_scheduler=constant,seed=0",
        "scheduler=one_cycle         diverged    880  1.2 s  2_scheduler=one_cycle,seed=0",
        "scheduler=linear              failed    880  1.2 s  4_scheduler=linear,seed=0",
    ]


def test_a_narrow_terminal_has_the_folder_below():
    lines = printed(RESULTS, width=60)
    assert lines[:4] == [
        "5 jobs in sweep",
        "job                             eval/accuracy  steps   time",
        "scheduler=triangular2                  99.00%    880   1:15",
        "1_scheduler=triangular2,seed=0",
    ]
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("width", [60, 100])
def test_nothing_is_cut(width):
    results = [job(n, f"optimizer.groups.a_long_name={'x' * 90} seed={n}", 0.5) for n in (1, 2)]
    text = "".join(line.split("  ")[0] for line in printed(results, width=width))
    assert "seed=2" in text
    assert max(map(len, printed(results, width=width))) <= width


def test_the_lowest_loss_is_the_best():
    results = [job(n, f"seed={n}", loss, metric="eval/loss") for n, loss in enumerate((0.3, 0.1))]
    _, header, best, _ = printed(results, width=80, metric="eval/loss")
    assert header.split() == ["job", "eval/loss", "steps", "time", "folder"]
    assert best.split()[:2] == ["seed=1", "0.1000"]


def test_the_worst_of_many_jobs_are_only_counted():
    results = [job(n, f"seed={n}", n / 1000) for n in range(MOST_ROWS + 5)]
    lines = printed(results, width=80)
    assert len(lines) == 2 + MOST_ROWS + 1
    assert lines[2].startswith(f"seed={MOST_ROWS + 4} ")
    assert lines[-1] == "and 5 more"
