"""Pytrees as classes: the attributes are the leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from etils import epy

with epy.lazy_imports():
    import jax

# Type of a pytree's leaves: NumPy arrays where it is built, JAX arrays in compiled functions.
Leaf = Any


class Pytree:
    """Base class of pytrees: attributes are leaves or pytrees, except those named in ``static``.

    ::

        class Span(Pytree):
            def __init__(self, low, high):
                self.low, self.high = np.float32(low), np.float32(high)

        class Cyclic(Pytree, static=("scale_fn",)): ...

    Static attributes must be hashable; changing one recompiles. Attributes are set once, in the
    constructor; an attribute whose name begins with ``_`` is lost when jax rebuilds the object. A
    subclass may be a frozen dataclass. A class is registered with jax when it is first
    instantiated, so defining one does not import jax. jax rebuilds objects without calling the
    constructor: leaves may then be tracers or placeholders, which its checks would reject.
    """

    _static: ClassVar[tuple[str, ...]] = ()
    _registered: ClassVar[set[type]] = set()

    def __init_subclass__(cls, *, static: Iterable[str] = ()) -> None:
        cls._static = (*cls._static, *static)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls not in Pytree._registered:
            Pytree._registered.add(cls)
            jax.tree_util.register_pytree_with_keys(
                cls, _flatten_with_keys, _unflattener(cls), _flatten
            )
        return object.__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")
        object.__setattr__(self, name, value)


def _leaves(node: Pytree) -> list[str]:
    return [name for name in vars(node) if name not in node._static and not name.startswith("_")]


def _flatten(node: Pytree) -> tuple[list[Any], Any]:
    values, names = vars(node), _leaves(node)
    static = tuple((name, values[name]) for name in node._static if name in values)
    return [values[name] for name in names], (tuple(names), static)


def _flatten_with_keys(node: Pytree) -> tuple[list[Any], Any]:
    leaves, structure = _flatten(node)
    keys = map(jax.tree_util.GetAttrKey, structure[0])
    return list(zip(keys, leaves, strict=True)), structure


def _unflattener(cls: type[Pytree]) -> Any:
    def unflatten(structure: Any, leaves: Iterable[Any]) -> Pytree:
        names, static = structure
        node = object.__new__(cls)
        vars(node).update(static)
        vars(node).update(zip(names, leaves, strict=True))
        return node

    return unflatten
