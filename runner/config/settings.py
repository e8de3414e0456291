"""The typed and validated configuration that the rest of the runner uses; independent of Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from runner.config.choice import Choice, check_momentum, momentum_switch
from runner.config.groups import GroupNames, group_names
from runner.config.invalid import missing_value, unknown_setting
from runner.config.ranking import Ranking, find_ranking
from runner.config.sections import (
    Accelerator,
    AugmentationSettings,
    CheckpointSettings,
    DatasetSettings,
    General,
    LookaheadSettings,
    Training,
    WrapperSettings,
)
from runner.config.signature import MISSING, Context, parameters, settings_of
from runner.errors import ConfigError, shown
from runner.registry import GROUPS, eval_params_of

Section = TypeVar("Section")

ONE_GROUP = GroupNames()
# Group → the settings that all its parts have.
_COMMON: Mapping[str, Any] = {"optimizer": WrapperSettings, "dataset": DatasetSettings}


@dataclass(frozen=True)
class Config:
    """The whole configuration.

    Attributes:
      optimizer, wrappers: the section ``optimizer``: the optimizer's own settings, and those that
        every optimizer has.
      dataset, data: the section ``dataset``, likewise.
      ranking: the metric that ranks evaluations.
      auto: the section ``scheduler`` if it is ``auto``; ``scheduler`` then is its policy.
      hparams: options by group and settings by dotted key, before interpolation, so that no value
        of an environment variable is recorded.
    """

    seed: int
    accelerator: Accelerator
    compilation_cache: bool | str
    ranking: Ranking
    plugins: tuple[str, ...]
    resume: str | None
    resume_changes: bool
    init_from: str | None
    init_params_only: bool
    training: Training
    augmentation: AugmentationSettings
    checkpoint: CheckpointSettings
    scheduler: Choice
    optimizer: Choice
    wrappers: WrapperSettings
    model: Choice
    objective: Choice
    dataset: Choice
    data: DatasetSettings
    task: Choice
    hparams: Mapping[str, str | int | float | bool]
    auto: Choice | None = None


def read_config(
    values: Mapping[str, Any],
    *,
    as_written: Mapping[str, Any],
    options: Mapping[str, Any],
    plugins: tuple[str, ...],
) -> Config:
    """Validates the composed ``values`` and returns them typed.

    Args:
      values: plain containers, interpolations resolved.
      as_written: the same before interpolations are resolved.
      options: group → the chosen option; the registered name is used for a missing one.
      plugins: the plugins named on the command line, the only place where they may be named.

    Raises:
      ConfigError: a key is unknown or missing, or a value has the wrong type, is out of range, or
        contradicts another one.
    """
    general_keys = [field.name for field in fields(General)]
    _check_keys(values, [*general_keys, "training", "augmentation", "checkpoint", *GROUPS])
    general = _section(General, {name: values[name] for name in general_keys}, key="")
    if general.plugins != plugins:
        problem = f"{list(general.plugins)} comes from a configuration file"
        named = ",".join(map(str, general.plugins))
        remedy = f"name plugins on the command line only: plugins=[{named}]"
        raise ConfigError("plugins", problem, remedy)
    training = _section(Training, values["training"], key="training")
    augmentation = _section(AugmentationSettings, values["augmentation"], key="augmentation")
    checkpoint = _section(CheckpointSettings, values["checkpoint"], key="checkpoint")
    groups = group_names(values["optimizer"])
    wrappers, optimizer = _split_optimizer(values["optimizer"], groups)
    data, dataset = _split_section(DatasetSettings, values["dataset"], "dataset")
    sections = {group: values[group] for group in GROUPS}
    sections |= {"optimizer": optimizer, "dataset": dataset}
    # The model comes last: validating its settings imports flax.
    order = sorted(GROUPS, key=lambda group: group == "model")
    choices: dict[str, Any] = {
        g: choice(g, sections[g], options.get(g), key=g, groups=groups) for g in order
    }
    if key := momentum_switch(choices["scheduler"]):
        check_momentum(choices["optimizer"], key=key)
    _check_evaluated(training, wrappers, choices["optimizer"])
    ranking = find_ranking(choices["objective"].name, general.metric)
    return Config(
        **{name: value for name, value in vars(general).items() if name != "metric"},
        **choices,
        ranking=ranking,
        data=data,
        training=training,
        augmentation=augmentation,
        checkpoint=checkpoint,
        wrappers=wrappers,
        hparams=_hparams(as_written, choices),
    )


def choice(group: str, section: Any, option: Any, *, key: str, groups: GroupNames) -> Choice:
    """Validates ``section``, found at ``key``, as an option of ``group``.

    Raises:
      ConfigError: see ``read_config``.
    """
    if section is None or isinstance(section, str):
        problem = f"{shown(section)} is not an option"
        raise ConfigError(key, problem, f"choose one: {group}=...")
    if not isinstance(section, Mapping) or section.get("name", MISSING) == MISSING:
        raise _nameless(group, option, f"{key}.name")
    name = section["name"]
    if not isinstance(name, str):
        raise ConfigError(
            f"{key}.name", f"{shown(name)} is not a string", "write a registered name"
        )
    factory = GROUPS[group].get(name, key=key)
    if group in _COMMON:
        _check_reserved(group, name, factory)

    def part(group: str, section: Any, name: str) -> Choice:
        return choice(group, section, None, key=name, groups=groups)

    arguments = {name: value for name, value in section.items() if name != "name"}
    context = Context(groups, part)
    settings = settings_of(factory, arguments, key=key, group=group, context=context)
    return Choice(option or name, name, settings)


@contextmanager
def composing(option: str, *, named_by: str = "task.compare") -> Iterator[None]:
    """Context manager that adds the setting that names an ``option`` to the key of an error."""
    try:
        yield
    except ConfigError as error:
        key = f"{named_by} {option}: {error.key}"
        raise ConfigError(key, error.problem, error.remedy) from error


def _check_keys(values: Mapping[str, Any], known: list[str]) -> None:
    for name in values:
        if name not in known:
            raise unknown_setting(str(name), known)
    for name in known:
        if values.get(name, MISSING) == MISSING:
            raise missing_value(name)


def _section(
    cls: type[Section], section: Any, *, key: str, groups: GroupNames = ONE_GROUP
) -> Section:
    """The section at ``key`` as the dataclass that declares it."""
    settings = settings_of(cls, section, key=key, context=Context(groups))
    try:
        return cls(**dict(settings))
    except ConfigError as error:
        raise error.under(key) from error


def _split_optimizer(section: Any, groups: GroupNames) -> tuple[WrapperSettings, Any]:
    if isinstance(section, Mapping) and "lookahead" in section:
        inner = _section(LookaheadSettings, section["lookahead"], key="optimizer.lookahead")
        section = {**section, "lookahead": inner}
    return _split_section(WrapperSettings, section, "optimizer", groups=groups)


def _split_section(
    common: type[Section], section: Any, group: str, *, groups: GroupNames = ONE_GROUP
) -> tuple[Section, Any]:
    """Splits a section into the settings of every part of the group and the part's own."""
    if not isinstance(section, Mapping):
        raise ConfigError(group, f"{shown(section)} is not an option", f"choose one: {group}=...")
    known = {field.name for field in fields(common)}  # type: ignore[arg-type]
    shared = {name: value for name, value in section.items() if name in known}
    own = {name: value for name, value in section.items() if name not in known}
    return _section(common, shared, key=group, groups=groups), own


def _check_reserved(group: str, name: str, factory: Any) -> None:
    for field in fields(_COMMON[group]):
        if field.name in parameters(factory):
            problem = f"has an argument {field.name}, which is a setting of every {group}"
            raise ConfigError(f"the {group} {name!r}", problem, "give it another name")


def _nameless(group: str, option: Any, key: str) -> ConfigError:
    if not isinstance(option, str):
        return ConfigError(key, "has no value", f"choose an option: {group}=...")
    return ConfigError(
        key,
        f"has no value with the option {option!r}",
        f"begin {group}/{option}.yaml with defaults: [{_EXAMPLES[group]}, _self_] to build on an "
        "option, or with name: ...",
    )


_EXAMPLES = {
    "scheduler": "triangular",
    "optimizer": "sgd",
    "model": "mlp",
    "objective": "classification",
    "dataset": "digits",
    "task": "train",
}


def _check_evaluated(training: Training, wrappers: WrapperSettings, optimizer: Choice) -> None:
    """Refuses to evaluate another average if the optimizer averages the parameters itself."""
    if eval_params_of(GROUPS["optimizer"].get(optimizer.name)) is None:
        return
    averages = {
        "training.ema_decay": training.ema_decay,
        "optimizer.lookahead.sync_period": wrappers.lookahead.sync_period,
    }
    for key, value in averages.items():
        if value is not None:
            problem = f"{shown(value)}, but {optimizer.name} averages its parameters itself"
            raise ConfigError(key, problem, f"set {key}=null, or choose another optimizer")


def _hparams(
    as_written: Mapping[str, Any], choices: Mapping[str, Choice]
) -> dict[str, str | int | float | bool]:
    written = {key: value for key, value in as_written.items() if key not in ("plugins", "task")}
    flat = _flat(written)
    for group in choices.keys() & written.keys():
        # The option is more specific than the factory it configures.
        del flat[f"{group}.name"]
        flat[group] = choices[group].option
    return flat


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    flat: dict[str, str | int | float | bool] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, (bool, int, float)) else str(value)
    return flat
