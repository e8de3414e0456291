"""The configuration: YAML and signatures agree, and only valid settings are accepted."""

import functools
import inspect
import re
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from runner.cli.sources import CONF
from runner.config import Config, Ranking, read_config
from runner.config.ranking import find_ranking
from runner.config.sections import DatasetSettings, General, Training, WrapperSettings
from runner.config.signature import parameters
from runner.errors import ConfigError
from runner.registry import GROUPS, register_objective, register_optimizer

OPTIONS = sorted((path.parent.name, path.stem) for g in GROUPS for path in (CONF / g).iterdir())

# Options of which the README's command checks the keys; the others are marked slow.
SAMPLE = ("triangular", "sequence", "adamw", "mlp", "regression", "digits", "table", "train")


def composed(*overrides: str) -> Any:
    return deepcopy(_composed(*overrides))


@functools.cache
def _composed(*overrides: str) -> Any:
    GlobalHydra.instance().clear()  # of a test that ran the command line
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(overrides)))


def read(values: Any, plugins: tuple[str, ...] = ()) -> Config:
    return read_config(values, as_written=values, options={}, plugins=plugins)


@pytest.fixture(scope="module")
def defaults() -> Any:
    return composed()


def test_the_top_level_of_yaml_is_that_of_the_schema(defaults: Any) -> None:
    assert set(defaults) == {field.name for field in fields(General)} | {
        "augmentation",
        "training",
        "checkpoint",
        *GROUPS,
    }
    assert set(defaults["training"]) == {field.name for field in fields(Training)}


@pytest.mark.parametrize(
    ("group", "option"),
    [pytest.param(*each, marks=() if each[1] in SAMPLE else pytest.mark.slow) for each in OPTIONS],
)
def test_an_options_keys_in_yaml_are_the_arguments_of_its_factory(group: str, option: str) -> None:
    section = composed(f"{group}={option}")[group]
    factory = GROUPS[group].get(section.pop("name"))
    common = {"optimizer": WrapperSettings, "dataset": DatasetSettings}.get(group)
    around = {field.name for field in fields(common)} if common else set()
    own = set(parameters(factory)) - GROUPS[group].supplied
    assert own.isdisjoint(around)
    assert set(section) == own | around


@pytest.mark.parametrize(
    ("group", "option"), [each for each in OPTIONS if each[0] in ("model", "objective")]
)
def test_a_model_or_objective_has_the_defaults_of_its_option(group: str, option: str) -> None:
    section = composed(f"{group}={option}")[group]
    parameters = inspect.signature(GROUPS[group].get(section["name"])).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    as_yaml = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    assert as_yaml == {key: section[key] for key in defaults}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_is_valid_with_its_defaults(group: str, option: str) -> None:
    values = composed(f"{group}={option}")
    for place in {"root", "path"} & set(values["dataset"]):
        with pytest.raises(ConfigError, match=rf"dataset\.{place}"):
            read(values)
        values["dataset"][place] = "folder"
    assert vars(read(values))[group].name == values[group]["name"]


def test_every_factory_has_an_option() -> None:
    for group, registry in GROUPS.items():
        used = {composed(f"{g}={option}")[g]["name"] for g, option in OPTIONS if g == group}
        assert used == set(registry.names()) - set(registry.plugins())


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF))
)
def test_every_key_in_conf_has_a_comment_above_it(path: Path) -> None:
    """Keys of Hydra's logging and help sections are Hydra's to explain."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    if path.is_relative_to(CONF / "hydra"):
        return
    for number, line in enumerate(lines):
        if re.match(r"\s*\w+:( |$)", line):
            assert lines[number - 1].lstrip().startswith("# "), f"{path}:{number + 1}: {line}"


def test_configuration_fits_one_screen() -> None:
    lines = (CONF / "config.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 110


def test_defaults_are_stated_once() -> None:
    """An option that inherits repeats no value of the one that it inherits from."""
    for group, option in OPTIONS:
        own = yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))
        # The parts of a sequence are not its own settings.
        parents = [name for name in own.pop("defaults", []) if isinstance(name, str)]
        for parent in parents:
            inherited = composed(f"{group}={parent}")[group] if parent != "_self_" else {}
            repeated = {k for k, v in own.items() if inherited.get(k) == v}
            assert not repeated, (group, option)


def test_lengths_keep_their_units(defaults: Any) -> None:
    values = {**defaults, "training": {**defaults["training"], "steps": "500", "eval_every": "25%"}}
    config = read(values)
    assert (config.training.steps, config.training.eval_every) == ("500", "25%")


def test_an_int_becomes_a_float_if_the_setting_is_a_float(defaults: Any) -> None:
    values = {**defaults, "training": {**defaults["training"], "epochs": 3}}
    assert type(read(values).training.epochs) is float
    assert type(read(composed("scheduler.gamma=1")).scheduler.settings.gamma) is float


def test_hparams_are_flat_and_leave_out_plugins_and_task(defaults: Any) -> None:
    hparams = read(defaults).hparams
    assert {"seed", "training.batch_size", "scheduler.max_lr", "model.hidden"} <= set(hparams)
    assert not [key for key in hparams if key.startswith(("plugins", "task", "hydra"))]
    assert all(isinstance(value, (str, int, float, bool)) for value in hparams.values())


def test_only_the_command_line_names_plugins(defaults: Any) -> None:
    with pytest.raises(ConfigError, match="command line only"):
        read({**defaults, "plugins": ["antigravity"]})
    assert read({**defaults, "plugins": ["mine"]}, plugins=("mine",)).plugins == ("mine",)


def test_cycle_momentum_needs_an_optimizer_with_momentum() -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.cycle_momentum: .*optimizer\.momentum"):
        read(composed("scheduler.cycle_momentum=true", "optimizer.momentum=null"))
    # Those without a momentum, and those whose momentum is not one that can vary.
    without = {"adagrad", "adadelta", "fromage", "schedule_free_adamw", "schedule_free_sgd"}
    for name in sorted(set(GROUPS["optimizer"].names()) - set(GROUPS["optimizer"].plugins())):
        values = composed(f"optimizer={name}")
        values["scheduler"]["cycle_momentum"] = True
        if name in ("rmsprop", "adafactor"):
            values["optimizer"]["momentum"] = 0.9
        if name in without:
            with pytest.raises(ConfigError, match=rf"cycle_momentum: .*{name} has no momentum"):
                read(values)
        else:
            assert read(values)


def grouped(values: Any, optimizer: Any) -> Any:
    """``values`` with the groups a and b, and other settings of the section ``optimizer``."""
    groups = {"a": "x/*", "b": ["y", "z"]}
    return {**values, "optimizer": {**values["optimizer"], "groups": groups, **optimizer}}


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ({"groups": {}, "multiplier": [1, 2]}, r"multiplier: 2 numbers, but there is one group"),
        ({"multiplier": [1, 2, 3, 4]}, r"multiplier: 4 numbers, .* 3 groups \(a, b, default\)"),
        ({"multiplier": [1]}, r"multiplier: 1 number, .* 3 groups"),
        ({"multiplier": {"c": 2}}, r"multiplier\.c: there is no such group"),
        ({"multiplier": {}}, r"multiplier: is empty"),
        ({"multiplier": {"b": -1}}, r"multiplier\.b: -1"),
        ({"multiplier": -1}, r"multiplier: -1"),
        ({"weight_decay": [1, 2, 3, 4]}, r"weight_decay: 4 numbers, .* 3 groups"),
        ({"weight_decay": {"a": 0, "b": 0, "c": 0}}, r"weight_decay\.c: there is no such group"),
        ({"weight_decay": {"a": 0, "default": 0}}, r"weight_decay: has no value for the group b"),
        ({"weight_decay": {}}, r"weight_decay: is empty"),
        ({"frozen": ["a", "c"]}, r"frozen: there is no group 'c'"),
        ({"frozen": ["a", "b", "default"]}, r"frozen: leaves nothing to train"),
        ({"groups": {"a b": "x"}}, r"groups: 'a b' cannot be the name of a group"),
        ({"groups": {"1": "x"}}, r"groups: '1' cannot be the name of a group"),
        ({"groups": {1: "x"}}, r"groups: 1 cannot be the name of a group"),
        ({"groups": {"default": "x"}}, r"groups\.default: is the group of all parameters"),
        ({"groups": {"a": ""}}, r"groups\.a: has no pattern, or an empty one"),
        ({"groups": {"a": []}}, r"groups\.a: has no pattern, or an empty one"),
        ({"groups": {"a": ["x", ""]}}, r"groups\.a: has no pattern, or an empty one"),
        ({"lookahead": {"sync_period": 0, "slow_step_size": 0.5}}, r"lookahead\.sync_period: 0"),
        ({"lookahead": {"sync_period": 5, "slow_step_size": 0}}, r"lookahead\.slow_step_size: 0"),
        ({"lookahead": {"sync_period": 5, "slow_step_size": 1.5}}, r"slow_step_size: 1\.5"),
        ({"clip_value": 0}, r"clip_value: 0"),
        ({"clip_norm": 0}, r"clip_norm: 0"),
    ],
)
def test_settings_that_do_not_fit_the_groups_or_their_bounds_are_refused(
    defaults: Any, optimizer: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^optimizer\.(lookahead\.)?{says}"):
        read(grouped(defaults, optimizer))


def test_settings_of_wrappers_may_be_at_their_bounds(defaults: Any) -> None:
    lookahead = {"sync_period": 1, "slow_step_size": 1}
    wrappers = read(grouped(defaults, {"multiplier": 1e-9, "lookahead": lookahead})).wrappers
    assert (wrappers.multiplier, vars(wrappers.lookahead)) == (1e-9, lookahead)


def test_numbers_by_name_are_sorted_in_the_order_of_the_groups(defaults: Any) -> None:
    values = grouped(defaults, {"weight_decay": {"default": 0.3, "b": 0.2, "a": 0.1}})
    values["scheduler"] = {
        **values["scheduler"],
        "base_lr": {"b": 0.02, "a": 0.01},
        "max_lr": {"b": 2, "a": 1},  # the default group may have no parameters
    }
    config = read(values)
    assert config.optimizer.settings.weight_decay == (0.1, 0.2, 0.3)
    assert config.scheduler.settings.base_lr == (0.01, 0.02)
    assert config.scheduler.settings.max_lr == (1.0, 2.0)


def test_a_plugins_optimizer_takes_numbers_by_name(defaults: Any) -> None:
    @register_optimizer("test_by_name")
    def optimizer(learning_rate: float, *, weight_decay: float = 0.0) -> None: ...

    values = grouped(defaults, {"weight_decay": {"default": 0.3, "b": 0.2, "a": 0.1}})
    kept = {"weight_decay", *(field.name for field in fields(WrapperSettings))}
    section = {key: value for key, value in values["optimizer"].items() if key in kept}
    config = read({**values, "optimizer": section | {"name": "test_by_name"}})
    assert dict(config.optimizer.settings) == {"weight_decay": (0.1, 0.2, 0.3)}


def test_lists_may_leave_out_the_default_group(defaults: Any) -> None:
    config = read(grouped(defaults, {"multiplier": [1, 2], "weight_decay": [0.1, 0.2, 0.3]}))
    assert config.wrappers.multiplier == (1.0, 2.0)
    assert config.optimizer.settings.weight_decay == (0.1, 0.2, 0.3)


def test_a_frozen_group_needs_no_number(defaults: Any) -> None:
    values = grouped(defaults, {"frozen": ["b"], "weight_decay": {"default": 0.3, "a": 0.1}})
    first, _, last = read(values).optimizer.settings.weight_decay
    assert (first, last) == (0.1, 0.3)


def test_numbers_by_name_in_a_part_of_a_sequence_are_sorted() -> None:
    values = grouped(composed("scheduler=sequence"), {})
    values["scheduler"]["parts"]["warmup"]["base_lr"] = {"default": 0.3, "b": 0.2, "a": 0.1}
    part = read(values).scheduler.settings.parts["warmup"]
    assert part.settings.base_lr == (0.1, 0.2, 0.3)


_DEFAULTS = yaml.safe_dump(composed())
PATHS = [
    (section, *below)
    for section, keys in yaml.safe_load(_DEFAULTS).items()
    for below in [(), *(((key,) for key in keys) if isinstance(keys, dict) else ())]
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["???", "auto", "4ep", "25%", "-1", "1e5", "x", "\0", "${seed}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=ANYTHING)
def test_any_value_gives_a_config_or_a_one_line_error(path: Any, value: Any) -> None:
    values = yaml.safe_load(_DEFAULTS)
    section = values
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    refused = None
    try:
        read(values)
    except ConfigError as error:
        refused = error
    if refused:
        assert refused.key.startswith((path[0], "training", "scheduler"))
        assert refused.problem
        assert refused.remedy


def test_a_cache_of_compiled_programs_is_not_in_a_folder_without_a_name() -> None:
    """A path that is empty would be the current folder."""
    with pytest.raises(ConfigError, match=r"^compilation_cache: '' does not name a folder"):
        read(composed("compilation_cache=''"))


def test_the_lowest_loss_ranks_the_evaluations_of_an_objective_that_declares_no_metrics() -> None:
    register_objective("test_silent")(lambda targets: None)
    for metric in ("auto", "eval/loss"):
        assert find_ranking("test_silent", metric) == Ranking("eval/loss", highest=False)
    with pytest.raises(ConfigError, match=r"^metric: 'eval/f1' is not a metric of the objective"):
        find_ranking("test_silent", "eval/f1")


@pytest.mark.parametrize("chunk", [0, -1, True, 2**31, "all", None])
def test_a_chunk_is_auto_or_at_least_one_step(defaults: Any, chunk: Any) -> None:
    def training(chunk: Any) -> Any:
        return {**defaults, "training": {**defaults["training"], "chunk": chunk}}

    assert [read(training(good)).training.chunk for good in ("auto", 1)] == ["auto", 1]
    with pytest.raises(ConfigError, match=r"^training\.chunk: "):
        read(training(chunk))


@pytest.mark.parametrize("setting", ["seed", "training.batch_size", "training.accumulate"])
def test_a_bool_is_not_a_whole_number(setting: str) -> None:
    assert read(composed(f"{setting}=1"))
    with pytest.raises(ConfigError, match=rf"^{setting}: true is not a whole number; "):
        read(composed(f"{setting}=true"))
