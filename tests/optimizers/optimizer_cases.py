"""How each optimizer is tested: what its family's test module declares, and how it is run.

The test module of a family of ``runner.optimizers`` (``test_adam`` for ``adam``) declares
``CASES``, and ``REFUSED``: (overrides of the command line, the key that the error names).
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from runner.optimizers import split
from runner.registry import optimizers

ByHand = Callable[..., optax.GradientTransformation]


class Case(NamedTuple):
    """An optimizer and what it is compared with.

    name, arguments: of the registered factory.
    by_hand: optax's own as a function of the rate and of the floats among ``arguments``.
    constant: floats that stay as they are where a test varies the others.
    """

    name: str
    arguments: dict[str, Any]
    by_hand: ByHand
    constant: tuple[str, ...] = ()


def families() -> list[ModuleType]:
    """The test modules of the families; a family without one is an ImportError."""
    factories = [optimizers.get(name) for name in optimizers.names()]
    homes = sorted({f.__module__ for f in factories if f.__module__.startswith("runner.")})
    return [import_module(f"test_{home.rpartition('.')[2]}") for home in homes]


def all_cases() -> list[Any]:
    return [case for family in families() for case in family.CASES]


def all_refused() -> list[Any]:
    return [refused for family in families() for refused in family.REFUSED]


def matrices(params: Any) -> Any:
    """optax's mask of what decays where biases and scales of norms do not."""
    return jax.tree.map(lambda param: param.ndim > 1, params)


def trajectory(name: str, arguments: Any, rates: Any, grads: Any, params: Any) -> np.ndarray:
    """Params after each update, float32 [steps, size], by one compiled step."""
    optimizer, hyperparams = split(name, arguments)

    @jax.jit
    def step(params: Any, opt_state: Any, rate: Any, hyperparams: Any, grad: Any) -> Any:
        tx = optimizer.build(rate, hyperparams)
        updates, opt_state = tx.update(grad, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params = jnp.asarray(params, jnp.float32)
    opt_state = optimizer.build(0.0, hyperparams).init(params)
    passed = []
    for rate, grad in zip(rates, grads, strict=True):
        grad = jnp.asarray(grad, jnp.float32)
        params, opt_state = step(params, opt_state, rate, hyperparams, grad)
        passed.append(np.asarray(params))
    return np.stack(passed)
