"""The limit on what settings expand to, and values of the environment in errors."""

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from runner.cli import interpolation
from runner.cli.interpolation import check_expansion, conceal, register_resolvers
from runner.errors import ConfigError

LIMIT = 1_000_000


def fits(settings):
    try:
        check_expansion(settings)
    except ConfigError as error:
        return "expands to more than 1,000,000 characters" not in error.problem
    return True


@pytest.mark.parametrize(
    ("settings", "over"),
    [
        # The root and the value cost 100 each, besides the characters of the value.
        (lambda length: {"a": "x" * length}, 200),
        (lambda length: {"a": ["x" * length]}, 300),
        (lambda length: {"a": {"b": "x" * length}}, 300),
        # The value is there twice: where it is written, and where it is referred to.
        (lambda length: {"a": "${b}", "b": "x" * (length // 2)}, 304),
    ],
)
def test_values_may_expand_to_a_million_characters(settings, over):
    assert fits(settings(LIMIT - over - 200))
    assert not fits(settings(LIMIT - over + 202))


@pytest.mark.parametrize(
    "reference",
    ["${a.b}", "${.b}", "${..a.b}", "${a[b]}", "${ a.b }", "${hydra:a.b}", "${x}${a.b}"],
)
def test_every_way_to_refer_to_a_setting_counts(reference):
    settings = {"a": {"b": "x" * 400_000, "c": reference * 3}, "hydra": {"a": {"b": "y" * 400_000}}}
    assert fits({**settings, "a": {**settings["a"], "c": "${nope}"}})
    assert not fits(settings)


def test_a_reference_to_hydras_section_counts():
    assert not fits({"c": "${hydra:a.b}" * 2, "hydra": {"a": {"b": "y" * 400_000}}})
    assert fits({"c": "${oc.env:a.b}" * 2, "hydra": {"a": {"b": "y" * 400_000}}})


def test_a_reference_to_an_item_of_a_list_counts():
    assert not fits({"a": ["x" * 400_000], "b": "${a.0}${a[0]}"})
    assert fits({"a": ["x" * 400_000, ""], "b": "${a.1}${a[1]}"})


def test_values_that_refer_to_themselves_are_left_to_omegaconf():
    assert fits({"a": "${b}", "b": "${a}"})


def test_an_interpolation_within_a_key_is_refused():
    with pytest.raises(ConfigError, match=r"^a\.b: has an interpolation within a key"):
        check_expansion({"a": {"b": "${x.${y}}"}, "x": 1, "y": "z"})
    assert fits({"a": "${oc.decode:${oc.env:B}}"})


@pytest.mark.parametrize("text", ["{a: 1}", "[{a: 1}]", "[[1]]", "[1, {}]"])
def test_what_is_decoded_is_a_plain_value_or_a_list_of_them(text, monkeypatch):
    register_resolvers()
    monkeypatch.setattr(interpolation, "_read_from_environment", {})  # for this test alone
    monkeypatch.setenv("TEXT", text)
    with pytest.raises(InterpolationResolutionError, match="gives a number, a string or a list"):
        OmegaConf.select(OmegaConf.create({"a": "${oc.decode:${oc.env:TEXT}}"}), "a")


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("a b", "a b"), ("[1, x]", [1, "x"]), ("[]", [])]
)
def test_numbers_strings_and_lists_of_them_are_decoded(text, value, monkeypatch):
    register_resolvers()
    monkeypatch.setattr(interpolation, "_read_from_environment", {})  # for this test alone
    monkeypatch.setenv("TEXT", text)
    assert OmegaConf.create({"a": "${oc.decode:${oc.env:TEXT}}"}).a == value


@pytest.fixture
def environment(monkeypatch):
    known = {}
    monkeypatch.setattr(interpolation, "_read_from_environment", known)
    return known


@pytest.mark.parametrize(
    ("value", "line", "shown"),
    [
        ("hunter2", "seed: 'xhunter2y' is", "seed: 'x${oc.env:S}y' is"),
        ("abc", "seed: 'abc' is no abcd", "seed: '${oc.env:S}' is no abcd"),
        ("0.5", "seed: 0.5 is not 10.5", "seed: ${oc.env:S} is not 10.5"),
        ("abcd", "seed: 'abcde'", "seed: '${oc.env:S}e'"),
        ("hunter2hunter2", "seed: hunte... is", "seed: ${oc.env:S}... is"),
        ("hunter2hunter2", "seed: hun... is", "seed: hun... is"),
        ("a\nb\nc", "seed: 'a\\nb\\nc'", "seed: '${oc.env:S}'"),
        ("max_lr", "scheduler.max_lr: max_lr is", "scheduler.max_lr: ${oc.env:S} is"),
        ("", "seed: '' is", "seed: '' is"),
    ],
)
def test_a_value_of_the_environment_is_shown_by_the_name_of_its_variable(
    environment, value, line, shown
):
    environment[value] = "S"
    assert conceal(line) == shown


def test_a_default_stands_in_for_a_variable_that_is_not_set(environment, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("SET", "x")
    assert interpolation._env("NOT_SET", 5) == "5"
    assert interpolation._env("NOT_SET", None) is None
    with pytest.raises(ConfigError, match="the environment variable NOT_SET is not set; set NOT_"):
        interpolation._env("NOT_SET")
    assert environment == {}
    assert interpolation._env("SET", 5) == "x"
    assert environment == {"x": "SET"}
