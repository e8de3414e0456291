"""Overrides of a command line, and settings that only a command line may give."""

import pytest

from runner.cli.overrides import named_plugins, parse, quoted, sign_of, without_swept
from runner.cli.reserved import reserved
from runner.errors import ConfigError


def test_an_override_has_at_most_8000_characters():
    assert len(parse(["seed=" + "x" * 7995])) == 1
    with pytest.raises(ConfigError, match=r"^seed: the value has 8,001 characters"):
        parse(["seed=" + "x" * 7996])
    with pytest.raises(ConfigError, match=r"^model: _target_ is not allowed"):
        parse(["model={_target_: x}"])


@pytest.mark.parametrize(
    ("line", "sign"),
    [
        ("experiment=smith2017", "+"),
        ("+experiment=smith2017", ""),
        ("scheduler=cosine", ""),
        ("scheduler={max_lr: 1}", ""),
        ("scheduler.max_lr=1", ""),
        ("scheduler.max_lr={a: 1}", "++"),
        ("scheduler.max_lr.a=1", "++"),
        ("optimizer.groups.a=x", "++"),
        ("+optimizer.groups.a=x", ""),
        ("~optimizer.groups.a", ""),
        ("model.hidden.a=1", ""),
        ("training.x={a: 1}", ""),
    ],
)
def test_names_may_be_added_to_the_mappings_of_schedulers_and_optimizers(line, sign):
    assert sign_of(*parse([line])) == sign


def test_settings_of_a_group_whose_option_is_swept_are_left_out():
    lines = ["scheduler=a,b", "scheduler.x=1", "seed=1,2", "optimizer.b1=0.5,0.6", "optimizer=adam"]
    kept = [override.input_line for override in without_swept(parse(lines))]
    assert kept == ["seed=1,2", "optimizer.b1=0.5,0.6", "optimizer=adam"]


def test_the_last_list_of_plugins_counts():
    def named(*lines):
        return named_plugins(parse(lines))

    assert named("seed=1") == named("~plugins") == named("plugins=[]") == ()
    assert named("plugins=[a]", "plugins=[b,c]") == ("b", "c")
    for wrong in ("plugins=a", "plugins=[1]", "plugins={a: 1}", "plugins=null"):
        with pytest.raises(ConfigError, match=r"^plugins: .* is not a list of packages"):
            named("plugins=[a]", wrong)


@pytest.mark.parametrize(
    "text", ["runs/a", "it's, a=b", "a b{c}", "${x}", "[1,2]", "", "5", "null"]
)
def test_a_quoted_text_is_read_as_it_is(text):
    (override,) = parse([f"resume={quoted(text)}"])
    assert override.value() == text


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"compilation_cache": "folder"}, "compilation_cache"),
        ({"compilation_cache": False, "resume": None, "dataset": {"download": False}}, None),
        ({"compilation_cache": True, "dataset": {"download": None}}, None),
        ({"dataset": {"download": True}}, "dataset.download"),
        ({"dataset": {"download": "${x}"}}, "dataset.download"),
        ({"dataset": "digits"}, None),
        ({"resume": "run"}, "resume"),
    ],
)
def test_what_a_file_may_not_give_is_named_unless_the_command_line_gives_it(settings, key):
    assert [error.key for error in reserved(settings, [])] == ([key] if key else [])
    assert list(reserved(settings, ["seed", key])) == []
