"""Puts what Hydra and OmegaConf raise into our own words: the key, what is wrong, what to do."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from runner.errors import ConfigError, nearest

SEE_HELP = "python -m runner --help lists groups and options, --cfg job every setting"


@dataclass(frozen=True)
class Known:
    """What a mistyped name is compared with; both are asked only when there is an error.

    Attributes:
      keys: every setting by dotted key, as composed without the overrides that fail.
      options: the options of a group; empty if there is no such group.
    """

    keys: Callable[[], Sequence[str]]
    options: Callable[[str], Sequence[str]]


def translate(error: Exception, known: Known) -> ConfigError:
    """The same failure as an answer.

    Whatever is raised while a configuration is composed is about what the user supplied.
    """
    for kind, answer in _KINDS:
        if isinstance(error, kind):
            return answer(error, known)
    cause = error.__cause__
    if isinstance(error, HydraException) and not str(error) and isinstance(cause, Exception):
        return translate(cause, known)
    for pattern, answer in _TEXTS:
        if match := re.search(pattern, str(error), re.DOTALL):
            return answer(match.groupdict(), known)
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        return _omegaconf(cause, fallback=_key_in(str(error)))
    return ConfigError(_key_in(str(error)), one_line(error), SEE_HELP)


def one_line(error: BaseException) -> str:
    """The message of ``error`` in one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def _bad_grammar(error: OverrideParseException, known: Known) -> ConfigError:
    key, equals, value = error.override.partition("=")
    if not equals and not key.startswith("~"):
        return ConfigError(
            _short(key) or "command line", "is neither key=value nor a flag", SEE_HELP
        )
    return ConfigError(
        _short(key) or "command line",
        f"{_short(value)!r} cannot be read",
        "quote special characters, once for the shell and once for Hydra: 'key=\"value\"'",
    )


def _missing_option(error: MissingConfigException, known: Known) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if group:
        options = error.options or known.options(group)
        return ConfigError(group, f"there is no option {option!r}", nearest(option, options))
    if "rimary config" in str(error):
        return ConfigError(
            "--config-name", one_line(error).split(".")[0], "name a YAML file of --config-dir"
        )
    where, _, _ = one_line(error).partition(" Config search path")
    return ConfigError(option or "defaults", where, SEE_HELP)


def _unknown_key(found: dict[str, str], known: Known) -> ConfigError:
    key = found["key"]
    remedy = _near(key, known.keys())
    return ConfigError(key or "command line", "there is no such setting", remedy)


def _near(key: str, keys: Sequence[str]) -> str:
    """Near names within the key's own section, if that exists; else among all keys."""
    if key in keys:  # of one member of a multirun
        return "not every option that is asked for has it"
    section, _, name = key.rpartition(".")
    start = f"{section}." if section else ""
    same = {known[len(start) :] for known in keys if known.startswith(start)}
    if same == {"name"}:
        return f"{section} takes no settings here"
    if section and same:
        return nearest(name, {name for name in same if "." not in name})
    is_hydras = key.startswith("hydra")
    remedy = nearest(key, {name for name in keys if name.startswith("hydra") == is_hydras})
    return SEE_HELP if remedy.startswith("known:") else remedy


def _bad_group(found: dict[str, str], known: Known) -> ConfigError:
    return ConfigError("command line", f"a group takes one option, not {found['kind']}", SEE_HELP)


def _several_values(found: dict[str, str], known: Known) -> ConfigError:
    key, _, value = found["override"].partition("=")
    return ConfigError(
        key,
        f"{_short(value)!r} is several values",
        "add -m to run each of them, or write a list: [...]",
    )


def _sweep_of_hydra(found: dict[str, str], known: Known) -> ConfigError:
    key, _, value = found["override"].partition("=")
    return ConfigError(key, f"{_short(value)!r} is several values", "write one for all jobs")


def _given_twice(found: dict[str, str], known: Known) -> ConfigError:
    return ConfigError(found["key"], "is given twice", "keep one of the options")


def _already_there(found: dict[str, str], known: Known) -> ConfigError:
    return ConfigError(found["key"], "is there already", "leave out the +")


def _nothing_to_delete(found: dict[str, str], known: Known) -> ConfigError:
    key = found["key"]
    return ConfigError(f"~{key}", "is not there to be deleted", _near(key, known.keys()))


def _must_choose(found: dict[str, str], known: Known) -> ConfigError:
    group = found["key"]
    return ConfigError(group, "has no option", nearest("", known.options(group)))


def _list_by_name(found: dict[str, str], known: Known) -> ConfigError:
    problem = f"{found['name']!r} is no place in the list that is there"
    return ConfigError("configuration", problem, "write the whole list, or a mapping alone")


def _no_search_path(found: dict[str, str], known: Known) -> ConfigError:
    return ConfigError("hydra.searchpath", f"{found['path']!r} is not there", "name a folder")


def _no_environment(error: KeyError, known: Known) -> ConfigError:
    name = error.args[0] if error.args else "?"
    return ConfigError(name, "there is no such environment variable", f"set {name}")


Answer = Callable[[dict[str, str], Known], ConfigError]
# What Hydra 1.3 says (matched in this order) → what we say.
_TEXTS: Iterable[tuple[str, Answer]] = (
    (r"^Could not override '(?P<key>[^'@]*)(@[^']*)?'", _unknown_key),
    (r"^Ambiguous value for argument '(?P<override>[^\n]*)'\n", _several_values),
    (r"^Sweeping over Hydra's configuration.*: '(?P<override>.*)'", _sweep_of_hydra),
    (r"^Sweep parameters '(?P<override>.*)' requires --multirun", _several_values),
    (r"^Config group override must be a string or a list\. Got (?P<kind>\w+)", _bad_group),
    (r"^Multiple values for (?P<key>[\w/@.]+)", _given_twice),
    (r"^(?P<key>[\w/@.]+) appears more than once in the final", _given_twice),
    (r"^Could not append to config.*already at '(?P<key>[^']+)'", _already_there),
    (r"^Could not append '(?P<key>[^'=]+)", _already_there),
    (r"^Could not delete(?: from config\.)? '(?P<key>[^'=]+)", _nothing_to_delete),
    (r"^provider=hydra\.searchpath.* path=(?P<path>.*) is not available", _no_search_path),
    (r"^invalid literal for int\(\) with base 10: '(?P<name>[^']*)'", _list_by_name),
    (r"^You must specify '(?P<key>[^']+)'", _must_choose),
)


def _omegaconf(error: OmegaConfBaseException, fallback: str = "configuration") -> ConfigError:
    key = getattr(error, "full_key", None) or fallback
    text = (str(getattr(error, "msg", None) or error) or type(error).__name__).splitlines()[0]
    if match := re.search(r"Environment variable '([^']*)' not found", text):
        problem = f"the environment variable {match[1]} is not set"
        return ConfigError(key, problem, f"set {match[1]}")
    if isinstance(error, InterpolationKeyError):
        name = re.search(r"'([^']*)'", text)
        return ConfigError(
            key, f"refers to {name[1] if name else '?'}, which does not exist", "name a setting"
        )
    if isinstance(error, InterpolationToMissingValueError):
        return ConfigError(key, "refers to a setting that has no value", "give that one a value")
    if isinstance(error, UnsupportedInterpolationType):
        return ConfigError(key, text, "resolvers are oc.env, oc.select, oc.decode, now, ...")
    if isinstance(error, GrammarParseError):
        return ConfigError(key, "holds an interpolation that cannot be read", "write ${key}")
    if re.match("Cannot merge (Dict|List)Config with (Dict|List)Config", text):
        text = "is a list here and a mapping there, which do not go together"
    return ConfigError(key, text, SEE_HELP)


def _key_in(text: str) -> str:
    """The key that an error from inside Hydra is about, as far as its text says so."""
    match = re.search(r"override ['\"]?([\w.@/+~-]+)=", text) or re.search(r"^In '([^']+)'", text)
    return match[1] if match else "configuration"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


_KINDS: Iterable[tuple[type[Exception], Callable[[Any, Known], ConfigError]]] = (
    (ConfigError, lambda error, _: error),
    (OverrideParseException, _bad_grammar),
    (MissingConfigException, _missing_option),
    (OmegaConfBaseException, lambda error, _: _omegaconf(error)),
    (KeyError, _no_environment),  # of os.environ; OmegaConf's own come before
    (
        RecursionError,
        lambda error, _: ConfigError(
            "configuration", "is nested too deeply or refers to itself", SEE_HELP
        ),
    ),
)
