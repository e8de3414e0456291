"""A config option for each part that a plugin has registered."""

import inspect
import json
from typing import Any

from runner.config.signature import MISSING, parameters
from runner.registry import GROUPS


def registered_options() -> dict[tuple[str, str], dict[str, Any]]:
    """(group, name) → settings and defaults, for every factory that a plugin has registered.

    A keyword without a default is mandatory: its value is ``???``. A default that YAML cannot
    express is left to the factory.
    """
    return {
        (group, name): {"name": name, **_defaults(factory, registry.supplied)}
        for group, registry in GROUPS.items()
        for name, factory in registry.plugins().items()
    }


def _defaults(factory: Any, supplied: frozenset[str]) -> dict[str, Any]:
    defaults = {}
    for name, parameter in parameters(factory).items():
        if parameter.kind is parameter.VAR_KEYWORD or name in supplied:
            continue
        if parameter.default is inspect.Parameter.empty:
            defaults[name] = MISSING
            continue
        try:
            defaults[name] = json.loads(json.dumps(parameter.default))  # tuples become lists
        except (TypeError, ValueError):
            continue
    return defaults
