"""Looks at what a user supplies before Hydra acts on it: a configuration must not run code.

Hydra builds whatever a ``_target_`` names, its block list is no sandbox (CVE-2026-68508), and a
few lines of YAML can unfold into gigabytes. What is refused here never reaches it.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from runner.errors import ConfigError

TARGET = "_target_"
MAX_BYTES = 32 * 1024
MAX_NODES = 5_000
MAX_DEPTH = 100
MAX_OVERRIDE = 8_000
# Each may refer to the ones before it: with n of them a text can grow e^(n/e)-fold at most.
MAX_INTERPOLATIONS = 32

_NO_TARGET = "name a registered option instead (model=mlp); code comes from plugins only"
_ENVIRONMENT = re.compile(r"oc\.env:\s*([^\s,:{}]+)")
# YAML 1.1 reads 010 as eight and 12:30 as 750.
_SURPRISE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+)")
_PLAIN_TAG = "tag:yaml.org,2002:"
_LOGGING_CALLS = {
    "class": ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"),
    "()": ("colorlog.ColoredFormatter",),
}
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")

# Names of the environment variables that screened texts refer to; never their values.
environment_names: set[str] = set()


def screen_overrides(overrides: list[str]) -> None:
    """Refuses command-line overrides that name code, or are too long to be meant.

    Raises:
      ConfigError: names the override's key.
    """
    for override in overrides:
        key = override.partition("=")[0][:60]
        if len(override) > MAX_OVERRIDE:
            problem = f"the value has {len(override):,} characters"
            raise ConfigError(key, problem, f"write at most {MAX_OVERRIDE:,}")
        if TARGET in override:
            raise ConfigError(key, f"{TARGET} is not allowed", _NO_TARGET)
        environment_names.update(_ENVIRONMENT.findall(override))


def screen_file(path: Path) -> None:
    """Refuses a YAML file that is not plain settings.

    Raises:
      ConfigError: the file is too large or no UTF-8, its YAML is invalid, repeats a key, names
        code, unfolds beyond all measure, or would be read as something else than it looks;
        names the file and the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            problem = f"is larger than {MAX_BYTES // 1024} KiB"
            raise ConfigError(str(path), problem, "a configuration file holds settings, not data")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "is not a UTF-8 text", "save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})", "check it") from error
    _screen_text(text, str(path))


@lru_cache(maxsize=256)
def _screen_text(text: str, name: str) -> None:
    environment_names.update(_ENVIRONMENT.findall(text))
    if _depth(text) > MAX_DEPTH:  # PyYAML would take a second to fail
        raise ConfigError(name, "is nested too deeply", "write it flat")
    try:
        # Not CSafeLoader: deep nesting overflows its stack, which kills the process.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{name}{line}", f"is not valid YAML ({error.problem})", "correct it there"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(name, f"is not valid YAML ({error})", "correct it") from error
    except RecursionError as error:
        raise ConfigError(name, "is nested too deeply", "write it flat") from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(_place(name, root), "holds no settings", "write key: value lines")
    _screen_nodes(root, name)
    _screen_search_path(root, name)


def _depth(text: str) -> int:
    """How deep brackets are nested, at most."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _screen_nodes(root: yaml.Node, name: str) -> None:
    """Visits every node as often as it is referred to, which is what an alias bomb makes costly."""
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            problem = f"unfolds to more than {MAX_NODES:,} values"
            raise ConfigError(name, problem, "write less, and no anchor inside another (&, *)")
        _screen_tag(node, name)
        if isinstance(node, yaml.MappingNode):
            _screen_keys(node, name)
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif TARGET in node.value:
            raise ConfigError(_place(name, node), f"{TARGET} is not allowed", _NO_TARGET)


def _screen_tag(node: yaml.Node, name: str) -> None:
    if not node.tag.startswith(_PLAIN_TAG) or node.tag.startswith(f"{_PLAIN_TAG}python"):
        problem = f"the tag {node.tag.replace(_PLAIN_TAG, '!!')} is not allowed"
        raise ConfigError(_place(name, node), problem, "write a plain value")
    # A quoted number has the tag of a text.
    if node.tag == f"{_PLAIN_TAG}int" and _SURPRISE.fullmatch(node.value):
        problem = f"{node.value} would be read as {yaml.safe_load(node.value)}"
        raise ConfigError(_place(name, node), problem, "write it in quotes, or as a plain number")


def _screen_keys(node: yaml.MappingNode, name: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(_place(name, key), "a key is not a text", "write a plain key")
        if key.value in lines:
            problem = f"the key {key.value!r} is there twice (first in line {lines[key.value]})"
            raise ConfigError(_place(name, key), problem, "keep one of them")
        lines[key.value] = key.start_mark.line + 1


def _screen_search_path(root: yaml.MappingNode, name: str) -> None:
    """A search path in a file names folders; ``pkg://`` would import a package."""
    for node in _at(root, ("hydra", "searchpath")):
        for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            text = entry.value if isinstance(entry, yaml.ScalarNode) else TARGET
            if not text.startswith("file://") and ("://" in text or "${" in text):
                problem = f"hydra.searchpath {text!r} is not a folder"
                raise ConfigError(_place(name, entry), problem, "write file:// and a folder")


def _at(node: yaml.Node, path: tuple[str, ...]) -> Iterator[yaml.Node]:
    """The nodes at ``path``, however its keys are written (nested, or dotted)."""
    if not path:
        yield node
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            parts = tuple(str(key.value).split("."))
            if path[: len(parts)] == parts:
                yield from _at(child, path[len(parts) :])


def screen_composed(settings: Mapping[str, Any], hydra: Mapping[str, Any]) -> None:
    """Refuses what only the composed configuration shows.

    Args:
      settings: the composed settings, interpolations as written.
      hydra: Hydra's own section, likewise.

    Raises:
      ConfigError: there are too many interpolations, or Hydra is to log through anything but a
        stream or a file.
    """
    count = sum(text.count("${") for _, text in _texts(settings))
    if count > MAX_INTERPOLATIONS:
        raise ConfigError(
            "interpolations", f"there are {count} of them", f"use at most {MAX_INTERPOLATIONS}"
        )
    for section in ("hydra_logging", "job_logging"):
        for key, text in _texts(hydra.get(section), f"hydra.{section}"):
            if not _may_log(key.rpartition(".")[2], text):
                raise ConfigError(key, f"{text!r} is not allowed", "use a stream or file handler")


def _may_log(key: str, text: str) -> bool:
    if key in _LOGGING_CALLS:
        return text in _LOGGING_CALLS[key]
    if "${" in text:
        return key in ("filename", "format", "datefmt", "level")
    return text in _STREAMS or re.match(r"\w+://", text) is None


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text below ``value`` with its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item, key)


def _place(name: str, node: yaml.Node) -> str:
    return f"{name}:{node.start_mark.line + 1}"
