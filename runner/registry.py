"""Name → factory: what a ``name`` in YAML picks, and how a user's own package adds to it.

A factory takes keyword arguments and returns the thing itself; it never sees a config object.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from runner.errors import ConfigError, DataError, RunnerError, nearest, reason

# The remedy for what somebody else's code has done wrong.
MEND = "mend it; HYDRA_FULL_ERROR=1 shows where it failed"

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry:
    """The factories of one config group, by name."""

    def __init__(self, group: str) -> None:
        self.group = group
        self._factories: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that makes a factory known as ``name``; a name is given once.

        Raises:
          ConfigError: another factory already has that name.
        """

        def add(factory: Factory) -> Factory:
            known = self._factories.setdefault(name, factory)
            if known is not factory:
                raise ConfigError(
                    f"the {self.group} {name!r}",
                    f"is registered twice, as {_place(known)} and as {_place(factory)}",
                    "choose another name for yours",
                )
            return factory

        return add

    def names(self) -> list[str]:
        return sorted(self._factories)

    def get(self, name: str) -> Callable[..., Any]:
        """The factory called ``name``.

        Raises:
          ConfigError: no factory has that name; near ones are listed.
        """
        if name not in self._factories:
            raise ConfigError(
                f"{self.group}.name",
                f"there is no {self.group} {name!r}",
                nearest(name, self._factories),
            )
        return self._factories[name]

    def build(self, name: str, arguments: Mapping[str, Any], *, key: str = "") -> Any:
        """Calls the factory ``name`` with ``arguments``.

        Raises:
          ConfigError: an argument the factory does not take, or one that is missing; the keys of
            errors raised inside the factory are placed below ``key``, or the group's name. Also,
            whatever else a factory of somebody else's raises; DataError in a data set's.
        """
        key = key or self.group
        factory = self.get(name)
        try:
            inspect.signature(factory).bind(**arguments)
        except TypeError as error:
            raise ConfigError(
                key,
                f"{name!r} cannot be built: {error}",
                f"its signature is {inspect.signature(factory)}",
            ) from error
        try:
            return factory(**arguments)
        except ConfigError as error:
            raise error.under(key) from error
        except (RunnerError, MemoryError):
            raise
        except Exception as error:
            if _is_ours(factory):
                raise
            kind = DataError if self.group == "dataset" else ConfigError
            raise kind(key, f"{name!r} failed ({reason(error)})", MEND) from error


def all_ours(scheduler: str, optimizer: str, model: str) -> bool:
    """Whether all these parts are the runner's own."""
    factories = schedulers.get(scheduler), optimizers.get(optimizer), models.get(model)
    return all(map(_is_ours, factories))


def _is_ours(factory: Callable[..., Any]) -> bool:
    module = getattr(factory, "__module__", None) or ""
    return module.partition(".")[0] == __name__.partition(".")[0]


def _place(factory: Callable[..., Any]) -> str:
    return f"{factory.__module__}.{getattr(factory, '__qualname__', factory)}"


schedulers = Registry("scheduler")
optimizers = Registry("optimizer")
models = Registry("model")
datasets = Registry("dataset")
scale_fns = Registry("scale_fn")

GROUPS = {registry.group: registry for registry in (schedulers, optimizers, models, datasets)}

register_scheduler = schedulers.register
register_optimizer = optimizers.register
register_model = models.register
register_dataset = datasets.register
register_scale_fn = scale_fns.register

PLUGIN_ENTRY_POINTS = "runner.plugins"

# What a schedule's momentum replaces: the first of these among an optimizer's numbers.
MOMENTUM_KEYS = ("momentum", "b1")
# Numbers of an optimizer that each group of parameters may have its own of.
GROUP_KEYS = ("weight_decay",)
# The group of the parameters that no pattern matches.
DEFAULT_GROUP = "default"


def import_plugins(modules: list[str]) -> None:
    """Imports packages by name.

    Raises:
      ConfigError: a module does not exist or fails while it is imported.
    """
    for module in modules:
        _load("plugins", module, partial(import_module, module))


def load_entry_points() -> None:
    """Imports every installed package that names an entry point of ours.

    Raises:
      ConfigError: one fails while it is imported.
    """
    for found in entry_points(group=PLUGIN_ENTRY_POINTS):
        _load(f"entry point {found.name}", found.value, found.load)


def _load(key: str, name: str, load: Callable[[], Any]) -> None:
    try:
        load()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            key,
            f"{name!r} cannot be imported ({type(error).__name__}: {error})",
            "install it, or run from the folder that holds it",
        ) from error
