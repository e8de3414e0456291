"""The progress display: a bar on a terminal, about ten lines elsewhere, and never a failed run."""

import io
import logging
import re
import subprocess
import sys

import pytest
from rich.console import Console

from runner.report import progress as progress_module
from runner.report.progress import progress_display
from runner.report.text import duration, number

VALUES = {"train/loss": 0.25, "schedule/lr": 0.0843, "schedule/cycle": 3, "schedule/momentum": 0.9}


def terminal(width=80):
    screen = io.StringIO()
    return screen, Console(file=screen, force_terminal=True, width=width, color_system=None)


def plain():
    out = io.StringIO()
    return out, Console(file=out, width=80)


def last_frame(screen):
    """The two lines of the display as it was drawn last, without control sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()][-2:]


def test_without_a_terminal_there_are_about_ten_lines_with_the_first_and_the_last(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    out, console = plain()
    display = progress_display(2000, console=console)
    for step in range(7, 2001, 7):
        now[0] += 0.05
        display.update(step, VALUES, 12_000.0)
    display.update(2000, VALUES, 12_000.0)
    display.evaluation(2000, {"eval/loss": 0.104, "eval/accuracy": 0.9722})
    display.close()
    display.close()
    lines = out.getvalue().splitlines()
    assert 9 <= len(lines) <= 12
    first = " ".join(lines[0].split())
    assert first == "step 7/2,000 loss 0.2500 rate 0.08430 cycle 3 12,000 steps/s"
    assert re.fullmatch(
        r"step 2,000/2,000  loss 0\.2500    rate 0\.08430   cycle 3         12,000 steps/s"
        r"    in 0:14  eval loss 0\.1040  accuracy 0\.9722",
        lines[-1],
    )
    assert all(re.search(r"steps/s  +\d:\d\d left$", line) for line in lines[1:-1])


def test_a_line_shows_the_evaluation_after_its_own_step():
    out, console = plain()
    display = progress_display(100, console=console)
    for step in range(1, 41):
        display.update(step, VALUES, 10.0)
        if step % 10 == 0:
            display.evaluation(step, {"eval/accuracy": step / 100})
    display.close()
    lines = out.getvalue().splitlines()
    assert [re.search(r"step +(\d+)/", line)[1] for line in lines] == ["1", "10", "20", "30", "40"]
    found = [re.findall(r"accuracy (\S+)", line) for line in lines]
    assert found == [[], ["0.1000"], ["0.2000"], ["0.3000"], ["0.4000"]]


def test_a_slow_run_prints_a_line_per_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    out, console = plain()
    display = progress_display(1_000_000, console=console)
    for step in range(1, 31):
        now[0] += 10.0
        display.update(step, VALUES, 0.1)
    display.close()
    lines = out.getvalue().splitlines()
    assert [int(line.split("/")[0].split()[1]) for line in lines] == [1, 7, 13, 19, 25, 30]
    # 999,970 steps of 10 s each are 115 days and 17:41:40.
    assert lines[-1].endswith("0.1 steps/s  115d 17:41:40 left")


def test_the_time_left_excludes_compilation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    out, console = plain()
    display = progress_display(1000, console=console)

    def take(seconds, report, step, *figures):
        now[0] += seconds
        report(step, *figures)

    take(30.0, display.update, 100, VALUES, None)  # with the compilation of a step
    take(1.0, display.update, 200, VALUES, 100.0)
    take(20.0, display.evaluation, 200, {"eval/loss": 0.1})  # with that of an evaluation
    take(1.0, display.update, 300, VALUES, 100.0)
    take(0.5, display.evaluation, 300, {"eval/loss": 0.1})
    take(1.0, display.update, 400, VALUES, 100.0)
    display.close()
    found = [re.findall(r"(\S+) left", line) for line in out.getvalue().splitlines()]
    # At 100 steps per second, 800 steps take 8 s. At step 400, the 300 steps since the first update
    # have taken 3 s and an evaluation of 0.5 s, so the other 600 take 7 s.
    assert found == [[], ["0:08"], ["0:09"], ["0:07"]]


def test_the_time_left_is_not_estimated_too_early(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    out, console = plain()
    display = progress_display(1000, console=console)
    for seconds, step in ((5.0, 100), (0.1, 200), (0.2, 300)):
        now[0] += seconds
        display.update(step, VALUES, 1000.0)
    display.close()
    found = ["left" in line for line in out.getvalue().splitlines()]
    assert found == [False, False, True]


def test_the_bar_shows_loss_rate_cycle_speed_and_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    screen, console = terminal()
    display = progress_display(2000, console=console)
    assert last_frame(screen)[1] == "compiling the first steps"
    for step in (500, 1000):
        now[0] += 60.0
        display.update(step, VALUES, 11_930.4)
        display.evaluation(step, {"eval/loss": 0.104, "eval/accuracy": 0.9722})
    now[0] += 1.0
    display.update(1000, VALUES, 11_930.4)
    bar, figures = last_frame(screen)
    # 500 steps in the 61 s since the first update leave 122 s for the other 1,000.
    assert re.fullmatch(r"━+╺?[━ ]* +50%  1,000/2,000  11,930 steps/s  2:02 left", bar)
    shown = " ".join(figures.split())
    assert shown == "loss 0.2500 rate 0.08430 cycle 3 eval loss 0.1040 accuracy 0.9722"
    assert len(bar) <= 80
    assert len(figures) <= 80
    display.close()


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_the_bar_fits_terminals_of_any_width(width):
    screen, console = terminal(width)
    display = progress_display(2_000_000, console=console)
    display.update(1_234_567, VALUES, 123_456.0)
    display.evaluation(1_234_567, {"eval/loss": 0.104, "eval/accuracy": 0.9722})
    display.close()
    bar, figures = last_frame(screen)
    assert len(bar) <= width
    assert len(figures) <= width
    assert "61%" in bar


def test_the_bar_is_redrawn_at_most_five_times_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    screen, console = terminal()
    display = progress_display(1000, console=console)
    for step in range(1, 1001):
        now[0] += 0.001
        display.update(step, VALUES, 1000.0)
    drawn = screen.getvalue().count("%")
    assert drawn <= 7  # one second: the first, five more and one for the edges
    display.close()
    assert "100%" in last_frame(screen)[0]


def test_log_lines_pass_above_the_bar_and_return_to_their_stream(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    handler = logging.StreamHandler(screen)
    logger = logging.getLogger("runner")
    logger.addHandler(handler)
    try:
        console = Console(file=screen, force_terminal=True, width=80, color_system=None)
        display = progress_display(10, console=console)
        display.update(5, VALUES, 1.0)
        logger.warning("the disk is full")
        bar, figures = last_frame(screen)
        assert "50%" in bar
        assert figures.startswith("loss")
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen.getvalue())
        assert "\nthe disk is full" in text.replace("\r", "\n")
        display.close()
        assert handler.stream is screen
        assert sys.stderr is screen
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("closed file")])
def test_a_display_that_breaks_stops_without_raising(live, error, monkeypatch):
    class Broken(io.StringIO):
        working = True

        def write(self, text):
            if not self.working:
                raise error
            return super().write(text)

    screen = Broken()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    display = progress_display(10, console=Console(file=screen, force_terminal=live, width=80))
    screen.working = False
    for step in range(1, 11):
        display.update(step, VALUES, 1.0)
        display.evaluation(step, {"eval/loss": 1.0})
    display.close()


@pytest.mark.slow
def test_a_reader_that_leaves_early_does_not_end_the_run():
    code = """if True:
        import sys
        from rich.console import Console
        from runner.report.progress import progress_display
        display = progress_display(100_000, console=Console())
        for step in range(1, 100_001):
            display.update(step, {"train/loss": 1.0}, 1.0)
        display.close()
        print("trained on", file=sys.stderr)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "trained on\n"
    process.stderr.close()
    assert process.wait(20) == 0


def test_an_ascii_terminal_gets_ascii():
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    display = progress_display(10, console=Console(file=screen, force_terminal=True, width=80))
    display.update(5, VALUES, 1.0)
    display.close()
    assert b"50%" in screen.buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.2500"),
        (0.0, "0.000"),
        (1.25e-5, "1.250e-05"),
        (3, "3"),
        (float("nan"), "nan"),
        (3889.4, "3889"),
    ],
)
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (59.6, "1:00"), (750, "12:30"), (10_800, "3:00:00"), (2e5, "2d 7:33:20")],
)
def test_durations_are_formatted_like_a_clock(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("live", [True, False])
def test_without_cycles_none_is_shown(live):
    screen, console = terminal() if live else plain()
    display = progress_display(10, console=console, has_cycles=False)
    display.update(10, VALUES, 1.0)
    display.close()
    assert "rate 0.08430" in screen.getvalue()
    assert "cycle" not in screen.getvalue()


def test_the_columns_of_plain_lines_stay_where_they_are():
    out, console = plain()
    display = progress_display(40, console=console)
    for step, value in (10, 0.25), (20, 1.25e-5), (30, 3889.4), (40, 2.5e11):
        figures = {"train/loss": value, "schedule/lr": value, "schedule/cycle": 3}
        display.update(step, figures, 10.0)
    display.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert len({(line.index("rate"), line.index("cycle")) for line in lines}) == 1
    assert "loss 1.25e-05  rate 1.25e-05  cycle 3" in lines[1]
    assert "loss 3889      rate 3889" in lines[2]


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_narrow_terminal_shows_fewer_figures_and_cuts_none(width):
    screen, console = terminal(width)
    display = progress_display(100, console=console)
    display.update(50, {**VALUES, "train/loss": 3889.4}, 10.0)
    display.evaluation(50, {"eval/accuracy": 0.9722, "eval/loss": 0.104})
    display.close()
    _, figures = last_frame(screen)
    shown = " ".join(figures.split())
    everything = "loss 3889 rate 0.08430 cycle 3 accuracy 0.9722 eval loss 0.1040"
    assert everything.startswith(shown)
    assert shown == everything or everything[len(shown)] == " "
    assert re.search(r"\d$", shown)


def test_the_metric_that_ranks_evaluations_comes_first():
    screen, console = terminal(60)
    display = progress_display(100, console=console, metric="eval/rmse")
    display.update(50, {"train/loss": 0.5, "schedule/lr": 0.1}, 10.0)
    metrics = {"eval/loss": 0.25, "eval/mae": 3.0, "eval/r2": 0.75, "eval/rmse": 4.5}
    display.evaluation(50, {**metrics, "test/rmse": 5.0})
    display.close()
    shown = " ".join(last_frame(screen)[1].split())
    assert shown == "loss 0.5000 rate 0.1000 rmse 4.500 eval loss 0.2500"
