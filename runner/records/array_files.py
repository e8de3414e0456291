"""Named arrays in Orbax's format."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays of at least one element, by names such as ``params/Dense_0/kernel``.

    Raises:
      OSError, ValueError: a file cannot be written; nothing more is written to the folder.
    """
    with _checkpointer() as checkpointer:
        checkpointer.save(folder, args=ocp.args.PyTreeSave(_nested(arrays)))


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays that ``write_arrays`` has written, by name.

    Raises:
      OSError, ValueError: the folder cannot be read.
    """
    with _checkpointer() as checkpointer:
        return dict(_flat(checkpointer.restore(folder)))


class _ArrayHandler(ocp.type_handlers.NumpyHandler):
    """Writes all arrays before it raises the first error.

    Orbax raises it at once while its other writes go on, which can recreate a removed folder.
    """

    async def _background_serialize(self, values: Any, infos: Any, args: Any = None) -> None:
        write = super()._background_serialize
        writes = (
            write([value], [info], [arg])
            for value, info, arg in zip(values, infos, args, strict=True)
        )
        for result in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


def _checkpointer() -> ocp.Checkpointer:
    handlers = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, _ArrayHandler()),
        (jax.Array, ocp.type_handlers.ArrayHandler()),  # Orbax warns without it
    )
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=handlers))


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return tree


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, node in tree.items():
        if isinstance(node, Mapping):
            yield from _flat(node, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", np.asarray(node)
