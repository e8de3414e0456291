"""Interpolations (``${...}``): the resolvers, and a limit on their expansion."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import Container, Node, OmegaConf
from omegaconf.resolvers import oc

from runner.errors import ConfigError

# The most characters that resolving may produce; each node counts as NODE of them.
MAX_EXPANSION = 1_000_000
NODE = 100

# These build containers or keys from strings, which cannot be checked beforehand.
_REMOVED = ("oc.create", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select")
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
# An error may show only the beginning of a long value, then dots; a shorter one reveals nothing.
_SHORTEST_BEGINNING = 4
_NESTED = "\0"  # stands for an inner interpolation that has been counted

Path = tuple[Any, ...]

_read_from_environment: dict[str, str] = {}  # value → name of the variable


def register_resolvers() -> None:
    """Removes all but ``oc.env``, ``oc.decode`` and Hydra's own resolvers (``hydra``, ``now``)."""
    for name in _REMOVED:
        OmegaConf.clear_resolver(name)
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)
    OmegaConf.register_new_resolver("oc.decode", _decode, replace=True)


def conceal(line: str) -> str:
    """Replaces values read from environment variables by the names of the variables.

    A key at the start of the line is left unchanged.
    """
    key = re.match(r"[a-z_]\w*(\.\w+)+: |", line)
    kept, rest = (key[0], line[key.end() :]) if key else ("", line)
    for value, name in _read_from_environment.items():
        for text in {value, repr(value)[1:-1]} - {""}:
            # A short value would also match inside ordinary words.
            whole = re.escape(text) if len(text) > 3 else rf"(?<![\w.]){re.escape(text)}(?![\w.])"
            rest = re.sub(whole, lambda _, name=name: f"${{oc.env:{name}}}", rest)
            rest = rest.replace(_beginning(text, rest), f"${{oc.env:{name}}}...")
    return kept + rest


def _beginning(text: str, line: str) -> str:
    """The beginning of ``text``, with dots, that ``line`` shows, or all of ``text`` with dots."""
    longest = min(len(text) - 1, len(line))  # a value may be far longer than any line
    lengths = range(longest, _SHORTEST_BEGINNING - 1, -1)
    shown = (f"{text[:length]}..." for length in lengths)
    return next((beginning for beginning in shown if beginning in line), f"{text}...")


def check_expansion(settings: Mapping[str, Any]) -> None:
    """Limits the size of the resolved settings, before anything is resolved.

    Args:
      settings: plain containers, interpolations unresolved.

    Raises:
      ConfigError: a value expands too far, or an interpolation contains another as its key.
    """
    costs: dict[Path, int] = {}

    def cost(path: Path, value: Any) -> int:
        if path in costs:
            return costs[path]
        costs[path] = 0  # OmegaConf reports a value that refers to itself
        if isinstance(value, str):
            parts = [_target(settings, path, body) for body in _bodies(value)]
        else:
            parts = [((*path, key), item) for key, item in _items(value)]
        length = len(value) if isinstance(value, str) else 0
        costs[path] = NODE + length + sum(cost(*part) for part in parts)
        if costs[path] > MAX_EXPANSION:
            key = ".".join(map(str, path)) or "configuration"
            problem = f"expands to more than {MAX_EXPANSION:,} characters"
            raise ConfigError(key, problem, "refer to fewer settings (${...})")
        return costs[path]

    cost((), settings)


def _bodies(text: str) -> Iterator[str]:
    """The contents of ``${...}``, from the innermost outwards."""
    while found := _INNERMOST.findall(text):
        yield from found
        text = _INNERMOST.sub(_NESTED, text)


def _target(settings: Mapping[str, Any], path: Path, body: str) -> tuple[Path, Any]:
    """The node that an interpolation at ``path`` refers to: its path and its value."""
    resolver, colon, argument = body.partition(":")
    if colon and resolver.strip() != "hydra":
        return path, None
    name = f"hydra.{argument}" if colon else body.strip()
    if _NESTED in name:
        key = ".".join(map(str, path))
        raise ConfigError(key, "has an interpolation within a key", "write the key itself")
    dots = len(name) - len(name.lstrip("."))
    start = path[: len(path) - dots] if dots else ()
    found, value = (), settings
    for step in [*map(str, start), *filter(None, re.split(r"[.\[\]\s]+", name))]:
        if isinstance(value, str):  # an interpolation: its whole target counts
            break
        item = next((item for item in _items(value) if str(item[0]) == step), None)
        if item is None:
            return path, None  # OmegaConf reports the missing setting
        found, value = (*found, item[0]), item[1]
    return found, value


def _items(value: Any) -> Any:
    """The (key, item) pairs of a container; none for any other value."""
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _env(name: str, *default: Any) -> str | None:
    value = os.environ.get(name)
    if value is not None:
        _read_from_environment[value] = name
        return value
    if not default:
        raise ConfigError("", f"the environment variable {name} is not set", f"set {name}")
    return None if default[0] is None else str(default[0])


def _decode(text: str | None, _parent_: Container, _node_: Node) -> Any:
    # The result must not be a mapping or an interpolation, as it has not been checked.
    if "${" not in (text or ""):
        value = oc.decode(text, _parent_, _node_)
        items = value if isinstance(value, list) else [value]
        if not any(isinstance(item, (dict, list, Container)) for item in items):
            return value
    problem = "oc.decode gives a number, a string or a list of them, nothing else"
    raise ConfigError("", problem, "use one of these")
