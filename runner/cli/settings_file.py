"""Reads a YAML file of settings: plain values only, each key once, and nothing that unfolds."""

import re
from functools import lru_cache
from pathlib import Path

import yaml

from runner.errors import ConfigError

TARGET = "_target_"
MAX_BYTES = 32 * 1024
MAX_NODES = 5_000
MAX_DEPTH = 100

NO_TARGET = "name a registered option instead (model=mlp); code comes from plugins only"
# YAML 1.1 reads 010 as eight and 12:30 as 750.
_SURPRISE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+)")
_PLAIN_TAG = "tag:yaml.org,2002:"
_KEYWORDS = ("override", "optional")


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
    if _depth(text) > MAX_DEPTH:  # PyYAML would take a second to fail
        raise ConfigError(name, "is nested too deeply", "write it flat")
    try:
        # Not CSafeLoader: deep nesting overflows its stack, which kills the process.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = f"is not valid YAML ({error.problem})"
        raise ConfigError(place, problem, "correct it there") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = f"is not valid YAML ({' '.join(str(error).split())})"
        raise ConfigError(name, problem, "correct it") from error
    except RecursionError as error:
        raise ConfigError(name, "is nested too deeply", "write it flat") from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(_place(name, root), "holds no settings", "write key: value lines")
    _check_nodes(root, name)
    _check_defaults(root, name)


def _depth(text: str) -> int:
    """How deep brackets are nested, at most."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check_nodes(root: yaml.Node, name: str) -> None:
    """Visits every node as often as it is referred to, which is what an alias bomb makes costly."""
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            problem = f"unfolds to more than {MAX_NODES:,} values"
            raise ConfigError(name, problem, "write less, and no anchor inside another (&, *)")
        _check_tag(node, name)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, name)
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif TARGET in node.value:
            raise ConfigError(_place(name, node), f"{TARGET} is not allowed", NO_TARGET)


def _check_tag(node: yaml.Node, name: str) -> None:
    if not node.tag.startswith(_PLAIN_TAG) or node.tag.startswith(f"{_PLAIN_TAG}python"):
        problem = f"the tag {node.tag.replace(_PLAIN_TAG, '!!')} is not allowed"
        raise ConfigError(_place(name, node), problem, "write a plain value")
    # A quoted number has the tag of a text.
    if node.tag == f"{_PLAIN_TAG}int" and _SURPRISE.fullmatch(node.value):
        problem = f"{node.value} would be read as {yaml.safe_load(node.value)}"
        raise ConfigError(_place(name, node), problem, "write it in quotes, or as a plain number")


def _check_keys(node: yaml.MappingNode, name: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(_place(name, key), "a key is not a text", "write a plain key")
        if key.value in lines:
            problem = f"the key {key.value!r} is there twice (first in line {lines[key.value]})"
            raise ConfigError(_place(name, key), problem, "keep one of them")
        lines[key.value] = key.start_mark.line + 1


def _check_defaults(root: yaml.MappingNode, name: str) -> None:
    """Refuses a keyword in the defaults list that Hydra would skip (``overide scheduler: ...``)."""
    lists = [node for key, node in root.value if key.value == "defaults"]
    entries = [entry for node in lists if isinstance(node.value, list) for entry in node.value]
    for entry in entries:
        for key, _ in entry.value if isinstance(entry, yaml.MappingNode) else []:
            for word in key.value.split(" ")[:-1]:
                if word not in _KEYWORDS:
                    problem = f"{word!r} in the defaults list is not a keyword"
                    remedy = f"write override {key.value.rpartition(' ')[2]}: ..."
                    raise ConfigError(_place(name, key), problem, remedy)


def _place(name: str, node: yaml.Node) -> str:
    return f"{name}:{node.start_mark.line + 1}"
