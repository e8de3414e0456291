"""Registries: name → factory, for the ``name`` of each YAML section; plugins add their own.

A factory takes keyword arguments, never a config object, and returns the part itself. Its
signature is the schema of its settings (``runner.config.signature``).
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

from runner.errors import ConfigError, DataError, RunnerError, nearest, reason, shown

# The remedy for an exception in a plugin.
FIX = "fix it; HYDRA_FULL_ERROR=1 shows where it failed"

PLUGIN_ENTRY_POINTS = "runner.plugins"
# The group of the parameters that no pattern matches.
DEFAULT_GROUP = "default"

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry:
    """The factories of one config group, by name.

    Attributes:
      group: the config group.
      supplied: arguments that the runner passes to the factories; they are not settings.
    """

    def __init__(self, group: str, *, home: str = "", supplied: Iterable[str] = ()) -> None:
        """``home`` is the package whose modules register the built-in factories."""
        self.group = group
        self.supplied = frozenset(supplied)
        self._home = home
        self._factories: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that registers a factory under ``name``.

        Raises:
          ConfigError: another factory already has that name.
        """

        def add(factory: Factory) -> Factory:
            known = self._factories.setdefault(name, factory)
            if known is not factory:
                raise ConfigError(
                    f"the {self.group} {name!r}",
                    f"is registered twice, as {_place(known)} and as {_place(factory)}",
                    "choose another name",
                )
            return factory

        return add

    def names(self) -> list[str]:
        """All registered names, including those of the built-in factories."""
        if self._home:
            import_module(self._home)
        return sorted(self._factories)

    def built_in(self) -> dict[str, Callable[..., Any]]:
        """The built-in factories registered so far; imports nothing."""
        return {name: f for name, f in self._factories.items() if is_built_in(f)}

    def plugins(self) -> dict[str, Callable[..., Any]]:
        """The factories that plugins have registered so far; imports nothing."""
        return {name: f for name, f in self._factories.items() if not is_built_in(f)}

    def get(self, name: str, *, key: str = "") -> Callable[..., Any]:
        """The factory registered under ``name``; if there is none, installed plugins are loaded.

        Args:
          key: config key of the section with that name; the group's own section if empty.

        Raises:
          ConfigError: no factory has that name; the message lists similar names.
        """
        if name not in self._factories and name not in self.names():
            load_entry_points()
        if name not in self._factories:
            problem = f"there is no {self.group} {name!r}"
            raise ConfigError(f"{key or self.group}.name", problem, nearest(name, self._factories))
        return self._factories[name]

    def build(self, name: str, arguments: Mapping[str, Any], *, key: str = "") -> Any:
        """Calls the factory ``name`` with ``arguments``.

        Raises:
          ConfigError: an argument is unknown, missing or invalid, or a plugin's factory raises
            any other exception. The error's key is prefixed with ``key``, or with the group's
            name if ``key`` is empty.
          DataError: a plugin's factory of a data set raises any other exception.
        """
        key = key or self.group
        factory = self.get(name)
        try:
            signature(factory).bind(**arguments)
        except TypeError as error:
            problem = f"{name!r} cannot be built: {error}"
            raise ConfigError(key, problem, f"its signature is {signature(factory)}") from error
        try:
            return factory(**arguments)
        except ConfigError as error:
            raise error.under(key) from error
        except (RunnerError, MemoryError):
            raise
        except Exception as error:
            if is_built_in(factory):
                raise
            failure = DataError if self.group == "dataset" else ConfigError
            raise failure(key, f"{name!r} failed ({reason(error)})", FIX) from error


def is_built_in(factory: Callable[..., Any]) -> bool:
    """Whether a factory belongs to the runner, not to a plugin."""
    module = getattr(factory, "__module__", None) or ""
    return module.partition(".")[0] == __name__.partition(".")[0]


def _place(factory: Callable[..., Any]) -> str:
    return f"{factory.__module__}.{getattr(factory, '__qualname__', factory)}"


schedulers = Registry("scheduler", home="runner.schedules")
optimizers = Registry("optimizer", home="runner.optimizers", supplied=["learning_rate"])
models = Registry("model", home="runner.models", supplied=["num_outputs"])
objectives = Registry("objective", home="runner.objectives", supplied=["targets"])
datasets = Registry("dataset", home="runner.data.sources")
tasks = Registry("task", home="runner.tasks", supplied=["config", "folder", "ending"])
scale_fns = Registry("scale_fn")

GROUPS = {
    registry.group: registry
    for registry in (schedulers, optimizers, models, objectives, datasets, tasks)
}

register_scheduler = schedulers.register
register_model = models.register
register_objective = objectives.register
register_dataset = datasets.register
register_task = tasks.register
register_scale_fn = scale_fns.register


# Name of an optimizer → the factor by which the schedulers' default rates are multiplied.
_rate_scales: dict[str, float] = {}


def register_optimizer(name: str, *, rate_scale: float = 1.0) -> Callable[[Factory], Factory]:
    """Decorator that registers the factory of an optimizer under ``name``.

    Args:
      rate_scale: the schedulers' default rates, which suit sgd, are multiplied by this for the
        optimizer; rates that a user sets are not.

    Raises:
      ConfigError: another factory already has that name, or ``rate_scale`` is not a finite number
        above 0.
    """
    if not 0 < rate_scale < math.inf:
        problem = f"has the rate_scale {shown(rate_scale)}"
        raise ConfigError(f"the optimizer {name!r}", problem, "write a number above 0")

    def add(factory: Factory) -> Factory:
        optimizers.register(name)(factory)
        _rate_scales[name] = rate_scale
        return factory

    return add


def rate_scale_of(name: str) -> float:
    """The ``rate_scale`` of the optimizer ``name``; 1 if there is no such optimizer."""
    if name not in _rate_scales:
        optimizers.names()  # imports the built-in ones
    return _rate_scales.get(name, 1.0)


_EVAL_PARAMS = "eval_params"


def evaluated_by(eval_params: Callable[[Any, Any], Any]) -> Callable[[Factory], Factory]:
    """Decorator for an optimizer's factory that declares which parameters to evaluate.

    ::

        @register_optimizer("schedule_free")
        @evaluated_by(lambda opt_state, params: schedule_free_eval_params(opt_state, params))
        def schedule_free(learning_rate, *, b1=0.9): ...

    ``eval_params(opt_state, params)`` is called once per parameter group, with the state of the
    factory's transformation and the parameters that it trains, and returns the parameters to
    evaluate. Without this decorator, the trained parameters are evaluated.
    """

    def declare(factory: Factory) -> Factory:
        setattr(factory, _EVAL_PARAMS, eval_params)
        return factory

    return declare


def eval_params_of(factory: Callable[..., Any]) -> Callable[[Any, Any], Any] | None:
    """The function that ``evaluated_by`` attached to an optimizer's factory, or None."""
    return getattr(factory, _EVAL_PARAMS, None)


def import_modules(package: str, path: Iterable[str]) -> None:
    """Imports every module of a package, so that the parts in them register themselves."""
    for found in iter_modules(path):
        import_module(f"{package}.{found.name}")


def import_plugins(modules: Iterable[str]) -> None:
    """Imports the packages that the command line names; also searches the current folder.

    Raises:
      ConfigError: a module does not exist, or its import fails.
    """
    if modules and str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        _load("plugins", module, partial(import_module, module))


def load_entry_points() -> bool:
    """Imports every installed package with an entry point in the group ``runner.plugins``.

    Returns:
      Whether there is any.

    Raises:
      ConfigError: the import of one fails.
    """
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    installed = entry_points(group=PLUGIN_ENTRY_POINTS)
    for found in installed:
        _load(f"entry point {found.name}", found.value, found.load)
    return bool(installed)


def _load(key: str, name: str, load: Callable[[], Any]) -> None:
    try:
        load()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        problem = f"{shown(name)} cannot be imported ({reason(error)})"
        raise ConfigError(key, problem, _import_remedy(error, name)) from error


def _import_remedy(error: BaseException, name: str) -> str:
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return FIX
    if f"{name}.".startswith(f"{error.name}."):
        return "install it, or run from the folder that holds it"
    return f"install {error.name}, which it imports"
