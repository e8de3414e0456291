"""The configuration as the rest of the runner knows it: typed, checked, and free of Hydra."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runner.checks import whole
from runner.config.choice import Choice, momentum_key
from runner.config.convert import MISSING, check_keys, convert, rates, shown
from runner.config.groups import GroupNames, group_names
from runner.config.plugins import check_arguments
from runner.config.schema import CHOICES, Sequence, Training, Wrappers
from runner.errors import ConfigError, nearest
from runner.registry import GROUP_KEYS, GROUPS, MOMENTUM_KEYS

__all__ = ["Choice", "Config", "Training", "Wrappers", "read_config"]

Accelerator = Literal["auto", "cpu", "gpu", "tpu"]


@dataclass(frozen=True)
class Config:
    """Everything a task is told.

    Attributes:
      optimizer, wrappers: the section ``optimizer``, parted in the optimizer's own settings and
        those that surround any.
      compared: schedulers to draw beside the chosen one, each once.
      hparams: the options by group and the settings by dotted key, as they were written: nothing
        from the environment.
    """

    seed: int
    accelerator: Accelerator
    compilation_cache: bool | str
    plugins: tuple[str, ...]
    training: Training
    scheduler: Choice
    optimizer: Choice
    wrappers: Wrappers
    model: Choice
    dataset: Choice
    task: Choice
    compared: tuple[Choice, ...]
    hparams: Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Settings:
    """The keys that belong to no section."""

    seed: int
    accelerator: Accelerator
    compilation_cache: bool | str
    plugins: tuple[str, ...]

    def __post_init__(self) -> None:
        whole("seed", self.seed, at_least=0)
        if self.compilation_cache == "":
            raise ConfigError(
                "compilation_cache", "'' names no folder", "write true, false or a folder"
            )


def read_config(
    values: Mapping[str, Any],
    *,
    as_written: Mapping[str, Any],
    options: Mapping[str, Any],
    plugins: tuple[str, ...],
) -> Config:
    """Checks the composed ``values`` and returns them typed.

    Args:
      values: plain containers, interpolations resolved.
      as_written: the same with interpolations as they were written.
      options: group → the option chosen; one that is missing goes by its registered name.
      plugins: the packages that the command line names; no other place may name one.

    Raises:
      ConfigError: a key is unknown, missing, of another type, out of range, or at odds with
        another one.
    """
    top_level = list(Settings.__dataclass_fields__)
    sections = ["training", *CHOICES]
    check_keys(values, known=top_level + sections, required=top_level + sections, key="")
    settings = convert(Settings, {name: values[name] for name in top_level}, key="")
    if settings.plugins != plugins:
        raise ConfigError(
            "plugins",
            f"{list(settings.plugins)} comes from a configuration file",
            "name plugins on the command line only: plugins=[my_models]",
        )
    training = convert(Training, values["training"], key="training")
    groups = group_names(values["optimizer"])
    wrappers, optimizer = _parted(values["optimizer"], groups)
    sections = {group: values[group] for group in CHOICES} | {"optimizer": optimizer}
    choices = {g: _choice(g, sections[g], options.get(g), groups=groups) for g in CHOICES}
    _check_momentum(choices["scheduler"], choices["optimizer"])
    return Config(
        seed=settings.seed,
        accelerator=settings.accelerator,
        compilation_cache=settings.compilation_cache,
        plugins=settings.plugins,
        training=training,
        scheduler=choices["scheduler"],
        optimizer=choices["optimizer"],
        wrappers=wrappers,
        model=choices["model"],
        dataset=choices["dataset"],
        task=choices["task"],
        compared=(),  # composed each by itself, once this is known to be good
        hparams=_hparams(as_written, choices),
    )


def _parted(section: Any, groups: GroupNames) -> tuple[Wrappers, Any]:
    """What surrounds the optimizer, and what is left of its section."""
    if not isinstance(section, Mapping):
        raise ConfigError("optimizer", f"{section!r} is no option", "pick one: optimizer=...")
    known = Wrappers.__dataclass_fields__
    around = {key: value for key, value in section.items() if key in known}
    wrappers = convert(Wrappers, around, key="optimizer")
    if isinstance(wrappers.multiplier, Mapping):
        groups.check_names(wrappers.multiplier, key="optimizer.multiplier")
    elif isinstance(wrappers.multiplier, tuple):
        groups.in_order(wrappers.multiplier, key="optimizer.multiplier")
    return wrappers, {key: value for key, value in section.items() if key not in known}


def _choice(group: str, section: Any, option: Any, key: str = "", *, groups: GroupNames) -> Choice:
    """The choice that ``section`` at ``key`` (if empty: at the group's own) makes of ``group``."""
    key = key or group
    if section is None or isinstance(section, str):
        raise ConfigError(key, f"{section!r} is no option", f"pick one: {group}=...")
    if not isinstance(section, Mapping) or section.get("name", MISSING) == MISSING:
        raise _nameless(group, option, f"{key}.name")
    arguments = {key: value for key, value in section.items() if key != "name"}
    name = section["name"]
    if not isinstance(name, str):
        raise ConfigError(f"{key}.name", f"{name!r} is not a text", "write a registered name")
    known = CHOICES[group]
    if name in known:
        if known[name] is Sequence:
            arguments = _with_parts(arguments, f"{key}.parts", groups)
        settings = convert(known[name], arguments, key=key, groups=groups)
        return Choice(option or name, name, vars(settings))
    if group not in GROUPS:
        raise ConfigError(f"{key}.name", f"there is no {group} {name!r}", nearest(name, known))
    reserved = Wrappers.__dataclass_fields__ if group == "optimizer" else ()
    arguments = check_arguments(group, name, arguments, built_in=known, reserved=reserved, key=key)
    for argument, value in arguments.items():
        if _is_by_group(group, argument, value, groups):
            arguments[argument] = rates(value, key=f"{key}.{argument}", groups=groups)
    return Choice(option or name, name, arguments)


def _is_by_group(group: str, argument: str, value: Any, groups: GroupNames) -> bool:
    """Whether an argument of a plugin's is numbers of which each group has its own."""
    if group == "optimizer":
        return argument in GROUP_KEYS and isinstance(value, (list, Mapping))
    named = isinstance(value, Mapping) and bool(value)
    return group == "scheduler" and named and set(value) <= set(groups.all_names)


def _nameless(group: str, option: Any, key: str) -> ConfigError:
    if not isinstance(option, str):
        return ConfigError(key, "has no value", f"pick an option: {group}=...")
    example = f"defaults: [{next(iter(CHOICES[group]))}, _self_]"
    return ConfigError(
        key,
        f"has no value with the option {option!r}",
        f"begin {group}/{option}.yaml with {example} to build upon an option, or with name: ...",
    )


def _with_parts(arguments: Mapping[str, Any], key: str, groups: GroupNames) -> dict[str, Any]:
    """The arguments of a sequence, its parts read as the schedulers that they are."""
    parts = arguments.get("parts")
    if not isinstance(parts, Mapping):
        return dict(arguments)
    read = {
        name: _choice("scheduler", part, None, f"{key}.{name}", groups=groups)
        for name, part in parts.items()
    }
    return {**arguments, "parts": read}


def _check_momentum(scheduler: Choice, optimizer: Choice) -> None:
    """A momentum that cycles needs one to replace; a plugin's optimizer is asked when built."""
    key = momentum_key(scheduler)
    if key is None or optimizer.name not in CHOICES["optimizer"]:
        return
    taken = [name for name in MOMENTUM_KEYS if name in optimizer.arguments]
    if not taken:
        raise ConfigError(
            key,
            f"true, but the optimizer {optimizer.name} has no momentum",
            f"choose one that has, such as sgd or adam, or set {key}=false",
        )
    if not any(optimizer.arguments[name] for name in taken):
        raise ConfigError(
            key,
            f"true, but optimizer.{taken[0]} is {shown(optimizer.arguments[taken[0]])}",
            f"set optimizer.{taken[0]} (0.9), or {key}=false",
        )


def _hparams(
    as_written: Mapping[str, Any], choices: Mapping[str, Choice]
) -> dict[str, str | int | float | bool]:
    told = {key: value for key, value in as_written.items() if key not in ("plugins", "task")}
    flat = _flat(told)
    for group in choices.keys() & told.keys():
        # The option says more than the factory it configures.
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
