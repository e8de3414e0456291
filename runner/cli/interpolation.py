"""Interpolations (``${...}``): which resolvers there are, and how far they may expand."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import Container, Node, OmegaConf
from omegaconf.resolvers import oc

from runner.errors import ConfigError

# A text counts its characters and each node NODE more, which is about what resolving it costs.
MAX_EXPANSION = 1_000_000
NODE = 100

# They build containers or names out of texts, which nobody could look at beforehand.
_REMOVED = ("oc.create", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select")
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_NESTED = "\0"  # stands for an inner interpolation, once that has been seen

_read_from_environment: dict[str, str] = {}  # value → name of the variable


class UnsetVariableError(KeyError):
    """The environment has no variable of that name."""


def register_resolvers() -> None:
    """Leaves ``oc.env``, ``oc.decode`` and Hydra's ``hydra``, ``now`` and ``python_version``."""
    for name in _REMOVED:
        OmegaConf.clear_resolver(name)
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)
    OmegaConf.register_new_resolver("oc.decode", _decode, replace=True)


def conceal(line: str) -> str:
    """``line`` with the names of environment variables in place of the values read from them.

    A key that names a setting is left as it is.
    """
    key = re.match(r"[a-z_]\w*(\.\w+)+: |", line)
    kept, rest = (key[0], line[key.end() :]) if key else ("", line)
    for value, name in _read_from_environment.items():
        for text in {value, repr(value)[1:-1]} - {""}:
            # A short one would be found in ordinary words.
            whole = re.escape(text) if len(text) > 3 else rf"(?<![\w.]){re.escape(text)}(?![\w.])"
            rest = re.sub(whole, lambda _, name=name: f"${{oc.env:{name}}}", rest)
    return kept + rest


def check_expansion(settings: Mapping[str, Any]) -> None:
    """Refuses what would grow out of proportion, before anything of it is resolved.

    Args:
      settings: plain containers, interpolations as written.

    Raises:
      ConfigError: names the text that expands too far, or refers to a setting indirectly.
    """
    _Expansion(settings).cost((), settings)


class _Expansion:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.known: dict[tuple[Any, ...], int] = {}

    def cost(self, path: tuple[Any, ...], value: Any) -> int:
        if path in self.known:
            return self.known[path]
        self.known[path] = 0  # OmegaConf refuses what refers to itself
        if isinstance(value, Mapping):
            cost = NODE + sum(self.cost((*path, key), item) for key, item in value.items())
        elif isinstance(value, list):
            cost = NODE + sum(self.cost((*path, key), item) for key, item in enumerate(value))
        else:
            text = value if isinstance(value, str) else ""
            targets = (self.target(path, body) for body in _bodies(text))
            cost = NODE + len(text) + sum(self.cost(*target) for target in targets)
        self.known[path] = cost
        if cost > MAX_EXPANSION:
            key = ".".join(map(str, path)) or "configuration"
            problem = f"expands to more than {MAX_EXPANSION:,} characters"
            raise ConfigError(key, problem, "refer to fewer settings (${...})")
        return cost

    def target(self, path: tuple[Any, ...], body: str) -> tuple[tuple[Any, ...], Any]:
        """The node that an interpolation at ``path`` refers to: its path and its value."""
        resolver, colon, argument = body.partition(":")
        if colon and resolver.strip() != "hydra":
            return path, ""
        name = argument if colon else body
        if _NESTED in name:
            key = ".".join(map(str, path))
            raise ConfigError(key, "refers to a setting by way of another", "name it directly")
        dots = len(name.strip()) - len(name.strip().lstrip("."))
        steps = [step for step in re.split(r"[.\[\]\s]+", name) if step]
        found = path[: len(path) - dots] if dots else ("hydra",) if colon else ()
        value = _at(self.root, found)
        for step in steps:
            if isinstance(value, str):  # an interpolation itself, whose whole target counts
                break
            keys = value if isinstance(value, Mapping) else range(len(value or ()))
            key = next((key for key in keys if str(key) == step), None)
            if key is None:
                return path, ""  # OmegaConf says that there is no such setting
            found, value = (*found, key), value[key]
            if not isinstance(value, (Mapping, list, str)):
                break
        return found, value


def _bodies(text: str) -> Iterator[str]:
    """What is between ``${`` and ``}``, from the innermost outwards."""
    found = ["start"]
    while found and "${" in text:
        found = _INNERMOST.findall(text)
        yield from found
        text = _INNERMOST.sub(_NESTED, text)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _env(name: str, *default: Any) -> str | None:
    value = os.environ.get(name)
    if value is not None:
        _read_from_environment[value] = name
        return value
    if not default:
        raise UnsetVariableError(name)
    return None if default[0] is None else str(default[0])


def _decode(text: str | None, _parent_: Container, _node_: Node) -> Any:
    # A text must not become a mapping or another interpolation, which would not have been checked.
    if "${" in (text or ""):
        raise ValueError("oc.decode reads no interpolation")
    value = oc.decode(text, _parent_, _node_)
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list, Container)) for item in items):
        raise ValueError("oc.decode gives a number, a text or a list of them, nothing else")
    return value
