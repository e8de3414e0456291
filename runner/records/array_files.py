"""Named arrays in Orbax's format."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays of at least one element, by names such as ``params/Dense_0/kernel``.

    Raises:
      OSError, ValueError: a file cannot be written; nothing more is written to the folder.
    """
    with _checkpointer() as checkpointer:
        checkpointer.save(folder, args=ocp.args.PyTreeSave(unflatten_dict(arrays, sep="/")))


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays that ``write_arrays`` has written, by name.

    Raises:
      OSError, ValueError: the folder cannot be read.
    """
    with _checkpointer() as checkpointer:
        stored = flatten_dict(checkpointer.restore(folder), sep="/")
    return {name: np.asarray(array) for name, array in stored.items()}


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
