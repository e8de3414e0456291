"""A rate for each parameter: the cases of the common tests, and first updates by hand."""

import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
from optimizer_cases import Case, matrices, trajectory

from runner.optimizers import split

RMSPROP = {
    "decay": 0.8,
    "eps": 1e-5,
    "initial_scale": 0.5,
    "eps_in_sqrt": False,
    "centered": False,
    "momentum": None,
    "nesterov": False,
    "bias_correction": False,
}
ADAFACTOR = {
    "min_dim_size_to_factor": 4,
    "decay_rate": 0.7,
    "multiply_by_parameter_scale": True,
    "clipping_threshold": 0.9,
    "momentum": 0.8,
    "eps": 1e-20,
    "factored": True,
    "weight_decay": 0.02,
    "decay_all": False,
}

CASES = [
    Case("rmsprop", RMSPROP, lambda lr, **n: optax.rmsprop(lr, **n, eps_in_sqrt=False)),
    Case(
        "rmsprop",
        RMSPROP | {"momentum": 0.8, "nesterov": True, "eps_in_sqrt": True, "bias_correction": True},
        lambda lr, **n: optax.rmsprop(lr, **n, nesterov=True, bias_correction=True),
    ),
    Case(
        "rmsprop",
        RMSPROP | {"momentum": 0.8, "centered": True, "eps_in_sqrt": True},
        lambda lr, **n: optax.rmsprop(lr, **n, centered=True),
    ),
    Case("adagrad", {"initial_accumulator_value": 0.2, "eps": 1e-5}, optax.adagrad),
    Case("adadelta", {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.02}, optax.adadelta),
    Case(
        "adafactor",
        ADAFACTOR,
        lambda lr, weight_decay, **n: optax.adafactor(
            lr, 4, weight_decay_rate=weight_decay, weight_decay_mask=matrices, **n
        ),
    ),
    Case(
        "adafactor",
        ADAFACTOR
        | {"clipping_threshold": None, "momentum": None, "factored": False, "decay_all": True}
        | {"multiply_by_parameter_scale": False},
        lambda lr, weight_decay, **n: optax.adafactor(
            lr,
            4,
            weight_decay_rate=weight_decay,
            clipping_threshold=None,
            factored=False,
            multiply_by_parameter_scale=False,
            **n,
        ),
    ),
    Case("sm3", {"momentum": 0.8}, optax.sm3),
    Case("madgrad", {"momentum": 0.8, "weight_decay": 0.02, "eps": 1e-5}, contrib.madgrad),
]

REFUSED = [
    ("optimizer=rmsprop optimizer.decay=1", "decay"),
    ("optimizer=rmsprop optimizer.initial_scale=-1", "initial_scale"),
    ("optimizer=rmsprop optimizer.nesterov=true", "nesterov"),
    ("optimizer=adagrad optimizer.initial_accumulator_value=-1", "initial_accumulator_value"),
    ("optimizer=adadelta optimizer.rho=-0.1", "rho"),
    ("optimizer=adafactor optimizer.min_dim_size_to_factor=0", "min_dim_size_to_factor"),
    ("optimizer=adafactor optimizer.decay_rate=2", "decay_rate"),
    ("optimizer=adafactor optimizer.clipping_threshold=0", "clipping_threshold"),
    ("optimizer=adafactor optimizer.momentum=1", "momentum"),
    ("optimizer=sm3 optimizer.momentum=1", "momentum"),
    ("optimizer=madgrad optimizer.eps=0", "eps"),
]


def test_two_updates_of_sm3_by_hand():
    # Rows' and columns' largest sums: 4, 16 both. Then each entry's is the smaller of its two + 1:
    # AdaGrad's would be 2, 5, 5, 17.
    tx = split("sm3", {"momentum": 0.0})[0].build(0.1, {"momentum": 0.0})
    params = jnp.zeros((2, 2))
    first, state = tx.update(jnp.array([[1.0, 2.0], [2.0, 4.0]]), tx.init(params))
    second, _ = tx.update(jnp.ones((2, 2)), state)
    np.testing.assert_allclose(first, np.full((2, 2), -0.1), rtol=1e-6)
    np.testing.assert_allclose(second, [[-(0.1 / 5**0.5)] * 2, [-0.1 / 5**0.5, -0.1 / 17**0.5]])


def test_sm3_takes_scalars_as_vectors_of_one_entry():
    optimizer, hyperparams = split("sm3", {"momentum": 0.5})
    tx = optimizer.build(0.1, hyperparams)
    params, grads = {"a": jnp.float32(1)}, {"a": jnp.float32(-3)}
    updates, _ = tx.update(grads, tx.init(params), params)
    assert updates["a"].shape == ()
    np.testing.assert_allclose(updates["a"], 0.05, rtol=1e-6)


def test_two_updates_of_madgrad_by_hand():
    # Rates times roots of the count: 0.5, 0.25 * 2 ** 0.5. Sums of squares: 0.5, 1.914214; of
    # gradients: 0.5, 1.207107. z: 10 - 0.5 / 0.5 ** (1 / 3) = 9.370039, then
    # 10 - 1.207107 / 1.914214 ** (1 / 3) = 9.027815; half way there each time.
    arguments = {"momentum": 0.5, "eps": 1e-12}
    passed = trajectory("madgrad", arguments, [0.5, 0.25], [[1.0], [2.0]], [10.0])
    np.testing.assert_allclose(passed.ravel(), [9.685020, 9.356417], rtol=1e-6)
