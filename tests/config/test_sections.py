"""Parts of the configuration on their own: sections, choices, rankings and default rates."""

from typing import Any

import pytest

from runner.config import Choice, Training
from runner.config.choice import check_momentum, momentum_names, momentum_switch
from runner.config.default_rates import default_rates, scaled
from runner.config.groups import GroupNames
from runner.config.markers import InSteps, Number
from runner.config.ranking import Ranking, find_ranking
from runner.config.sections import DatasetSettings, General
from runner.config.settings import ONE_GROUP, choice
from runner.config.signature import Settings, markers, require
from runner.config.types import Steps
from runner.errors import ConfigError
from runner.registry import GROUPS, register_optimizer

GENERAL: dict[str, Any] = {
    "seed": 0,
    "accelerator": "auto",
    "compilation_cache": True,
    "metric": "auto",
    "plugins": (),
    "resume": None,
    "resume_changes": False,
    "init_from": None,
    "init_params_only": False,
}
TRAINING: dict[str, Any] = dict.fromkeys(Training.__dataclass_fields__)


def test_parameters_alone_are_those_of_a_run() -> None:
    General(**GENERAL | {"init_params_only": True, "init_from": "run"})
    with pytest.raises(ConfigError, match=r"^init_params_only: true, but no run"):
        General(**GENERAL | {"init_params_only": True})


def test_the_length_of_a_run_is_given_and_not_a_share_of_itself() -> None:
    for length in ({"epochs": 2.0}, {"steps": 5}, {"steps": "5ep"}, {"steps": 5, "epochs": 2.0}):
        Training(**TRAINING | length)
    with pytest.raises(ConfigError, match=r"^epochs: is null, and so is training.steps"):
        Training(**TRAINING)
    with pytest.raises(ConfigError, match=r"^steps: '25%' is a share of the run's length"):
        Training(**TRAINING | {"steps": "25%", "epochs": 2.0})


def test_validation_takes_less_than_all_examples() -> None:
    share = markers(DatasetSettings, Number)["validation"]
    require("validation", 0, share)
    for bad in (1, -0.1):
        with pytest.raises(ConfigError, match=r"^validation: .* is not at least 0 and below 1"):
            require("validation", bad, share)


def test_markers_are_found_within_unions() -> None:
    def factory(*, one: Steps, other: Steps | None = None, plain: int = 1) -> None: ...

    assert markers(factory, InSteps) == {"one": InSteps(), "other": InSteps()}


def test_a_choice_has_the_name_of_its_option() -> None:
    section = {"name": "classification"}
    for option, name in (("mine", "mine"), (None, "classification")):
        found = choice("objective", section, option, key="objective", groups=ONE_GROUP)
        assert (found.option, found.name) == (name, "classification")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("sgd", r"^k: 'sgd' is not an option; choose one: optimizer=\.\.\."),
        (None, r"^k: null is not an option"),
        ({"momentum": 0.9}, r"^k\.name: has no value with the option 'mine'; begin optimizer/mine"),
        ({"name": "???"}, r"^k\.name: has no value with the option 'mine'"),
        ({"name": 3}, r"^k\.name: 3 is not a string"),
        ({"name": "sdg"}, r"^k\.name: .*sgd"),
    ],
)
def test_a_section_that_is_not_an_option_is_refused(section: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        choice("optimizer", section, "mine", key="k", groups=ONE_GROUP)


def test_a_plugin_may_not_take_a_setting_that_every_optimizer_has() -> None:
    @register_optimizer("test_reserved")
    def optimizer(learning_rate: float, *, clip_norm: float = 1.0) -> None: ...

    with pytest.raises(ConfigError, match=r"'test_reserved': has an argument clip_norm, which is"):
        choice("optimizer", {"name": "test_reserved"}, None, key="optimizer", groups=ONE_GROUP)


def optimizer_of(name: str, **settings: Any) -> Choice:
    return Choice(name, name, Settings(**settings))


@pytest.mark.parametrize(
    ("optimizer", "key", "says"),
    [
        (optimizer_of("sgd", momentum=0.9), "scheduler.x", None),
        (optimizer_of("adam", b1=0.5), "scheduler", None),
        (
            optimizer_of("sgd", momentum=0.0),
            "scheduler.x",
            "scheduler.x: true, but optimizer.momentum is 0.0; set optimizer.momentum (0.9), or "
            "scheduler.x=false",
        ),
        (
            optimizer_of("sgd", momentum=None),
            "scheduler",
            "scheduler: cycles the momentum, but optimizer.momentum is null; set "
            "optimizer.momentum (0.9)",
        ),
        (
            optimizer_of("adagrad", eps=1e-7),
            "scheduler.x",
            "scheduler.x: true, but the optimizer adagrad has no momentum to cycle; choose one "
            "with a momentum, such as sgd or adam, or set scheduler.x=false",
        ),
    ],
)
def test_a_cycled_momentum_needs_one_above_zero(
    optimizer: Choice, key: str, says: str | None
) -> None:
    if says is None:
        check_momentum(optimizer, key=key)
    else:
        with pytest.raises(ConfigError) as caught:
            check_momentum(optimizer, key=key)
        assert str(caught.value) == says


def test_the_switch_of_the_momentum_is_found_in_parts() -> None:
    def one_cycle(*, cycles: bool) -> Choice:
        return Choice("one_cycle", "one_cycle", Settings(cycle_momentum=cycles))

    def sequence(**parts: Choice) -> Choice:
        return Choice("sequence", "sequence", Settings(parts=parts, lengths={}))

    still, cycling = one_cycle(cycles=False), one_cycle(cycles=True)
    assert momentum_switch(still) is None
    assert momentum_switch(cycling) == "scheduler.cycle_momentum"
    assert momentum_switch(sequence(a=still, b=still)) is None
    found = momentum_switch(sequence(a=still, b=cycling))
    assert found == "scheduler.parts.b.cycle_momentum"
    assert momentum_names(GROUPS["optimizer"].get("sgd")) == ["momentum", "b1"]


def test_a_ranking_orders_values_by_its_sign() -> None:
    accuracy, loss = find_ranking("classification", "auto"), Ranking("eval/loss", highest=False)
    assert accuracy == Ranking("eval/accuracy", highest=True)
    assert (accuracy.sign, loss.sign) == (1, -1)
    assert find_ranking("classification", "eval/loss") == loss
    with pytest.raises(
        ConfigError, match=r"^metric: 'eval/acuracy' .*; did you mean eval/accuracy"
    ):
        find_ranking("classification", "eval/acuracy")


def test_only_numbers_are_scaled() -> None:
    assert scaled({"a": [0.1, 2], "b": None, "c": "x", "d": True}, 0.5) == {
        "a": [0.05, 1.0],
        "b": None,
        "c": "x",
        "d": True,
    }
    assert scaled(True, 0.5) is True


def test_rates_that_are_not_set_and_sections_that_are_not_valid_are_left_alone() -> None:
    adam: dict[str, Any] = {"optimizer": {"name": "adam"}}
    cyclic = {"name": "cyclic", "base_lr": 0.1, "max_lr": None, "gamma": 0.5}
    assert default_rates(adam | {"scheduler": cyclic}) == {("scheduler", "base_lr"): 0.001}
    for section in (None, "cyclic", {"name": 3}, {"name": "nope", "base_lr": 1}, {}):
        assert default_rates(adam | {"scheduler": section}) == {}
        assert default_rates({"optimizer": section, "scheduler": cyclic}) == {}


@pytest.mark.parametrize(
    ("names", "numbers", "expected"),
    [
        ((), (1.0,), (1.0,)),
        ((), {"default": 2.0}, (2.0,)),
        (("a", "b"), (1.0, 2.0), (1.0, 2.0)),
        (("a", "b"), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)),
        (("a", "b"), {"b": 2.0, "a": 1.0}, (1.0, 2.0)),
        (("a", "b"), {"default": 3.0, "b": 2.0, "a": 1.0}, (1.0, 2.0, 3.0)),
    ],
)
def test_numbers_are_in_the_order_of_the_groups(names: Any, numbers: Any, expected: Any) -> None:
    assert GroupNames(names).in_order(numbers) == expected


def test_a_frozen_group_gets_the_number_of_another() -> None:
    groups = GroupNames(("a", "b"), frozen=("a", "default"))
    assert groups.in_order({"b": 2.0}) == (2.0, 2.0, 2.0)
    assert groups.in_order((9.0, 2.0)) == (2.0, 2.0, 2.0)
