"""Reads a YAML file of settings: plain values, unique keys, limited size."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from runner.errors import ConfigError

TARGET = "_target_"
MAX_BYTES = 32 * 1024
MAX_NODES = 5_000

NO_TARGET = "name a registered option instead (model=mlp); code comes from plugins only"
# YAML 1.1 reads 010 as eight and 12:30 as 750.
_SURPRISE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+)")
_PLAIN_TAG = "tag:yaml.org,2002:"
_KEYWORDS = {"override", "optional"}

# The node at fault, if there is one; the problem; the remedy.
Fault = tuple[yaml.Node | None, str, str]


def read_settings_file(path: Path) -> str:
    """The contents of a YAML file of plain settings.

    Raises:
      ConfigError: the file is too large or not UTF-8; or its YAML is invalid, repeats a key,
        contains a ``_target_`` or tag, expands to too many values, or has a number that YAML reads
        differently than a person would. The key is the file and the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            problem = f"is larger than {MAX_BYTES // 1024} KiB"
            raise ConfigError(str(path), problem, "a configuration file holds settings, not data")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "is not UTF-8", "save it as UTF-8") from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise ConfigError(str(path), problem, "check its path and permissions") from error
    _check_text(text, str(path))
    return text


def read_record(path: Path) -> Any:
    """The YAML of a file beside a run's settings; None if it cannot be read or is damaged."""
    try:
        # Neither a device nor a pipe, which could be read for ever.
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        is_small = sum(1 for _ in islice(_visits(root), MAX_NODES + 1)) <= MAX_NODES
        return yaml.safe_load(text) if is_small else None
    # The last four are raised for a value that does not suit its tag, such as !!timestamp x.
    except (
        OSError,
        RecursionError,
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ):
        return None


@lru_cache(maxsize=256)
def _check_text(text: str, name: str) -> None:
    try:
        # Not CSafeLoader: deep nesting overflows its stack, which kills the process.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise ConfigError(name, "is nested too deeply", "use fewer levels") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(place, f"is not valid YAML ({said})", "correct it") from error
    for node, problem, remedy in _faults(root) if root else ():
        raise ConfigError(f"{name}:{_line(node)}" if node else name, problem, remedy)


def _faults(root: yaml.Node) -> Iterator[Fault]:
    if not isinstance(root, yaml.MappingNode):
        yield root, "holds no settings", "write key: value lines"
    for number, node in enumerate(_visits(root)):
        if number == MAX_NODES:
            remedy = "write fewer values, and no anchor within another (&, *)"
            yield None, f"expands to more than {MAX_NODES:,} values", remedy
        yield from _tag_faults(node)
        if isinstance(node, yaml.MappingNode):
            yield from _key_faults(node)
        elif isinstance(node, yaml.ScalarNode) and TARGET in node.value:
            yield node, f"{TARGET} is not allowed", NO_TARGET
    yield from _keyword_faults(root)


def _visits(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Each node once per reference to it, so that aliases that multiply are noticed."""
    waiting = [root] if root else []
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _tag_faults(node: yaml.Node) -> Iterator[Fault]:
    if node.tag not in _tags_without_mark(node):
        problem = f"the tag {node.tag.replace(_PLAIN_TAG, '!!')} is not allowed"
        yield node, problem, "write a plain value"
    # A quoted number has the tag of a string.
    if node.tag == f"{_PLAIN_TAG}int" and _SURPRISE.fullmatch(node.value):
        problem = f"{node.value} would be read as {yaml.safe_load(node.value)}"
        yield node, problem, "write it in quotes, or as a plain number"


def _tags_without_mark(node: yaml.Node) -> set[str]:
    """The tags that YAML gives to a value like that of ``node`` if the file names none."""
    kinds = {yaml.MappingNode: "map", yaml.SequenceNode: "seq"}
    if not isinstance(node, yaml.ScalarNode):
        return {f"{_PLAIN_TAG}{kinds[type(node)]}"}
    resolved = yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (node.style is None, True))
    return {f"{_PLAIN_TAG}str", resolved}


def _key_faults(node: yaml.MappingNode) -> Iterator[Fault]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield key, "a key is not a string", "write a plain key"
        if key.value in lines:
            problem = f"the key {key.value!r} appears twice (first in line {lines[key.value]})"
            yield key, problem, "keep one of them"
        lines[key.value] = _line(key)


def _keyword_faults(root: yaml.Node) -> Iterator[Fault]:
    """Misspelt keywords in the defaults list, which Hydra ignores (``overide scheduler: ...``)."""
    for entry in next((node.value for key, node in root.value if key.value == "defaults"), ()):
        for key, _ in entry.value if isinstance(entry, yaml.MappingNode) else ():
            *words, group = key.value.split(" ")
            if key.tag != f"{_PLAIN_TAG}str" or not group:
                problem = f"{key.value!r} in the defaults list is not the name of a group"
                yield key, problem, "write group: option"
            for word in set(words) - _KEYWORDS:
                problem = f"{word!r} in the defaults list is not a keyword"
                yield key, problem, f"write override {group}: ..."


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
