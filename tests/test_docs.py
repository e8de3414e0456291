"""The generated pages are current; pictures show the schedules, and formulas compute them."""

import importlib.util
import inspect
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from referencing import Registry, Resource

from runner import registry

sys.path.insert(0, str(Path(__file__).parent / "schedules"))
from schedule_cases import discovered

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "scheduler").iterdir())
ALL_OPTIONS = sorted(path for group in registry.GROUPS for path in (CONF / group).iterdir())


def script(name):
    """The module ``docs/<name>.py``."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = script("schedulers")

# Every case of every formula; where a keyword is not given, the factory's own default holds.
FORMULAS = [(name, arguments) for name, case in discovered().items() for arguments in case.formulas]


@pytest.fixture(scope="module")
def curves():
    return docs.curves()


@pytest.fixture(scope="module")
def pictures(curves):
    return docs.pictures(curves)


@pytest.mark.slow
def test_the_page_is_what_the_script_writes(curves):
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(curves), RUN_IT


@pytest.mark.slow
def test_every_option_has_a_row_settings_and_a_picture_and_nothing_else_has(curves):
    text = docs.PAGE.read_text(encoding="utf-8")
    assert sorted(re.findall(r'<img src="schedulers/(\w+)\.png"', text)) == OPTIONS
    assert sorted(re.findall(r"^### `(\w+)`$", text, re.MULTILINE)) == OPTIONS
    assert sorted(path.name for path in docs.PICTURES.iterdir()) == [f"{o}.png" for o in OPTIONS]
    assert sorted(curves) == OPTIONS


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_each_picture_shows_the_schedule(option, pictures):
    png = (docs.PICTURES / f"{option}.png").read_bytes()
    assert docs.difference(png, pictures[option]) <= docs.TOLERANCE, RUN_IT
    assert len(png) < 15_000


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_formula_on_the_page_is_computed(curves):
    # What reduce_on_plateau computes depends on evaluations; its own test does the arithmetic.
    computed = {name for name, _ in FORMULAS} | {"reduce_on_plateau"}
    assert {curve.name for curve in curves.values()} == computed


@pytest.mark.parametrize("option", OPTIONS)
def test_the_settings_are_those_of_the_yaml(option):
    own = yaml.safe_load((CONF / "scheduler" / f"{option}.yaml").read_text(encoding="utf-8"))
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


def test_the_table_of_options_in_the_readme_is_what_the_script_writes():
    options = script("options")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page == options.with_table(page), "run python docs/options.py, and commit the README"


@pytest.mark.parametrize("group", registry.GROUPS)
def test_the_default_is_the_first_option_of_its_group(group):
    entries = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    (default,) = (e[group] for e in entries if isinstance(e, dict) and group in e)
    options = script("options").options(group)
    assert options[0] == default
    assert sorted(options) == sorted(path.stem for path in (CONF / group).iterdir())


@pytest.mark.parametrize("page", ["", "{begin}", "{end}{begin}", "{begin}{begin}{end}"])
def test_a_readme_without_a_place_for_the_table_is_refused(page):
    options = script("options")
    page = page.format(begin=f"{options.BEGIN}\n", end=f"\n{options.END}\n")
    with pytest.raises(ValueError, match=r"README\.md must have one"):
        options.with_table(page)


def test_the_stub_of_schedules_is_what_the_script_writes():
    stub = script("stub")
    assert stub.PATH.read_text(encoding="utf-8") == stub.text(), "run python docs/stub.py"


def test_the_page_of_faults_is_what_the_script_writes():
    faults = script("faults")
    assert faults.PAGE.read_text(encoding="utf-8") == faults.page(), "run python docs/faults.py"


def test_the_schema_is_what_the_script_writes():
    schema = script("schema")
    found = {path.name: path.read_text(encoding="utf-8") for path in schema.FOLDER.iterdir()}
    assert found == schema.schemas(), "run python docs/schema.py, and commit what it changed"


@pytest.mark.parametrize("path", ALL_OPTIONS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_option_follows_the_schema(path):
    assert schema_errors(path.parent.name, yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_the_default_configuration_follows_the_schema_as_written_and_as_composed():
    written = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config"))
    assert schema_errors("config", written) == []
    assert schema_errors("config", composed) == []


@pytest.mark.parametrize(
    ("group", "key", "section"),
    [
        ("scheduler", "max_lr", {"name": "cyclic", "max_lr": "high"}),
        ("scheduler", "max_lr", {"name": "cyclic", "max_lr": 0}),
        ("scheduler", "mode", {"name": "cyclic", "mode": "triangular3"}),
        ("scheduler", "step_size_up", {"name": "cyclic", "step_size_up": "5 epochs"}),
        ("scheduler", "step_size_up", {"name": "cyclic", "step_size_up": 2.5}),
        ("scheduler", "cycle_momentum", {"name": "cyclic", "cycle_momentum": "on"}),
        ("scheduler", "milestones", {"name": "multistep", "milestones": []}),
        ("scheduler", "", {"name": "cyclic", "T_max": 100}),
        ("scheduler", "", {"defaults": ["cosine"], "T_maks": 100}),
        ("optimizer", "momentum", {"name": "sgd", "momentum": 1}),
        ("optimizer", "frozen", {"frozen": "head"}),
        ("optimizer", "lookahead.sync_period", {"lookahead": {"sync_period": 0}}),
        ("optimizer", "lookahead", {"lookahead": {"period": 5}}),
        ("model", "hidden", {"name": "mlp", "hidden": [64, 0]}),
        ("config", "seed", {"seed": -1}),
        ("config", "training.dispatch", {"training": {"dispatch": "fast"}}),
        ("config", "training", {"training": {"epoch": 3}}),
        ("config", "scheduler.gamma", {"scheduler": {"name": "cyclic", "gamma": "x"}}),
    ],
)
def test_the_schema_refuses_what_the_runner_refuses(group, key, section):
    assert schema_errors(group, section) == [key]


def test_a_value_may_be_an_interpolation():
    assert schema_errors("config", {"scheduler": {"max_lr": "${scheduler.base_lr}"}}) == []


RUN_IT = "run python docs/schedulers.py, look at what it changed, and commit it"


def schema_errors(name, section):
    """The keys of a section that ``docs/schema/<name>.json`` refuses; the section itself is ''."""
    schemas = {
        path.name: Resource.from_contents(json.loads(path.read_text(encoding="utf-8")))
        for path in (ROOT / "docs" / "schema").iterdir()
    }
    validator = Draft202012Validator(
        schemas[f"{name}.json"].contents, registry=Registry().with_resources(schemas.items())
    )
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(section)]


def by_hand(formula, **names):
    """The names that a formula defines: Python's arithmetic, with cases below each other."""
    names = {key: list(v.values()) if isinstance(v, dict) else v for key, v in names.items()}
    names |= {"cos": math.cos, "prod": math.prod, "π": math.pi}
    cases_in_a_row = re.sub(r"\n +", " else ", formula).replace(" otherwise", "")
    for line in cases_in_a_row.splitlines():
        function = re.fullmatch(r"(\w+)\((.+?)\) += (.+)", line)
        exec("{} = lambda {}: ({})".format(*function.groups()) if function else line, names)
    return names
