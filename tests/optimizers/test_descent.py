"""Steps along the gradient: the cases of the common tests, and first updates by hand."""

from typing import Any

import numpy as np
import optax
from optimizer_cases import Case, matrices, trajectory

SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": None}
LION = {"b1": 0.85, "b2": 0.95, "weight_decay": 0.02}


def sgd_by_hand(lr: Any, momentum: Any, weight_decay: Any) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(decay, optax.sgd(lr, momentum=momentum, nesterov=True))


CASES = [
    Case("sgd", {"momentum": None, "nesterov": False, "weight_decay": None}, optax.sgd),
    Case("sgd", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.02}, sgd_by_hand),
    Case("signum", {"momentum": 0.8}, lambda lr, momentum: optax.signum(lr, beta=momentum)),
    Case("lion", LION | {"decay_all": False}, lambda lr, **n: optax.lion(lr, **n, mask=matrices)),
    Case("lion", LION | {"decay_all": True}, optax.lion),
]

REFUSED = [
    ("optimizer=signum optimizer.momentum=1", "momentum"),
    ("optimizer=lion optimizer.b2=2", "b2"),
    ("optimizer=sgd optimizer.momentum=1", "momentum"),
    ("optimizer=sgd optimizer.nesterov=true optimizer.momentum=0", "nesterov"),
]


def test_two_updates_of_momentum_by_hand():
    # m: 1, then 0.5 * 1 + 2 = 2.5; param: 10 - 0.1 * 1 = 9.9, then 9.9 - 0.2 * 2.5 = 9.4.
    passed = trajectory("sgd", SGD | {"momentum": 0.5}, [0.1, 0.2], [[1.0], [2.0]], [10.0])
    np.testing.assert_allclose(passed.ravel(), [9.9, 9.4], rtol=1e-6)


def test_two_updates_of_nesterov_with_decay_by_hand():
    # g = 1 + 0.1 * 10 = 2, m = 2, param = 10 - 0.1 * (2 + 0.5 * 2) = 9.7;
    # g = 2 + 0.97 = 2.97, m = 0.5 * 2 + 2.97 = 3.97, param = 9.7 - 0.1 * (2.97 + 1.985) = 9.2045.
    arguments = {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1}
    passed = trajectory("sgd", arguments, [0.1, 0.1], [[1.0], [2.0]], [10.0])
    np.testing.assert_allclose(passed.ravel(), [9.7, 9.2045], rtol=1e-6)


def test_signum_follows_the_sign_of_the_mean_not_of_the_gradient():
    # m: 0.5, then 0.5 * 0.5 - 0.5 * 0.4 = 0.05, still above zero, then 0.025 - 0.5 < 0.
    grads = [[1.0], [-0.4], [-1.0]]
    passed = trajectory("signum", {"momentum": 0.5}, [0.1, 0.2, 0.4], grads, [10.0])
    np.testing.assert_allclose(passed.ravel(), [9.9, 9.7, 10.1], rtol=1e-6)
