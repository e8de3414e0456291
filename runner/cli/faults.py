"""What is wrong with a command line or a file that Hydra could not compose.

Hydra's own texts are not interpreted: its parser, the groups, their options and the settings of
the chosen options tell which override is at fault. What is left gets one general line.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from runner.cli.loader import SettingsLoader
from runner.errors import ConfigError, nearest

SEE_HELP = "python -m runner --help lists groups and options, --cfg job every setting"
NO_SETTING = "there is no such setting"

_REMEDIES = {
    InterpolationKeyError: "name a setting that exists",
    InterpolationToMissingValueError: "give that setting a value",
    UnsupportedInterpolationType: "resolvers are oc.env, oc.decode, hydra, now",
    GrammarParseError: "write ${key}",
}


def find(error: Exception, parsed: Sequence[Override], loader: SettingsLoader) -> ConfigError:
    """The fault behind ``error``, which composing or resolving has raised."""
    causes = _causes(error)
    said = next((cause for cause in causes if isinstance(cause, OmegaConfBaseException)), error)
    key = getattr(said, "full_key", None) or "configuration"
    for cause in causes:
        if isinstance(cause, ConfigError):
            return ConfigError(cause.key or key, cause.problem, cause.remedy)
        if isinstance(cause, MissingConfigException):
            return _missing_option(cause, loader)
        if isinstance(cause, RecursionError):
            return ConfigError(key, "is nested too deeply or refers to itself", SEE_HELP)
        if type(cause) is KeyError:  # of os.environ (hydra.job.env_copy)
            name = str(cause.args[0])
            return ConfigError(name, "there is no such environment variable", f"set {name}")
    message = one_line(str(getattr(said, "msg", None) or said).partition("\n")[0] or said)
    if remedy := _REMEDIES.get(type(said)):
        return ConfigError(key, message, remedy)
    with suppress(Exception):  # where the files are wrong already, no override is to blame
        settings = loader.settings([str(override.input_line) for override in parsed])
        choices = loader.choices()
        faults = (_of_override(override, loader, settings, choices) for override in parsed)
        if fault := next(filter(None, faults), None):
            return fault
    return ConfigError(key, message, SEE_HELP)


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
    pairs = (other.rpartition(".") for other in keys)
    same = {own for place, _, own in pairs if place == section}
    if section and same == {"name"}:
        return ConfigError(key, NO_SETTING, f"{section} takes no settings here")
    remedy = nearest(name, same) if same else nearest(key, keys)
    return ConfigError(key or "command line", NO_SETTING, remedy if len(remedy) < 200 else SEE_HELP)


def one_line(error: object) -> str:
    """The message of ``error`` in one line of bearable length."""
    return short(" ".join(str(error).split()) or type(error).__name__, 200)


def short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _of_override(
    override: Override,
    loader: SettingsLoader,
    settings: Mapping[str, Any],
    choices: Mapping[str, Any],
) -> ConfigError | None:
    if override.is_sweep_override():
        return None
    key, value = override.key_or_group, override.value()
    if loader.is_group(key) and not isinstance(value, dict):
        return _of_choice(override, value, choices)
    is_there = key in settings
    if override.is_delete():
        remedy = "it is null, and stays a setting" if is_there else ""
        remedy = remedy or unknown_key(key, settings).remedy
        return ConfigError(f"~{key}", "is not there to be deleted", remedy)
    if override.is_add() and is_there:
        return ConfigError(key, "is there already", "leave out the +")
    if override.type is OverrideType.CHANGE and not is_there:
        return unknown_key(key, settings)
    if {type(value), type(settings.get(key))} == {list, dict}:
        problem = "is a list here and a mapping there, which do not go together"
        return ConfigError(key, problem, "write the same as in --cfg job")
    return None


def _of_choice(override: Override, value: Any, choices: Mapping[str, Any]) -> ConfigError | None:
    """The fault of an override that chooses an option of a group."""
    place = override.get_key_element().lstrip("+~")
    if override.is_force_add():
        return ConfigError(place, "an option cannot be forced", "leave out the ++")
    if override.is_delete() and choices.get(place) != (value or choices.get(place, "")):
        return ConfigError(f"~{place}", "is not chosen, so not there to be deleted", SEE_HELP)
    if override.is_add() and place in choices:
        return ConfigError(place, "is given twice", "keep one of the options")
    if override.type is OverrideType.CHANGE and place not in choices:
        return ConfigError(place, "is not chosen anywhere", f"write +{place}=... to add it")
    return None


def _missing_option(error: MissingConfigException, loader: SettingsLoader) -> ConfigError:
    path = error.missing_cfg_file or ""
    if path == loader.config_name:
        problem = f"there is no {path!r} in the folders of settings"
        return ConfigError("--config-name", problem, "name a YAML file of --config-dir")
    group, _, option = path.rpartition("/")
    if not group:
        return ConfigError(option or "defaults", "there is no such file", SEE_HELP)
    options = error.options or loader.get_group_options(group)
    problem = f"there is no option {short(option)!r}"
    return ConfigError(group, problem, nearest(option, options))


def _causes(error: BaseException | None) -> list[BaseException]:
    """``error`` and what has led to it."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
