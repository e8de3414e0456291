"""A train state as named arrays on the host, which is what a checkpoint stores."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_flatten_with_path, tree_map_with_path

from runner.errors import StorageError
from runner.optimizers.groups import path_name
from runner.training.evaluation import evaluated_params
from runner.training.state import Static, TrainState

Arrays = Mapping[str, np.ndarray]

# The parameters that evaluations use, stored where they are not the trained ones.
EVALUATED = "evaluated"
PARAMS = "params"
# Sections that start as copies of others.
_COPIES = {"slow": PARAMS, "average": PARAMS, "averaged_model_state": "model_state"}
# These start as zeros: a new schedule, or early stopping, has not seen an evaluation.
_ZEROS = ("plateau", "stopping")
_REMEDY = "use the settings it was saved with, or init_params_only=true to take what fits"


def to_arrays(static: Static, state: TrainState) -> dict[str, np.ndarray]:
    """Every leaf of ``state`` by its path, such as ``params/Dense_0/kernel``; waits for the device.

    PRNG keys are stored as their data. If the parameters to evaluate are not ``state.params``, they
    are added under ``evaluated/``.
    """
    tree = {**vars(state)}
    evaluated = evaluated_params(static, state)
    pairs = zip(jax.tree.leaves(evaluated), jax.tree.leaves(state.params), strict=True)
    if not all(one is other for one, other in pairs):
        tree[EVALUATED] = evaluated
    return {path: np.asarray(_data(leaf)) for path, leaf in named_leaves(tree).items()}


def from_arrays(template: TrainState, arrays: Arrays, *, source: str) -> TrainState:
    """The state stored in ``arrays``.

    Args:
      template: shapes and types, as of ``Experiment.state_shapes``.
      source: the checkpoint, for errors.

    Averages, slow parameters and counts of evaluations that were not stored start as in a new run.

    Raises:
      StorageError: an array is missing, or its shape or type differs.
    """

    def restored(path: Any, leaf: Any) -> Any:
        name = path_name(path)
        found = arrays.get(name)
        section, _, rest = name.partition("/")
        if found is None and section in _COPIES:
            found = arrays.get(f"{_COPIES[section]}/{rest}")
        if found is None and section in _ZEROS:
            found = np.zeros(leaf.shape, leaf.dtype)
        return _restored(name, leaf, found, source, _REMEDY)

    fields = {**vars(template)}
    # Parameters first: where the model differs, an error names one of them.
    params = tree_map_with_path(restored, {"params": fields.pop("params")})
    return TrainState(**params, **tree_map_with_path(restored, fields))


def stored_variables(template: Any, arrays: Arrays, *, source: str) -> dict[str, Any]:
    """The stored variables of a model, with the parameters that evaluations use.

    Args:
      template: shapes and types, as of the model's ``init``.
      source: the checkpoint, for errors.

    Raises:
      StorageError: an array is missing, or its shape or type differs.
    """
    remedy = "use the version of the model that the run was trained with"

    def stored(path: Any, leaf: Any) -> Any:
        section, _, rest = path_name(path).partition("/")
        names = [f"{EVALUATED}/{rest}", f"{PARAMS}/{rest}"]
        if section != PARAMS:
            names = [f"{kind}/{section}/{rest}" for kind in ("averaged_model_state", "model_state")]
        name = next((name for name in names if name in arrays), names[-1])
        found = arrays.get(name)
        return _restored(name, leaf, found, source, remedy)

    return tree_map_with_path(stored, dict(template))


def with_params(state: TrainState, arrays: Arrays) -> tuple[TrainState, list[str], list[str]]:
    """``state`` with those stored parameters and model state whose path and shape it shares.

    Also returns the paths of ``state`` that were not found or differ, and the stored paths that
    were not used. Averages and slow parameters start as copies of the new parameters.
    """
    stored = {name: a for name, a in arrays.items() if name.startswith(("params/", "model_state/"))}
    taken: dict[str, np.ndarray] = {}
    missing = []
    for name, leaf in named_leaves(
        {"params": state.params, "model_state": state.model_state}
    ).items():
        found = stored.get(name)
        if found is not None and (found.shape, found.dtype) == (leaf.shape, leaf.dtype):
            taken[name] = found
        else:
            missing.append(name)

    def replaced(path: Any, leaf: Any) -> Any:
        section, _, rest = path_name(path).partition("/")
        name = f"{_COPIES[section]}/{rest}" if section in _COPIES else path_name(path)
        return jnp.copy(taken[name]) if name in taken else leaf

    fields = {**vars(state)}
    changed = ("params", "model_state", *_COPIES)
    fields |= tree_map_with_path(replaced, {name: fields[name] for name in changed})
    return TrainState(**fields), missing, sorted(stored.keys() - taken.keys())


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by path, the parts of which are separated by slashes."""
    return {path_name(path): leaf for path, leaf in tree_flatten_with_path(tree)[0]}


def is_finite(arrays: Arrays) -> bool:
    """Whether no floating point array holds a NaN or an infinity."""
    floating = (a for a in arrays.values() if jnp.issubdtype(a.dtype, jnp.floating))
    return all(np.isfinite(array).all() for array in floating)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _restored(name: str, leaf: Any, found: np.ndarray | None, source: str, remedy: str) -> Any:
    wanted = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    expected = f"{wanted.dtype.name}{list(wanted.shape)}"
    if found is None:
        raise StorageError(source, f"holds no {name} ({expected})", remedy)
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        stored = f"{found.dtype.name}{list(found.shape)}"
        raise StorageError(source, f"{name} is {stored}, not {expected}", remedy)
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(found))  # as jax.random.key makes them
    return found
