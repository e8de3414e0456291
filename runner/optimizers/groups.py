"""Parameter groups: parameters selected by patterns of their paths; the first match wins."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from etils import epy

from runner.errors import ConfigError
from runner.registry import DEFAULT_GROUP

with epy.lazy_imports():
    import jax
    import optax

# The most paths that an error lists; a model may have hundreds.
_MOST_PATHS = 8


@dataclass(frozen=True)
class Groups:
    """Which group, and which layer, each parameter is in; static.

    Attributes:
      names: in order; the default group, of parameters that no pattern matches, is the last one.
      frozen: names of the groups whose parameters do not change.
      members: (path, name of its group) for each parameter; empty if there is only one group.
      depths: (path, number of layers above it) for each parameter; empty without layer decay.
    """

    names: tuple[str, ...] = (DEFAULT_GROUP,)
    frozen: frozenset[str] = frozenset()
    members: tuple[tuple[str, str], ...] = ()
    depths: tuple[tuple[str, int], ...] = ()

    @property
    def trained_names(self) -> tuple[str, ...]:
        """The groups that are not frozen, in order."""
        return tuple(name for name in self.names if name not in self.frozen)

    def labels(self, params: Any) -> Any:
        """A pytree like ``params`` with the name of each parameter's group."""
        group_of = dict(self.members)
        return jax.tree_util.tree_map_with_path(
            lambda path, _: group_of.get(path_name(path), DEFAULT_GROUP), params
        )

    def trained(self, params: Any) -> Any:
        """``params`` with None in place of each frozen parameter."""
        if not self.frozen:
            return params
        return jax.tree.map(
            lambda param, name: None if name in self.frozen else param, params, self.labels(params)
        )

    def merged(self, trained: Any, params: Any) -> Any:
        """All parameters: ``trained``, and the frozen ones of ``params``."""
        if not self.frozen:
            return trained
        return jax.tree.map(
            lambda new, old: old if new is None else new, trained, params, is_leaf=_is_none
        )

    def transformation(
        self, build: Callable[[int, int], optax.GradientTransformation]
    ) -> optax.GradientTransformation:
        """A transformation of the trained parameters.

        ``build(i, depth)`` returns that of the parameters of group i below ``depth`` layers.
        """
        partitions = self._partitions()
        if not partitions:
            return build(0, 0)
        built: dict[Hashable, optax.GradientTransformation] = {
            label: build(*place) for label, place in partitions.items()
        }
        return optax.partition(built, self._partition_labels)

    def eval_params(
        self, evaluated: Callable[[Any, Any], Any], opt_state: Any, trained: Any
    ) -> Any:
        """A pytree like ``trained``, in which ``evaluated(state, params)`` gives each partition.

        Args:
          opt_state: the state of ``transformation``.
        """
        partitions = self._partitions()
        if not partitions:
            return evaluated(opt_state, trained)
        labels, merged = self._partition_labels(trained), trained
        for label in partitions:
            own = jax.tree.map(
                lambda other, param, label=label: param if other == label else optax.MaskedNode(),
                labels,
                trained,
            )
            own = evaluated(opt_state.inner_states[label].inner_state, own)
            merged = jax.tree.map(
                lambda new, old: old if _is_masked(new) else new, own, merged, is_leaf=_is_masked
            )
        return merged

    def _partitions(self) -> dict[str, tuple[int, int]]:
        """Label → (group's index, depth) of parameters with one rate; empty if all share one."""
        group_of, depth_of = dict(self.members), dict(self.depths)
        partitions = {}
        for path in group_of or depth_of:
            name = group_of.get(path, DEFAULT_GROUP)
            if name not in self.frozen:
                label = self._partition_label(name, depth_of.get(path))
                partitions[label] = (self.names.index(name), depth_of.get(path, 0))
        return partitions

    def _partition_labels(self, params: Any) -> Any:
        group_of, depth_of = dict(self.members), dict(self.depths)

        def label(path: tuple[Any, ...], _: Any) -> str:
            name = path_name(path)
            return self._partition_label(group_of.get(name, DEFAULT_GROUP), depth_of.get(name))

        return jax.tree_util.tree_map_with_path(label, params)

    @staticmethod
    def _partition_label(group: str, depth: int | None) -> str:
        return group if depth is None else f"{group}:{depth}"


def assign(
    params: Any,
    patterns: Mapping[str, tuple[str, ...]],
    *,
    frozen: tuple[str, ...] = (),
    depths: tuple[tuple[str, int], ...] = (),
) -> Groups:
    """Assigns each parameter to the first group with a pattern that matches its path.

    Args:
      params: arrays or their shapes.
      patterns: name → patterns of paths such as ``Dense_0/kernel``; ``*`` matches any text,
        slashes included, ``?`` one character, ``[ab]`` one of those.
      frozen: names of groups that are not trained; may include the default group.
      depths: from ``layer_depths``, if the rate decays from layer to layer.

    Raises:
      ConfigError: a pattern matches no parameter, or only parameters that an earlier pattern
        matches; a frozen group has no parameters; or no parameter is left to train. Keys are
        relative to ``optimizer``.
    """
    if not patterns and not frozen:
        return Groups(depths=depths)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    paths = [path_name(path) for path, _ in leaves]
    taken: dict[str, tuple[str, str]] = {}
    for name, alternatives in patterns.items():
        for pattern in alternatives:
            matched = [path for path in paths if fnmatchcase(path, pattern)]
            _check_matched(name, pattern, matched, paths, taken)
            for path in matched:
                taken.setdefault(path, (name, pattern))
    group_of = {path: taken[path][0] if path in taken else DEFAULT_GROUP for path in paths}
    left = DEFAULT_GROUP in group_of.values()
    names = (*patterns, DEFAULT_GROUP) if left else tuple(patterns)
    if DEFAULT_GROUP in frozen and not left:
        problem = f"there is no {DEFAULT_GROUP} group, as every parameter is in another one"
        raise ConfigError("frozen", problem, f"leave out {DEFAULT_GROUP}")
    if set(names) <= set(frozen):
        raise ConfigError("frozen", "leaves no parameter to train", "leave a group out of it")
    return Groups(names, frozenset(frozen), tuple(group_of.items()), depths)


def path_name(path: tuple[Any, ...]) -> str:
    """``Dense_0/kernel`` for the path of a leaf."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _check_matched(
    name: str,
    pattern: str,
    matched: list[str],
    paths: list[str],
    taken: Mapping[str, tuple[str, str]],
) -> None:
    key = f"groups.{name}"
    if not matched:
        more = f", ... ({len(paths)} in all)" if len(paths) > _MOST_PATHS else ""
        listed = ", ".join(paths[:_MOST_PATHS])
        raise ConfigError(key, f"{pattern!r} matches no parameter", f"the paths are {listed}{more}")
    if all(path in taken for path in matched):
        first, its_pattern = taken[matched[0]]
        where = f"{its_pattern!r}" if first == name else f"the group {first} ({its_pattern!r})"
        problem = f"{pattern!r} matches only parameters that {where} takes first"
        raise ConfigError(key, problem, "write the narrower pattern first")


def _is_none(value: Any) -> bool:
    return value is None


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
