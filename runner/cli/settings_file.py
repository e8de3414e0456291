"""Reads a YAML file of settings: plain values only, each key once, and nothing that unfolds."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

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

# The node it is about, if there is one; what is wrong; what to do.
Fault = tuple[yaml.Node | None, str, str]


def read_settings_file(path: Path) -> str:
    """The text of a YAML file that holds plain settings.

    Raises:
      ConfigError: the file is too large or not UTF-8, its YAML is invalid, repeats a key, names
        code, unfolds beyond all measure, or would be read as something else than it looks like;
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
    _check_text(text, str(path))
    return text


@lru_cache(maxsize=256)
def _check_text(text: str, name: str) -> None:
    try:
        # Not CSafeLoader: deep nesting overflows its stack, which kills the process.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise ConfigError(name, "is nested too deeply", "write it flat") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(place, f"is not valid YAML ({said})", "correct it") from error
    for node, problem, remedy in _faults(root) if root else ():
        raise ConfigError(f"{name}:{_line(node)}" if node else name, problem, remedy)


def _faults(root: yaml.Node) -> Iterator[Fault]:
    """Visits every node as often as it is referred to, which is what an alias bomb makes costly."""
    if not isinstance(root, yaml.MappingNode):
        yield root, "holds no settings", "write key: value lines"
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            remedy = "write less, and no anchor inside another (&, *)"
            yield None, f"unfolds to more than {MAX_NODES:,} values", remedy
        yield from _tag_faults(node)
        if isinstance(node, yaml.MappingNode):
            yield from _key_faults(node)
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif TARGET in node.value:
            yield node, f"{TARGET} is not allowed", NO_TARGET
    yield from _keyword_faults(root)


def _tag_faults(node: yaml.Node) -> Iterator[Fault]:
    if not node.tag.startswith(_PLAIN_TAG) or node.tag.startswith(f"{_PLAIN_TAG}python"):
        problem = f"the tag {node.tag.replace(_PLAIN_TAG, '!!')} is not allowed"
        yield node, problem, "write a plain value"
    # A quoted number has the tag of a text.
    if node.tag == f"{_PLAIN_TAG}int" and _SURPRISE.fullmatch(node.value):
        problem = f"{node.value} would be read as {yaml.safe_load(node.value)}"
        yield node, problem, "write it in quotes, or as a plain number"


def _key_faults(node: yaml.MappingNode) -> Iterator[Fault]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield key, "a key is not a text", "write a plain key"
        if key.value in lines:
            problem = f"the key {key.value!r} is there twice (first in line {lines[key.value]})"
            yield key, problem, "keep one of them"
        lines[key.value] = _line(key)


def _keyword_faults(root: yaml.Node) -> Iterator[Fault]:
    """A keyword of the defaults list that Hydra would skip (``overide scheduler: ...``)."""
    for entry in next((node.value for key, node in root.value if key.value == "defaults"), ()):
        for key, _ in entry.value if isinstance(entry, yaml.MappingNode) else ():
            *words, group = key.value.split(" ")
            for word in set(words) - _KEYWORDS:
                problem = f"{word!r} in the defaults list is not a keyword"
                yield key, problem, f"write override {group}: ..."


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
