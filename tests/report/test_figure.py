"""Figures as PNG."""

import warnings

import pytest

from runner.report.figure import as_png, new_figure


@pytest.mark.parametrize("text", ["\x1b[2Jx", "日本", "\ue000"])
def test_any_name_can_be_drawn_without_a_warning(text):
    """Names of options and classes come from files; a warning would show them to the terminal."""
    figure = new_figure(figsize=(1, 1))
    axes = figure.add_subplot()
    axes.set_title(text)
    axes.plot([0, 1], label=text)
    axes.legend()
    axes.set_xticks([0], [text])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_png(figure).startswith(b"\x89PNG")
