"""The files of an exported model, for programs that do not have this package."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

STABLEHLO, SAFETENSORS, DESCRIPTION = "model.stablehlo", "model.safetensors", "model.json"


def write_model(
    folder: Path,
    *,
    stablehlo: bytes,
    arrays: Mapping[str, np.ndarray],
    description: Mapping[str, Any],
) -> list[str]:
    """Writes the three files and returns their names.

    Args:
      stablehlo: as ``jax.export`` serialises it.
      arrays: by path; written as safetensors, with ``description`` as JSON texts in the metadata.
      description: describes both files; written to ``model.json`` with their SHA-256.

    Raises:
      OSError: a file cannot be written.
    """
    # Not ascontiguousarray, which gives a scalar an axis.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {key: _json(value) for key, value in description.items()}
    contents = {STABLEHLO: stablehlo, SAFETENSORS: save(contiguous, metadata)}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    text = json.dumps({**description, "sha256": files}, indent=2, ensure_ascii=False) + "\n"
    for name, content in {**contents, DESCRIPTION: text.encode()}.items():
        (folder / name).write_bytes(content)
    return [*contents, DESCRIPTION]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
