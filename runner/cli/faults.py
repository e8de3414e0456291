"""What is wrong with a command line or a file that Hydra could not compose.

Hydra's own texts are not interpreted: its parser, the groups, their options and the settings of
the chosen options tell which override is at fault. What is left gets one general line.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from runner.cli.interpolation import UnsetVariableError
from runner.errors import ConfigError, nearest

SEE_HELP = "python -m runner --help lists groups and options, --cfg job every setting"


class Known(Protocol):
    """What there is; asked only when there is an error."""

    config_name: str

    def is_group(self, name: str) -> bool: ...

    def options(self, group: str) -> list[str]: ...

    def choices(self) -> Mapping[str, Any]:
        """The options that the files choose, by group (and package)."""
        ...

    def settings(self, parsed: Sequence[Override]) -> Mapping[str, Any]:
        """Every setting by dotted key, of the options that ``parsed`` choose."""
        ...


def find(error: Exception, parsed: Sequence[Override], known: Known) -> ConfigError:
    """The fault behind ``error``, which composing or resolving has raised."""
    causes = _causes(error)
    found = (_of_cause(cause, known) for cause in causes)
    if fault := next(filter(None, found), None):
        return fault
    settings = known.settings(parsed)
    found = (_of_override(override, settings, known) for override in parsed)
    if fault := next(filter(None, found), None):
        return fault
    said = next((cause for cause in causes if isinstance(cause, OmegaConfBaseException)), error)
    key = getattr(said, "full_key", None) or "configuration"
    if isinstance(said, (ConfigKeyError, ConfigAttributeError)):
        return unknown_key(key, settings)
    return ConfigError(key, one_line(getattr(said, "msg", None) or said), SEE_HELP)


def of_grammar(error: Exception, line: str) -> ConfigError:
    """The fault of an override that Hydra's parser refuses."""
    key, equals, value = line.partition("=")
    key = short(key) or "command line"
    if not isinstance(error, OverrideParseException):  # an int of thousands of digits, ...
        return ConfigError(key, one_line(error), "write a simpler value")
    if not equals and not key.startswith("~"):
        return ConfigError(key, "is neither key=value nor a flag", SEE_HELP)
    remedy = "quote special characters, once for the shell and once for Hydra: 'key=\"value\"'"
    return ConfigError(key, f"{short(value)!r} cannot be read", remedy)


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """That of a key that is not a setting; near names are of its own section, if there is one."""
    keys, (section, _, name) = list(known), key.rpartition(".")
    same = {other.removeprefix(f"{section}.") for other in keys if other.startswith(f"{section}.")}
    if same == {"name"}:
        remedy = f"{section} takes no settings here"
    elif section and same:
        remedy = nearest(name, {name for name in same if "." not in name})
    else:
        is_hydras = key.startswith("hydra")
        remedy = nearest(key, {other for other in keys if other.startswith("hydra") == is_hydras})
    remedy = SEE_HELP if len(remedy) > 200 else remedy
    return ConfigError(key or "command line", "there is no such setting", remedy)


def one_line(error: object) -> str:
    """The message of ``error`` in one line of bearable length."""
    return short(" ".join(str(error).split()) or type(error).__name__, 200)


def short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _of_override(
    override: Override, settings: Mapping[str, Any], known: Known
) -> ConfigError | None:
    if override.is_sweep_override():
        return None
    if known.is_group(override.key_or_group) and not isinstance(override.value(), dict):
        return _of_choice(override, known)
    return _of_setting(override, settings)


def _of_choice(override: Override, known: Known) -> ConfigError | None:
    """The fault of an override that chooses an option of a group."""
    value: Any = override.value()
    if override.is_force_add():
        return ConfigError(override.key_or_group, "an option cannot be forced", "leave out the ++")
    for option in value if isinstance(value, list) else [value]:
        options = known.options(override.key_or_group)
        if option not in options and not (override.is_delete() or "${" in str(option)):
            problem = f"there is no option {short(str(option))!r}"
            return ConfigError(override.key_or_group, problem, nearest(str(option), options))
    place, choices = override.get_key_element().lstrip("+~"), known.choices()
    if override.is_delete() and choices.get(place) != (value or choices.get(place, "")):
        return ConfigError(f"~{place}", "is not chosen, so not there to be deleted", SEE_HELP)
    if override.is_add() and place in choices:
        return ConfigError(place, "is given twice", "keep one of the options")
    if override.type is OverrideType.CHANGE and place not in choices:
        return ConfigError(place, "is not chosen anywhere", f"write +{place}=... to add it")
    return None


def _of_setting(override: Override, settings: Mapping[str, Any]) -> ConfigError | None:
    """The fault of an override that sets, adds or deletes a value."""
    key, is_there = override.key_or_group, override.key_or_group in settings
    if override.is_delete():
        unknown = unknown_key(key, settings).remedy
        problem, remedy = "is not there to be deleted", "" if is_there else unknown
        return ConfigError(f"~{key}", problem, remedy or "it is null, and stays a setting")
    if override.is_add() and is_there:
        return ConfigError(key, "is there already", "leave out the +")
    if override.type is OverrideType.CHANGE and not is_there:
        return unknown_key(key, settings)
    kinds = {type(override.value()), type(settings.get(key))}
    if kinds == {list, dict}:
        problem = "is a list here and a mapping there, which do not go together"
        return ConfigError(key, problem, "write the same as in --cfg job")
    return None


def _of_cause(cause: BaseException, known: Known) -> ConfigError | None:
    """The fault that an error states by its kind and its attributes."""
    if isinstance(cause, ConfigError):
        return cause
    if isinstance(cause, MissingConfigException):
        return _missing_option(cause, known)
    if isinstance(cause, RecursionError):
        problem = "is nested too deeply or refers to itself"
        return ConfigError("configuration", problem, SEE_HELP)
    if isinstance(cause, OmegaConfBaseException):
        return _of_interpolation(cause)
    if isinstance(cause, KeyError):  # of os.environ (hydra.job.env_copy)
        name = str(cause.args[0] if cause.args else "?")
        return ConfigError(name, "there is no such environment variable", f"set {name}")
    return None


def _missing_option(error: MissingConfigException, known: Known) -> ConfigError:
    path = error.missing_cfg_file or ""
    if path == known.config_name:
        problem = f"there is no {path!r} in the folders of settings"
        return ConfigError("--config-name", problem, "name a YAML file of --config-dir")
    group, _, option = path.rpartition("/")
    if not group:
        return ConfigError(option or "defaults", "there is no such file", SEE_HELP)
    options = error.options or known.options(group)
    return ConfigError(group, f"there is no option {option!r}", nearest(option, options))


def _of_interpolation(error: OmegaConfBaseException) -> ConfigError | None:
    key = getattr(error, "full_key", None) or "configuration"
    for cause in _causes(error):
        if isinstance(cause, UnsetVariableError):
            problem = f"the environment variable {cause.args[0]} is not set"
            return ConfigError(key, problem, f"set {cause.args[0]}")
    if isinstance(error, InterpolationKeyError):
        # OmegaConf keeps the name in its text only: Interpolation key 'this' not found
        name = [*str(error).split("'"), "a setting"][1]
        return ConfigError(key, f"refers to {name}, which does not exist", "name a setting")
    if isinstance(error, InterpolationToMissingValueError):
        return ConfigError(key, "refers to a setting that has no value", "give that one a value")
    if isinstance(error, UnsupportedInterpolationType):
        problem = one_line(getattr(error, "msg", None) or error)
        return ConfigError(key, problem, "resolvers are oc.env, oc.decode, hydra, now")
    if isinstance(error, GrammarParseError):
        return ConfigError(key, "holds an interpolation that cannot be read", "write ${key}")
    return None


def _causes(error: BaseException | None) -> list[BaseException]:
    """``error`` and what has led to it."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
