"""Name → factory: what a ``name`` in YAML picks, and how a user's own package adds to it.

A factory takes keyword arguments and returns the thing itself; it never sees a config object. Its
signature is the schema of its settings (``runner.config.signature``).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from inspect import signature
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
      supplied: arguments that the runner gives to the factories; they are not settings.
    """

    def __init__(self, group: str, *, home: str = "", supplied: Iterable[str] = ()) -> None:
        """``home`` is the package whose modules register the built-in factories."""
        self.group = group
        self.supplied = frozenset(supplied)
        self._home = home
        self._factories: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that makes a factory known as ``name``.

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
        """All names, those of the built-in factories among them."""
        if self._home:
            import_module(self._home)
        return sorted(self._factories)

    def built_in(self) -> dict[str, Callable[..., Any]]:
        """The runner's own factories registered so far; imports nothing."""
        return {name: f for name, f in self._factories.items() if is_built_in(f)}

    def plugins(self) -> dict[str, Callable[..., Any]]:
        """The factories registered so far that are not the runner's own; imports nothing."""
        return {name: f for name, f in self._factories.items() if not is_built_in(f)}

    def get(self, name: str, *, key: str = "") -> Callable[..., Any]:
        """The factory called ``name``; installed plugins are loaded if no other has that name.

        Raises:
          ConfigError: no factory has that name; similar ones are listed. ``key`` is where it is
            named, the group's own section if empty.
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
          ConfigError: an argument is unknown, missing or refused; the key is placed below
            ``key``, the group's name if empty. Also any other exception in a plugin's factory;
            DataError where it is a data set's.
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
    """Whether a factory is the runner's own."""
    module = getattr(factory, "__module__", None) or ""
    return module.partition(".")[0] == __name__.partition(".")[0]


def _place(factory: Callable[..., Any]) -> str:
    return f"{factory.__module__}.{getattr(factory, '__qualname__', factory)}"


schedulers = Registry("scheduler", home="runner.schedules")
optimizers = Registry("optimizer", home="runner.optimizers", supplied=["learning_rate"])
models = Registry("model", home="runner.models", supplied=["num_classes"])
datasets = Registry("dataset", home="runner.data.sources")
tasks = Registry("task", home="runner.tasks", supplied=["config", "folder", "ending"])
scale_fns = Registry("scale_fn")

GROUPS = {
    registry.group: registry for registry in (schedulers, optimizers, models, datasets, tasks)
}

register_scheduler = schedulers.register
register_optimizer = optimizers.register
register_model = models.register
register_dataset = datasets.register
register_task = tasks.register
register_scale_fn = scale_fns.register


_EVAL_PARAMS = "eval_params"


def evaluated_by(eval_params: Callable[[Any, Any], Any]) -> Callable[[Factory], Factory]:
    """Decorator of an optimizer's factory that declares which parameters are evaluated.

    ::

        @register_optimizer("schedule_free")
        @evaluated_by(lambda opt_state, params: schedule_free_eval_params(opt_state, params))
        def schedule_free(learning_rate, *, b1=0.9): ...

    ``eval_params(opt_state, params)`` gets the state of the transformation that the factory
    returns and the parameters that it trains, those of one parameter group at a time, and returns
    the parameters to evaluate. Without it they are evaluated as they are trained.
    """

    def declare(factory: Factory) -> Factory:
        setattr(factory, _EVAL_PARAMS, eval_params)
        return factory

    return declare


def eval_params_of(factory: Callable[..., Any]) -> Callable[[Any, Any], Any] | None:
    """What ``evaluated_by`` declared of an optimizer's factory, if anything."""
    return getattr(factory, _EVAL_PARAMS, None)


def import_modules(package: str, path: Iterable[str]) -> None:
    """Imports every module of a package, so that the parts in them register themselves."""
    for found in iter_modules(path):
        import_module(f"{package}.{found.name}")


def import_plugins(modules: Iterable[str]) -> None:
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
    from importlib.metadata import entry_points  # slow to import, and hardly ever needed

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
            f"{shown(name)} cannot be imported ({reason(error)})",
            "install it, or run from the folder that holds it",
        ) from error
