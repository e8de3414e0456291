"""Writes ``schedulers.md``, the table of all schedulers, and a picture of each schedule.

Formulas and sources come from the docstrings of the registered factories, settings and their
descriptions from the YAML of the options, and the curves from the schedules themselves.
"""

import html
import inspect
import io
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from pathlib import Path

import jax
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from runner import registry
from runner.cli.commands import configure
from runner.experiment.build import build
from runner.experiment.schedule import Clock, build_schedule
from runner.schedules import Schedule

sys.path.insert(0, str(Path(__file__).resolve().parent))
from options import options

DOCS = Path(__file__).resolve().parent
CONF = DOCS.parent / "conf" / "scheduler"
PAGE = DOCS / "schedulers.md"
PICTURES = DOCS / "schedulers"

# Settings for the pictures of options whose defaults do not show what they can do.
SHOWN_WITH = {"cyclic": 'scale_fn="sin(pi*x/5)"'}

# In pixels; the page shows pictures at half this size, for high-resolution screens.
PICTURE_WIDTH, PICTURE_HEIGHT = 440, 160
# Readable on light and dark pages; the background is transparent.
RATE_COLOUR, MOMENTUM_COLOUR, LINE_COLOUR = "#3b82f6", "#8b949e", "#8b949e40"
# On a scale from 0 to 1: versions of matplotlib differ by much less, a changed schedule by more.
TOLERANCE = 0.08

# Pattern in a source paragraph → link.
LINKS = {
    r"arXiv:([\d.]+\d)": r'<a href="https://arxiv.org/abs/\1">\g<0></a>',
    r"(?<=PyTorch's )\w+": r'<a href="https://docs.pytorch.org/docs/stable/generated/'
    r'torch.optim.lr_scheduler.\g<0>.html">\g<0></a>',
    r"(?<=optax's )\w+": r'<a href="https://optax.readthedocs.io/en/latest/api/'
    r'optimizer_schedules.html#optax.schedules.\g<0>">\g<0></a>',
    r"``(.+?)``": r"<code>\1</code>",
}

INTRODUCTION = """\
# Schedulers

<!-- Written by docs/schedulers.py: change the code, its docstrings or conf/, and run it again. -->

Choose a scheduler with `scheduler=NAME` and change a setting with `scheduler.SETTING=VALUE`. The
pictures show the learning rate (blue) over the {steps:,} steps of the default run, with default
settings unless the caption says otherwise. All have the same axes, with thin lines at 0, {half:g}
and {top:g}. Where momentum cycles by default, it is drawn in grey, from the lowest to the highest
line.

In the formulas, `step` is the number of completed updates, lengths are in steps, and names that a
formula does not define are settings. `python docs/schedulers.py` writes this page, and a test
checks that it is up to date.
"""


@dataclass(frozen=True, eq=False)
class Curve:
    """The values of a schedule over the steps of the default run.

    Attributes:
      name: the registered schedule that the option configures.
      rates: the rate of each step.
      momentum: the momentum of each step, or None where it is not cycled.
    """

    name: str
    rates: np.ndarray
    momentum: np.ndarray | None


@dataclass(frozen=True)
class Setting:
    """A key of an option's YAML with its default, both as written, and the comment above them."""

    key: str
    default: str
    comment: str


def main() -> None:
    """Writes the page, and each picture that differs visibly from the one on disk."""
    all_curves = curves()
    PAGE.write_text(page(all_curves), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for option, png in pictures(all_curves).items():
        path = PICTURES / f"{option}.png"
        if not (path.exists() and difference(path.read_bytes(), png) <= TOLERANCE):
            path.write_bytes(png)
    for path in set(PICTURES.iterdir()) - {PICTURES / f"{option}.png" for option in all_curves}:
        path.unlink()


def curves() -> dict[str, Curve]:
    """Option → its curve, in the order of the README's table."""
    lengths = build(configure(), jax.devices()[0]).lengths
    steps = np.arange(lengths.steps)

    def curve(option: str) -> Curve:
        extra = [f"scheduler.{SHOWN_WITH[option]}"] if option in SHOWN_WITH else []
        choice = configure(f"scheduler={option}", *extra).scheduler
        schedule: Schedule = build_schedule(
            choice, Clock(lengths.steps_per_epoch, total_steps=len(steps))
        )
        momentum = np.asarray(schedule.momentum(steps)) if schedule.cycles_momentum else None
        return Curve(choice.name, np.asarray(schedule(steps)), momentum)

    return {option: curve(option) for option in options("scheduler")}


def page(all_curves: Mapping[str, Curve]) -> str:
    """The text of ``schedulers.md``."""
    top = _top(all_curves)
    steps = len(next(iter(all_curves.values())).rates)
    introduction = INTRODUCTION.format(steps=steps, half=top / 2, top=top)
    settings = "\n".join(_settings_section(option) for option in all_curves)
    return f"{introduction}\n{_table(all_curves)}\n## Settings\n\n{settings}"


def pictures(all_curves: Mapping[str, Curve]) -> dict[str, bytes]:
    """Option → PNG of its picture; all pictures have the same axes."""
    top = _top(all_curves)
    return {option: _picture(curve, top) for option, curve in all_curves.items()}


def difference(png: bytes, other: bytes) -> float:
    """The largest difference between two pictures, from 0 to 1; 1 if their sizes differ.

    Compares means over squares of 4 by 4 pixels, which depend on the curve but hardly on how its
    edges are smoothed.
    """
    one, two = (imread(io.BytesIO(data)) for data in (png, other))
    if one.shape != two.shape:
        return 1.0
    ink = one * one[..., 3:] - two * two[..., 3:]
    rows, columns, channels = ink.shape
    squares = ink.reshape(rows // 4, 4, columns // 4, 4, channels).mean((1, 3))
    return float(np.abs(squares).max())


def formula(name: str) -> str:
    """The formula of a registered schedule: the first literal block of its docstring.

    Raises:
      ValueError: the docstring has no literal block.
    """
    return textwrap.dedent(_found(name, r"::\n\n((?: +.+\n)+)", "formula in a block after '::'"))


def source(name: str) -> str:
    """The source of a registered schedule: the paragraph of its docstring after ``Source:``.

    Raises:
      ValueError: the docstring has no such paragraph.
    """
    return _joined(_found(name, r"^Source: ((?:.+\n)+)", "paragraph that begins with 'Source: '"))


def about(option: str) -> str:
    """The comment at the top of an option's YAML."""
    return _comment(takewhile(lambda line: line.startswith("#"), _yaml(option)))


def settings(option: str) -> list[Setting]:
    """The settings in an option's own YAML, without inherited ones."""
    found, above, path = [], [], []
    for line in _yaml(option):
        entry = re.fullmatch(r"( *)(?:- /\w+@)?([\w.]+): ?(.*)", line)
        if entry:
            indent, key, default = entry.groups()
            path = [*path[: len(indent) // 2], key]
            found.append(Setting(".".join(path), default, _comment(above)))
        above = [*above, line] if line.lstrip().startswith("#") else []
    # The parts in the defaults list are settings too; the name belongs to the option itself.
    found = [replace(setting, key=setting.key.removeprefix("defaults.")) for setting in found]
    return [setting for setting in found if setting.key not in ("defaults", "name")]


def _found(name: str, pattern: str, what: str) -> str:
    text = inspect.getdoc(registry.schedulers.get(name)) or ""
    match = re.search(pattern, f"{text}\n", re.MULTILINE)
    if match is None:
        raise ValueError(f"the docstring of the scheduler {name!r} has no {what}")
    return match[1]


def _yaml(option: str) -> list[str]:
    return (CONF / f"{option}.yaml").read_text(encoding="utf-8").splitlines()


def _parents(option: str) -> list[str]:
    """The options whose settings an option inherits."""
    entries = [re.fullmatch(r"  - (\w+)", line) for line in _yaml(option)]
    return [entry[1] for entry in entries if entry and entry[1] != "_self_"]


def _comment(lines: Iterable[str]) -> str:
    return " ".join(line.strip().removeprefix("# ") for line in lines)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _table(all_curves: Mapping[str, Curve]) -> str:
    """The table in HTML, as formulas have several lines; a blank line would end it in Markdown."""
    rows = ["<table>", "<tr><th>scheduler</th><th>formula and source</th></tr>"]
    for name, group in groupby(all_curves, lambda option: all_curves[option].name):
        first, *others = map(_name_and_picture, group)
        origin = f'<td rowspan="{1 + len(others)}">\n{_formula_and_source(name)}\n</td>'
        rows += [f"<tr>\n{first}\n{origin}\n</tr>", *(f"<tr>\n{other}\n</tr>" for other in others)]
    return "\n".join([*rows, "</table>\n"])


def _name_and_picture(option: str) -> str:
    width = PICTURE_WIDTH // 2  # set on the cell as well, as a wide formula would squeeze it
    shown_with = f"<br><code>{SHOWN_WITH[option]}</code>" if option in SHOWN_WITH else ""
    return (
        f'<td width="{width}"><a href="#{option}"><code>{option}</code></a><br>'
        f'<img src="{PICTURES.name}/{option}.png" width="{width}"'
        f' alt="{html.escape(about(option))}">{shown_with}</td>'
    )


def _formula_and_source(name: str) -> str:
    text = html.escape(source(name), quote=False)
    for pattern, link in LINKS.items():
        text = re.sub(pattern, link, text)
    return f"<pre>{html.escape(formula(name), quote=False)}</pre>\n{text}"


def _settings_section(option: str) -> str:
    rows = [
        f"| `{setting.key}` | {f'`{setting.default}`' if setting.default else ''} "
        f"| {_with_code(setting.comment)} |\n"
        for setting in settings(option)
    ]
    head = "| setting | default | meaning |\n|---|---|---|\n"
    text = _with_code(about(option))
    for parent in _parents(option):
        text += f" The other settings are those of [`{parent}`](#{parent})."
    return f"### `{option}`\n\n{text}\n\n{head}{''.join(rows)}"


def _with_code(text: str) -> str:
    """``text`` with code formatting for what looks like a name or an override."""
    return re.sub(r"[\w.]*[_@=][\w.@=]*\w", r"`\g<0>`", text)


def _top(all_curves: Mapping[str, Curve]) -> float:
    """The highest rate of all curves, to three digits."""
    return float(f"{max(curve.rates.max() for curve in all_curves.values()):.3g}")


def _picture(curve: Curve, top: float) -> bytes:
    size = PICTURE_WIDTH / 100, PICTURE_HEIGHT / 100
    figure = Figure(figsize=size, dpi=100, facecolor="none")
    steps = np.arange(len(curve.rates))
    axes = figure.add_axes((0.01, 0.05, 0.98, 0.9), xlim=(0, len(steps) - 1), ylim=(0, top))
    axes.set_axis_off()
    for height in (0, top / 2, top):
        axes.axhline(height, color=LINE_COLOUR, linewidth=1.5, clip_on=False)
    if curve.momentum is not None:
        low, high = curve.momentum.min(), curve.momentum.max()
        share = (curve.momentum - low) / (high - low)
        axes.plot(steps, share * top, color=MOMENTUM_COLOUR, linewidth=1.5, clip_on=False)
    axes.fill_between(steps, curve.rates, color=RATE_COLOUR, alpha=0.15, linewidth=0)
    line = {"linewidth": 3, "solid_joinstyle": "round", "solid_capstyle": "round"}
    axes.plot(steps, curve.rates, color=RATE_COLOUR, clip_on=False, **line)
    png = io.BytesIO()
    # Without matplotlib's version in the file, equal pictures are equal files.
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    return png.getvalue()


if __name__ == "__main__":
    main()
