"""What is wrong with a command line or a file that Hydra could not compose.

Hydra's own texts are not interpreted: its parser, the groups, their options and the settings of
the chosen options tell which override is at fault. What is left gets one general line.
"""

from collections.abc import Iterable, Mapping, Sequence
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

from runner.errors import ConfigError, nearest

SEE_HELP = "python -m runner --help lists groups and options, --cfg job every setting"
NO_SETTING = "there is no such setting"

_REMEDIES = {
    InterpolationKeyError: "name a setting that exists",
    InterpolationToMissingValueError: "give that setting a value",
    UnsupportedInterpolationType: "resolvers are oc.env, oc.decode, hydra, now",
    GrammarParseError: "write ${key}",
    RecursionError: "nest settings and defaults lists less deeply",
}


class Known(Protocol):
    """What there is; see ``runner.cli.composition.Composer``."""

    config_name: str

    def chooses(self, line: str) -> bool: ...
    def settings(self, lines: Sequence[str]) -> dict[str, Any]: ...
    def choices(self) -> dict[str, str | None]: ...
    def options(self, group: str) -> list[str]: ...


def find(error: Exception, parsed: Sequence[Override], known: Known) -> ConfigError:
    """The fault behind ``error``, which composing or resolving has raised."""
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
            return ConfigError(name, "there is no such environment variable", f"set {name}")
    message, *_ = str(getattr(said, "msg", None) or said or type(said).__name__).splitlines()
    remedy = _REMEDIES.get(type(said), SEE_HELP)
    with suppress(Exception):  # where the files are wrong already, no override is to blame
        lines = [str(override.input_line) for override in parsed]
        faults = (_of_override(o, known, lines) for o in parsed if remedy == SEE_HELP)
        if fault := next(filter(None, faults), None):
            return fault
    return ConfigError(key, message, remedy)


def of_grammar(error: Exception, line: str) -> ConfigError:
    """The fault of an override that Hydra's parser refuses."""
    key, equals, value = line.partition("=")
    key = key or "command line"
    if not isinstance(error, OverrideParseException):  # an int of thousands of digits, ...
        return ConfigError(key, str(error), "write a simpler value")
    if not equals and not key.startswith("~"):
        return ConfigError(key, "is neither key=value nor a flag", SEE_HELP)
    remedy = "quote special characters, once for the shell and once for Hydra: 'key=\"value\"'"
    return ConfigError(key, f"{value!r} cannot be read", remedy)


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """That of a key that is not a setting; near names are of its own section, if there is one."""
    keys, (section, _, name) = list(known), key.rpartition(".")
    pairs = (other.rpartition(".") for other in keys)
    same = {own for place, _, own in pairs if place == section}
    if section and same == {"name"}:
        return ConfigError(key, NO_SETTING, f"{section} takes no settings here")
    remedy = nearest(name, same) if same else nearest(key, keys)
    return ConfigError(key or "command line", NO_SETTING, remedy if len(remedy) < 200 else SEE_HELP)


def _of_override(override: Override, known: Known, lines: list[str]) -> ConfigError | None:
    if override.is_sweep_override():
        return None
    if known.chooses(str(override.input_line)) and not isinstance(override.value(), dict):
        return _of_choice(override, known.choices())
    return _of_setting(override, known.settings(lines))


def _of_choice(override: Override, chosen: Mapping[str, Any]) -> ConfigError | None:
    """What is wrong with an override that chooses an option of a group."""
    key, value = override.get_key_element().lstrip("+"), override.value()
    place = key.lstrip("~")
    if override.is_force_add():
        problem, remedy = "an option cannot be forced", "leave out the ++"
    elif override.is_delete() and (place not in chosen or value not in (None, chosen[place])):
        problem, remedy = "is not chosen, so not there to be deleted", SEE_HELP
    elif override.is_add() and place in chosen:
        problem, remedy = "is given twice", "keep one of the options"
    elif override.type is OverrideType.CHANGE and place not in chosen:
        problem, remedy = "is not chosen anywhere", f"write +{place}=... to add it"
    else:
        return None
    return ConfigError(key, problem, remedy)


def _of_setting(override: Override, settings: Mapping[str, Any]) -> ConfigError | None:
    """What is wrong with an override that sets, adds or deletes a value."""
    key, is_there = override.key_or_group, override.key_or_group in settings
    unknown = unknown_key(key, settings)
    if override.is_delete():
        if is_there:
            return ConfigError(f"~{key}", "cannot be deleted, as it is null", "leave this out")
        return ConfigError(f"~{key}", "is not there to be deleted", unknown.remedy)
    if override.is_add() and is_there:
        return ConfigError(key, "is there already", "leave out the +")
    if override.type is OverrideType.CHANGE and not is_there:
        return unknown
    if {type(override.value()), type(settings.get(key))} == {list, dict}:
        problem = "is a list here and a mapping there, which do not go together"
        return ConfigError(key, problem, "write the same as in --cfg job")
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
    problem = f"there is no option {option!r}"
    return ConfigError(group, problem, nearest(option, options))


def _causes(error: BaseException | None) -> list[BaseException]:
    """``error`` and what has led to it."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
