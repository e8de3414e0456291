"""Every invalid setting of a schedule is refused under its own key; valid ones pass."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from runner.config import types
from runner.config.by_name import Parts, Patterns, SettingsOf
from runner.config.markers import DataPath, Folder, Marker, Number, OptionOf, OptionsOf, Whole
from runner.config.settings import ONE_GROUP
from runner.config.signature import Context, checked, require, settings_of
from runner.errors import ConfigError, shown
from runner.schedules import Constant, CosineRestarts, CyclicLR

GOOD: dict[str, Any] = {
    "base_lr": 0.001,
    "max_lr": 0.01,
    "step_size_up": 2000,
    "step_size_down": None,
    "mode": "triangular",
    "gamma": 1.0,
    "scale_mode": "cycle",
    "last_epoch": 0,
    "cycle_momentum": False,
    "base_momentum": 0.8,
    "max_momentum": 0.9,
}


def check_cyclic(**section: Any) -> None:
    """Validates a YAML section, in which lengths may have units."""
    context = Context(ONE_GROUP, lambda *_: None)
    settings_of(CyclicLR, section, key="", context=context)
    if not isinstance(section["step_size_up"], str):
        CyclicLR(**section)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"base_lr": 0},
        {"base_lr": 0.01},  # equal bounds are a constant rate
        {"step_size_up": 1, "step_size_down": 2**31 - 2},
        {"step_size_up": "4ep"},
        {"step_size_up": np.int64(7), "base_lr": np.float32(0.001)},
        {"gamma": 1.0001},
        {"last_epoch": 2**31 - 1},
        {"base_momentum": 0, "max_momentum": 0},
    ],
)
def test_good_settings_pass(change: dict[str, Any]) -> None:
    check_cyclic(**GOOD | change)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_lr", -0.1),
        ("base_lr", math.nan),
        ("base_lr", "0.1"),
        ("base_lr", None),
        ("base_lr", 1e-40),
        ("max_lr", 0),
        ("max_lr", math.inf),
        ("max_lr", 1e39),
        ("max_lr", 10**400),
        ("max_lr", True),
        ("step_size_up", 0),
        ("step_size_up", -4),
        ("step_size_up", 500.0),
        ("step_size_up", True),
        ("step_size_up", None),
        ("step_size_up", 2**31),
        ("step_size_up", 2**31 - 1),  # the other half is as long: the cycle does not fit
        ("step_size_down", 0),
        ("step_size_down", math.nan),
        ("mode", "triangle"),
        ("mode", None),
        ("gamma", 0),
        ("gamma", -0.5),
        ("gamma", math.nan),
        ("scale_mode", "iteration"),
        ("last_epoch", -2),
        ("last_epoch", 1.5),
        ("last_epoch", 2**31),
        ("cycle_momentum", 1),
        ("base_momentum", -0.1),
        ("max_momentum", 1.0),
    ],
)
def test_a_bad_setting_is_refused_under_its_own_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_cyclic(**GOOD | {key: value})
    assert caught.value.key == key
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: CyclicLR(base_lr=0.1, max_lr=0.2, step_size_up=2000.0),
            "step_size_up: 2000.0 is not a whole number; write 2000",
        ),
        (
            lambda: CosineRestarts(base_lr=1.0, T_0=10, T_mult=2.0),
            "T_mult: 2.0 is not a whole number; write 2",
        ),
        (
            lambda: CyclicLR(base_lr=0.1, max_lr=0.2, step_size_up=2000.5),
            "step_size_up: 2000.5 is not a whole number; write a number of steps, such as 500",
        ),
        (
            lambda: CyclicLR(base_lr=0.1, max_lr=0.2, step_size_up=0.0),
            "step_size_up: 0.0 is not a whole number; write a number of steps, such as 500",
        ),
    ],
)
def test_a_library_call_with_a_float_for_an_int_is_answered_with_what_to_write(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"base_lr": 0.5}, "base_lr", ["0.5", "0.01", "max_lr"]),
        ({"base_momentum": 0.95}, "base_momentum", ["0.95", "0.9", "max_momentum"]),
        ({"step_size_up": 2**30, "step_size_down": 2**30}, "step_size_up", [str(2**31)]),
        ({"last_epoch": -1}, "last_epoch", ["PyTorch", "write 0"]),
        ({"mode": "triangle2"}, "mode", ["triangular2"]),
    ],
)
def test_the_message_names_both_values_and_the_remedy(
    change: dict[str, Any], key: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_cyclic(**GOOD | change)
    assert caught.value.key == key
    for word in words:
        assert word in str(caught.value)


def test_a_constant_rate_may_be_zero_but_not_negative() -> None:
    Constant(base_lr=0)
    with pytest.raises(
        ConfigError, match=r"^base_lr: -1 is not at least 0; write a number that is at least 0$"
    ):
        Constant(base_lr=-1)


def test_bounds_are_inclusive_or_exclusive() -> None:
    require("b1", 0, Number(ge=0, lt=1))
    require("share", 1, Number(gt=0, le=1))
    for bad in (1, -1e-9):
        with pytest.raises(ConfigError, match="at least 0 and below 1"):
            require("b1", bad, Number(ge=0, lt=1))
    for bad in (0, 1.01):
        with pytest.raises(ConfigError, match="above 0 and at most 1"):
            require("share", bad, Number(gt=0, le=1))


@pytest.mark.parametrize(
    ("alias", "good", "bad"),
    [
        (types.NonNegative, [0, 3e38], [-1e-9]),
        (types.Positive, [1e-30, 3e38], [0, -1]),
        (types.Share, [0, 1], [-1e-9, 1.0001]),
        (types.PositiveShare, [1e-9, 1], [0, 1.0001]),
        (types.InnerShare, [1e-9, 0.9999999], [0, 1, 1 - 1e-9]),
        (types.Decay, [0, 0.9999999], [-1e-9, 1, 1 - 1e-9]),
        (types.DropoutRate, [0, 0.9999999], [-1e-9, 1]),
        (types.Count, [1, 2**31 - 1], [0, 2**31]),
        (types.Seed, [0, 2**31 - 1], [-1, 2**31]),
        (types.Widths, [[1], [64, 64]], [[], [0], [64, 1.5]]),
        (types.Steps, [1, 2**31 - 1], [0, 2**31]),
        (types.StepsFromZero, [0, 2**31 - 1], [-1, 2**31]),
        (types.HalfCycle, [1, 2**30 - 1], [0, 2**30]),
        (types.Milestones, [[1], [1, 2]], [[], [0, 1], [2, 2], [2, 1]]),
        (types.Rates, [0, [0, 1]], [-1, [], [0, -1]]),
        (types.PositiveRates, [1e-9, [1, 2]], [0, [], [1, 0]]),
        (types.Decays, [0, [0, 1]], [-1, [0, -1]]),
    ],
)
def test_the_bounds_of_a_type_are_those_of_its_name(
    alias: Any, good: list[Any], bad: list[Any]
) -> None:
    """1 - 1e-9 is below 1, but rounds to 1 in float32."""
    (marker,) = alias.__metadata__
    for value in good:
        require("k", value, marker)
    for value in bad:
        with pytest.raises(ConfigError, match=r"^k"):
            require("k", value, marker)


@pytest.mark.parametrize(
    ("marker", "good", "bad", "says"),
    [
        (OptionsOf("scheduler"), [[], ["a", "b"]], ["a", None, [1], ["a", 1]], "a list of strings"),
        (OptionOf("scheduler"), ["a"], ["", 1, None], ""),
        (DataPath("of it"), ["x"], ["", None], "no path is given; give the path of it"),
        (Folder("of it"), ["x"], ["", None], "no folder is given; give the folder of it"),
        (Whole(3, 5), [3, 5, np.int64(4)], [2, 6], "an integer from 3 to 5"),
        (Patterns(), ["a", ["a", "b"]], ["", [], ["a", ""]], "has no pattern, or an empty one"),
        (Parts(), [{"a": 1}], [{}, []], ""),
    ],
    ids=repr,
)
def test_each_marker_refuses_what_it_says(
    marker: Marker, good: list[Any], bad: list[Any], says: str
) -> None:
    for value in good:
        require("k", value, marker)
    for value in bad:
        with pytest.raises(ConfigError, match=rf"^k: .*{says}"):
            require("k", value, marker)


def test_a_nested_section_may_not_name_another_part() -> None:
    context = Context(ONE_GROUP, lambda group, section, key: (group, section))
    marker = SettingsOf("task", "range_test")
    for section in ({"seeds": 3}, {"seeds": 3, "name": "range_test"}):
        expected = ("task", {"seeds": 3, "name": "range_test"})
        assert marker.check(section, context) == expected
        assert marker.check(section) is section
    with pytest.raises(ConfigError, match=r"^name: 'check' is not range_test; leave it out"):
        marker.check({"name": "check"}, context)


def test_a_placeholder_is_not_replaced_by_the_default() -> None:
    with pytest.raises(ConfigError, match=r"^gamma: has no value; give one: gamma=\.\.\."):
        check_cyclic(**GOOD | {"gamma": "???"})


def test_only_a_factory_of_any_keywords_takes_unknown_settings() -> None:
    def closed(*, size: int = 1) -> None: ...
    def opened(*, size: int = 1, **more: int) -> None: ...

    section = {"size": 2, "depth": "any"}
    assert dict(settings_of(opened, section, key="")) == section
    with pytest.raises(ConfigError, match=r"^model\.depth: there is no such setting"):
        settings_of(closed, section, key="model")


def test_an_unknown_key_is_named_before_a_missing_one_and_that_before_a_wrong_value() -> None:
    def factory(*, size: int, width: int) -> None: ...

    for section, said in (
        ({"size": "x", "depth": 1}, "depth: there is no such setting"),
        ({"size": "x"}, "width: has no value"),
        ({"size": "x", "width": "y"}, "size: 'x' is not a whole number"),
    ):
        with pytest.raises(ConfigError, match=f"^{said}"):
            settings_of(factory, section, key="")


def test_arguments_that_can_only_be_passed_by_position_are_no_settings() -> None:
    def factory(size: int, *rest: int, width: int = 1) -> None: ...

    assert dict(settings_of(factory, {"size": 2}, key="")) == {"size": 2, "width": 1}
    with pytest.raises(ConfigError, match=r"^rest: there is no such setting"):
        settings_of(factory, {"size": 2, "rest": [3]}, key="")


def test_of_the_members_of_a_union_the_one_that_fits_furthest_is_named() -> None:
    def factory(*, groups: dict[str, str | list[str]]) -> None: ...

    with pytest.raises(ConfigError, match=r"^groups\.a\[1\]: 1 is not a string"):
        settings_of(factory, {"groups": {"a": ["x", 1]}}, key="")


def test_a_mapping_by_name_is_for_yaml() -> None:
    with pytest.raises(ConfigError, match=r"^base_lr: a mapping by name is for YAML"):
        Constant(base_lr={"default": 0.1})


def test_values_of_similar_types_are_refused() -> None:
    @checked
    def take(*, flag: bool = False, name: Literal["cycle"] = "cycle") -> None: ...

    for check in (
        lambda: require("k", np.array([1.0]), Number()),
        lambda: require("k", 1j, Number()),
        lambda: require("k", -0.0, Number(gt=0)),
        lambda: require("k", np.bool_(True), Whole(0)),
        lambda: take(flag="no"),
        lambda: take(name=["cycle"]),
    ):
        with pytest.raises(ConfigError):
            check()


def test_any_value_is_shown_in_one_short_line() -> None:
    assert shown(0.5) == "0.5"
    assert "\n" not in shown(np.zeros((9, 9)))
    assert len(shown("y" * 10**6)) <= 60
    assert shown(10**5000) == "an integer of thousands of digits"


def test_a_bool_is_neither_a_whole_number_nor_a_number() -> None:
    for marker, noun in ((Whole(0), "a whole number"), (Number(), "a number")):
        require("k", 1, marker)
        with pytest.raises(ConfigError, match=f"^k: true is not {noun}; "):
            require("k", True, marker)


def test_a_whole_number_becomes_a_float_where_an_argument_without_a_type_has_a_float_default() -> (
    None
):
    """Otherwise rate=1 and rate=1.0 would compile different programs."""

    def factory(*, rate=0.5, size=8, shape: complex = 0j, name=None) -> None: ...

    settings = settings_of(factory, {"rate": 1, "size": 2, "shape": 3, "name": 4}, key="")
    assert [type(value) for _, value in settings] == [float, int, int, int]
    assert settings_of(factory, {"rate": True}, key="").rate is True
    assert settings_of(factory, {"rate": "x"}, key="").rate == "x"
