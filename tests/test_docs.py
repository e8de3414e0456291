"""The page of all schedulers is current, its pictures show them, and its formulas compute them."""

import importlib.util
import inspect
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from runner import registry

sys.path.insert(0, str(Path(__file__).parent / "schedules"))
from schedule_cases import discovered

ROOT = Path(__file__).parents[1]
OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").iterdir())

spec = importlib.util.spec_from_file_location("docs_schedulers", ROOT / "docs" / "schedulers.py")
docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs)

# Every case of every formula; where a keyword is not given, the factory's own default holds.
FORMULAS = [(name, arguments) for name, case in discovered().items() for arguments in case.formulas]


@pytest.fixture(scope="module")
def curves():
    return docs.curves()


@pytest.fixture(scope="module")
def pictures(curves):
    return docs.pictures(curves)


def test_the_page_is_what_the_script_writes(curves):
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(curves), RUN_IT


def test_every_option_has_a_row_settings_and_a_picture_and_nothing_else_has(curves):
    text = docs.PAGE.read_text(encoding="utf-8")
    assert sorted(re.findall(r'<img src="schedulers/(\w+)\.png"', text)) == OPTIONS
    assert sorted(re.findall(r"^### `(\w+)`$", text, re.MULTILINE)) == OPTIONS
    assert sorted(path.name for path in docs.PICTURES.iterdir()) == [f"{o}.png" for o in OPTIONS]
    assert sorted(curves) == OPTIONS


@pytest.mark.parametrize("option", OPTIONS)
def test_each_picture_shows_the_schedule(option, pictures):
    png = (docs.PICTURES / f"{option}.png").read_bytes()
    assert docs.difference(png, pictures[option]) <= docs.TOLERANCE, RUN_IT
    assert len(png) < 15_000


@pytest.mark.parametrize(
    "changed",
    [
        lambda rates: rates * 0.99,
        lambda rates: np.roll(rates, 22),
        lambda rates: np.where(np.arange(len(rates)) < 660, rates, rates[0]),
    ],
    ids=["one percent lower", "an epoch later", "without the last cycle"],
)
def test_a_picture_of_another_schedule_is_told_apart(curves, pictures, changed):
    triangular = curves["triangular"]
    other = docs.Curve("cyclic", changed(triangular.rates).astype(np.float32), None)
    # The other one keeps the axes as they are.
    png = docs.pictures({"triangular": other, "one_cycle": curves["one_cycle"]})["triangular"]
    assert docs.difference(png, pictures["triangular"]) > docs.TOLERANCE


@pytest.mark.parametrize(("name", "arguments"), FORMULAS, ids=[name for name, _ in FORMULAS])
def test_each_formula_computes_the_rates_of_its_schedule(name, arguments):
    schedule = registry.schedulers.build(name, arguments)
    parameters = inspect.signature(registry.schedulers.get(name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    # As many steps as the pictures have, for which the schedules are compiled already.
    rates = np.asarray(schedule(np.arange(880)))
    momentum = schedule.momentum(np.arange(880)) if schedule.cycles_momentum else None
    for step in range(60):
        values = by_hand(docs.formula(name), step=step, **{**defaults, **arguments})
        assert rates[step] == pytest.approx(float(values["rate"]), rel=1e-6, abs=1e-9)
        if momentum is not None:
            assert momentum[step] == pytest.approx(values["momentum"], rel=1e-6)


def test_every_formula_on_the_page_is_computed(curves):
    assert {curve.name for curve in curves.values()} == {name for name, _ in FORMULAS}


@pytest.mark.parametrize("option", OPTIONS)
def test_the_settings_are_those_of_the_yaml(option):
    text = (ROOT / "conf" / "scheduler" / f"{option}.yaml").read_text(encoding="utf-8")
    own = yaml.safe_load(text)
    chosen = {}
    for entry in own.pop("defaults", []):
        if isinstance(entry, dict):
            ((place, part),) = entry.items()
            chosen[place.partition("@")[2]] = part
    lengths = {f"lengths.{key}": value for key, value in own.get("lengths", {}).items()}
    expected = {**chosen, **own, **lengths}
    expected.pop("name", None)
    found = {s.key: yaml.safe_load(s.default) for s in docs.settings(option)}
    assert found == expected | ({"lengths": None} if lengths else {})
    assert all(setting.comment for setting in docs.settings(option))


@pytest.mark.parametrize(
    ("docstring", "missing"),
    [
        ("One line.\n\n    Source: a paper.\n    ", "formula"),
        ("One line.\n\n    ::\n\n        rate = 1\n    ", "Source: "),
    ],
)
def test_a_schedule_without_formula_or_source_is_named(monkeypatch, docstring, missing):
    def plain():
        return None

    plain.__doc__ = docstring
    monkeypatch.setitem(registry.schedulers._factories, "plain", plain)
    with pytest.raises(ValueError, match=f"'plain' has no .*{missing}"):
        docs.formula("plain") and docs.source("plain")


RUN_IT = "run python docs/schedulers.py, look at what it changed, and commit it"


def by_hand(formula, **names):
    """The names that a formula defines: Python's arithmetic, with cases below each other."""
    names = {key: list(v.values()) if isinstance(v, dict) else v for key, v in names.items()}
    names |= {"cos": math.cos, "prod": math.prod, "π": math.pi}
    cases_in_a_row = re.sub(r"\n +", " else ", formula).replace(" otherwise", "")
    for line in cases_in_a_row.splitlines():
        function = re.fullmatch(r"(\w+)\((.+?)\) += (.+)", line)
        exec("{} = lambda {}: ({})".format(*function.groups()) if function else line, names)
    return names
