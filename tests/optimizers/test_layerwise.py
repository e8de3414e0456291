"""Updates shaped layer by layer: the cases of the common tests, and an update by hand."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from optimizer_cases import Case, matrices, trajectory

from runner.optimizers import split
from runner.optimizers.layerwise import _as_matrices

ADAM = {"b1": 0.85, "b2": 0.95, "eps": 1e-6}
DECAYED = {"weight_decay": 0.02, "decay_all": False}
LAMB = ADAM | {"eps_root": 1e-7} | DECAYED
LARS = {"momentum": 0.8, "nesterov": True, "trust_coefficient": 0.1, "eps": 1e-4} | DECAYED
MUON = {
    "momentum": 0.9,
    "nesterov": True,
    "ns_steps": 4,
    "preconditioning": "frobenius",
    "adaptive": False,
    "consistent_rms": None,
} | (ADAM | DECAYED)


def muons_axes(params: Any) -> Any:
    axes = {
        "kernel": contrib.MuonDimensionNumbers((0, 1, 2), 3),
        "matrix": contrib.MuonDimensionNumbers(0, 1),
    }
    return {name: axes.get(name) for name in params}


CASES = [
    Case("lamb", LAMB, lambda lr, **n: optax.lamb(lr, **n, mask=matrices)),
    Case("lamb", LAMB | {"decay_all": True}, optax.lamb),
    Case(
        "lars",
        LARS | {"adapt_all": False},
        lambda lr, **n: optax.lars(
            lr, **n, nesterov=True, weight_decay_mask=matrices, trust_ratio_mask=matrices
        ),
    ),
    Case("lars", LARS | {"adapt_all": True, "decay_all": True, "nesterov": False}, optax.lars),
    Case("fromage", {"min_norm": 1e-4}, optax.fromage),
    Case("novograd", ADAM | {"eps_root": 1e-7, "weight_decay": 0.02}, optax.novograd),
    Case(
        "muon",
        MUON,
        lambda lr, momentum, b1, b2, **n: contrib.muon(
            lr,
            beta=momentum,
            ns_steps=4,
            adam_b1=b1,
            adam_b2=b2,
            muon_weight_dimension_numbers=muons_axes,
            **n,
        ),
    ),
    Case(
        "muon",
        MUON
        | {"preconditioning": "aol", "adaptive": True, "nesterov": False}
        | {"consistent_rms": 0.2, "decay_all": True},
        lambda lr, momentum, b1, b2, **n: contrib.muon(
            lr,
            beta=momentum,
            ns_steps=4,
            adam_b1=b1,
            adam_b2=b2,
            adam_weight_decay=n["weight_decay"],
            muon_weight_dimension_numbers=muons_axes,
            preconditioning="aol",
            adaptive=True,
            nesterov=False,
            **n,
        ),
    ),
]

REFUSED = [
    ("optimizer=lamb optimizer.eps_root=-1", "eps_root"),
    ("optimizer=lamb optimizer.decay_all=3", "decay_all"),
    ("optimizer=lars optimizer.trust_coefficient=0", "trust_coefficient"),
    ("optimizer=lars optimizer.eps=-1", "eps"),
    ("optimizer=lars optimizer.momentum=null", "momentum"),
    ("optimizer=novograd optimizer.weight_decay=-1", "weight_decay"),
    ("optimizer=fromage optimizer.min_norm=-1", "min_norm"),
    ("optimizer=muon optimizer.ns_steps=0", "ns_steps"),
    ("optimizer=muon optimizer.preconditioning=frobenious", "preconditioning"),
    ("optimizer=muon optimizer.consistent_rms=0", "consistent_rms"),
    ("optimizer=muon optimizer.b1=1", "b1"),
]


def test_an_update_of_fromage_by_hand():
    # The norm of (3, 4) is 5, that of the gradient 2: (3, 4 - 0.75 * 5) over 1.25.
    passed = trajectory("fromage", {"min_norm": 1e-6}, [0.75], [[0.0, 2.0]], [3.0, 4.0])
    np.testing.assert_allclose(passed, [[2.4, 0.2]], rtol=1e-6)


@pytest.mark.parametrize(
    ("decay_all", "adapt_all", "bias"),
    [
        (True, True, [0.0, -0.5]),
        (True, False, [0.0, -2.0]),
        (False, True, [0.5, 0.0]),
        (False, False, [1.5, 0.0]),
    ],
)
def test_which_parameters_lars_decays_and_which_it_adapts(
    decay_all: bool, adapt_all: bool, bias: list[float]
) -> None:
    """Parameters (3, 4) of norm 5, gradients (-1.5, 0), a weight decay of 0.5.

    With decay the gradient is (0, 2), of norm 2, and is scaled by 0.1 * 5 / 2; without, its norm
    is 1.5, and it is scaled by 0.1 * 5 / 1.5.
    """
    settings = {"momentum": 0.0, "trust_coefficient": 0.1, "weight_decay": 0.5}
    masks = {"decay_all": decay_all, "adapt_all": adapt_all}
    optimizer, hyperparams = split("lars", settings | masks)
    tx = optimizer.build(1.0, hyperparams)
    params = {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([3.0, 4.0])}
    grads = {"kernel": jnp.array([[-1.5, 0.0]]), "bias": jnp.array([-1.5, 0.0])}
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [[0.0, -0.5]], rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], bias, rtol=1e-6)


def test_muon_takes_parameters_of_two_or_more_dimensions_as_matrices():
    shapes = {"bias": (3,), "matrix": (2, 3), "kernel": (2, 2, 3, 4)}
    axes = _as_matrices({name: np.zeros(shape) for name, shape in shapes.items()})
    assert axes["bias"] is None
    assert axes["matrix"] == contrib.MuonDimensionNumbers((0,), 1)
    assert axes["kernel"] == contrib.MuonDimensionNumbers((0, 1, 2), 3)
