"""Finds the mistake in a command line or file that Hydra could not compose.

Hydra's messages are not interpreted: each override is compared with the groups, their options and
the settings of the chosen options. An exception that no override explains gets a general error.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from runner.config.invalid import SEE_HELP, unknown_setting
from runner.errors import ConfigError, nearest

_REMEDIES = {
    InterpolationKeyError: "name a setting that exists",
    InterpolationToMissingValueError: "give that setting a value",
    UnsupportedInterpolationType: "resolvers are oc.env, oc.decode, hydra, now",
    GrammarParseError: "write ${key}",
    RecursionError: "nest settings and defaults lists less deeply",
}


class Known(Protocol):
    """What overrides are compared with; see ``runner.cli.composition.Composer``."""

    config_name: str

    def chooses(self, line: str) -> bool: ...
    def settings(self, lines: Sequence[str]) -> dict[str, Any]: ...
    def choices(self) -> dict[str, str | None]: ...
    def options(self, group: str) -> list[str]: ...


def find(error: Exception, parsed: Sequence[Override], known: Known) -> ConfigError:
    """The mistake that made composing or resolving raise ``error``."""
    causes = _causes(error)
    said = next((cause for cause in causes if isinstance(cause, OmegaConfBaseException)), error)
    key = getattr(said, "full_key", None) or "configuration"
    for cause in causes:
        if isinstance(cause, ConfigError):
            return ConfigError(cause.key or key, cause.problem, cause.remedy)
        if isinstance(cause, MissingConfigException):
            return _missing_option(cause, known)
        if type(cause) is KeyError:  # of os.environ (hydra.job.env_copy)
            name = str(cause.args[0])
            return ConfigError(name, "this environment variable is not set", f"set {name}")
    text = str(getattr(said, "msg", None) or said).strip()
    message, *_ = text.splitlines() or [f"cannot be composed ({type(said).__name__})"]
    remedy = _REMEDIES.get(type(said), SEE_HELP)
    with suppress(Exception):  # the files may be wrong themselves; then no override is at fault
        lines = [str(override.input_line) for override in parsed]
        faults = (_of_override(o, known, lines) for o in parsed if remedy == SEE_HELP)
        if fault := next(filter(None, faults), None):
            return fault
    return ConfigError(key, message, remedy)


def of_grammar(error: Exception, line: str) -> ConfigError:
    """The error for an override that Hydra's parser rejects."""
    key, equals, value = line.partition("=")
    key = key or "command line"
    if not isinstance(error, OverrideParseException):  # an int of thousands of digits, ...
        return ConfigError(key, str(error), "write a simpler value")
    if not equals and not key.startswith("~"):
        return ConfigError(key, "is neither key=value nor a flag", SEE_HELP)
    remedy = "quote special characters, once for the shell and once for Hydra: 'key=\"value\"'"
    return ConfigError(key, f"{value!r} cannot be parsed", remedy)


def _of_override(override: Override, known: Known, lines: list[str]) -> ConfigError | None:
    if override.is_sweep_override():
        return None
    if known.chooses(str(override.input_line)) and not isinstance(override.value(), dict):
        return _of_choice(override, known.choices())
    return _of_setting(override, known.settings(lines))


def _of_choice(override: Override, chosen: Mapping[str, Any]) -> ConfigError | None:
    """The error for an override that chooses an option of a group; None if it is right."""
    key, value = override.get_key_element().lstrip("+"), override.value()
    place = key.lstrip("~")
    if override.is_force_add():
        problem, remedy = "an option cannot be added with ++", "leave out the ++"
    elif override.is_delete() and (place not in chosen or value not in (None, chosen[place])):
        problem, remedy = "cannot be deleted, as it is not chosen", SEE_HELP
    elif override.is_add() and place in chosen:
        problem, remedy = "is given twice", "keep one of the options"
    elif override.type is OverrideType.CHANGE and place not in chosen:
        problem, remedy = "is not chosen anywhere", f"write +{place}=... to add it"
    else:
        return None
    return ConfigError(key, problem, remedy)


def _of_setting(override: Override, settings: Mapping[str, Any]) -> ConfigError | None:
    """The error for an override that sets, adds or deletes a value; None if it is right."""
    key, is_there = override.key_or_group, override.key_or_group in settings
    unknown = unknown_setting(key, settings)
    if override.is_delete():
        if is_there:
            return ConfigError(f"~{key}", "cannot be deleted, as it is null", "leave this out")
        return ConfigError(f"~{key}", "there is nothing to delete", unknown.remedy)
    if override.is_add() and is_there:
        return ConfigError(key, "exists already", "leave out the +")
    if override.type is OverrideType.CHANGE and not is_there:
        return unknown
    if {type(override.value()), type(settings.get(key))} == {list, dict}:
        problem = "would merge a list with a mapping"
        return ConfigError(key, problem, "write it as --cfg job shows it")
    return None


def _missing_option(error: MissingConfigException, known: Known) -> ConfigError:
    path = error.missing_cfg_file or ""
    if path == known.config_name:
        problem = f"no folder of settings contains {path!r}"
        return ConfigError("--config-name", problem, "name a YAML file of --config-dir")
    group, _, option = path.rpartition("/")
    if not group:
        return ConfigError(option or "defaults", "there is no such file", SEE_HELP)
    options = error.options or known.options(group)
    problem = f"there is no option {option!r}"
    return ConfigError(group, problem, nearest(option, options))


def _causes(error: BaseException | None) -> list[BaseException]:
    """``error`` and the exceptions that caused it."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
