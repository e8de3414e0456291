"""The table of the jobs of a multirun, the best one first."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.config import Ranking
from runner.records.results import JobResult
from runner.report.text import duration, metric_value

# Further jobs are only counted.
MOST_ROWS = 30

_MINUTE = 60


def print_ranking(
    console: Console, results: Sequence[JobResult], ranking: Ranking, *, title: str
) -> None:
    """Prints the jobs by the best value of the metric; those that did not finish come last.

    In a narrow terminal, the folder of a job is below its overrides.
    """
    ranked = _ranked(results, ranking)[:MOST_ROWS]
    table = _table(ranked, ranking.metric, stacked=False)
    if _width(console, table) > console.width:
        table = _table(ranked, ranking.metric, stacked=True)
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    if more := len(results) - len(ranked):
        console.print(Text(f"and {more:,} more"), soft_wrap=True)


def _ranked(results: Sequence[JobResult], ranking: Ranking) -> list[tuple[str, JobResult]]:
    """Each job with the overrides that not all jobs have."""
    common = set(results[0].overrides).intersection(*(result.overrides for result in results))

    def order(result: JobResult) -> tuple[bool, bool, float]:
        value = _value(result, ranking.metric)
        unknown = value is None
        return result.status != "finished", unknown, 0.0 if value is None else -ranking.sign * value

    return [
        (" ".join(line for line in result.overrides if line not in common), result)
        for result in sorted(results, key=order)
    ]


def _table(ranked: Sequence[tuple[str, JobResult]], metric: str, *, stacked: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("job", overflow="fold")
    for name in (metric, "steps", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    if not stacked:
        table.add_column("folder", overflow="fold")
    for overrides, result in ranked:
        folder = Text(str(result.folder))
        folder.stylize("dim")
        job = Text.assemble(overrides, "\n", folder) if stacked else Text(overrides)
        row = [job, _shown(result, metric), f"{result.steps:,}", _time(result.seconds)]
        table.add_row(*row, *([] if stacked else [folder]))
    return table


def _width(console: Console, table: Table) -> int:
    """The width that ``table`` takes if no line of it is folded."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _value(result: JobResult, metric: str) -> float | None:
    is_known = result.best is not None and result.best["metric"] == metric
    return result.best["value"] if result.best and is_known else None


def _shown(result: JobResult, metric: str) -> Text:
    if result.status != "finished":
        return Text(result.status, style="yellow")
    value = _value(result, metric)
    if value is None:
        return Text("")
    return Text(metric_value(metric, value))


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _MINUTE else duration(seconds)
