"""Adam and its kin: the cases of the common tests, and first updates by hand."""

import numpy as np
import optax
from optimizer_cases import Case, matrices, trajectory

ADAM = {"b1": 0.85, "b2": 0.95, "eps": 1e-6}
DECAYED = {"weight_decay": 0.02, "decay_all": False}
RADAM = ADAM | {"threshold": 5.0, "nesterov": False}
ADABELIEF = ADAM | {"eps_root": 1e-7, "nesterov": False}

CASES = [
    Case("adam", ADAM, optax.adam),
    Case("adamw", ADAM | DECAYED, lambda lr, **n: optax.adamw(lr, **n, mask=matrices)),
    Case("adamw", ADAM | DECAYED | {"decay_all": True}, optax.adamw),
    Case("nadam", ADAM, optax.nadam),
    Case("nadamw", ADAM | DECAYED, lambda lr, **n: optax.nadamw(lr, **n, mask=matrices)),
    Case("nadamw", ADAM | DECAYED | {"decay_all": True}, optax.nadamw),
    Case("amsgrad", ADAM, optax.amsgrad),
    Case("adamax", ADAM, optax.adamax),
    Case("radam", RADAM, optax.radam, constant=("threshold",)),
    Case(
        "radam",
        RADAM | {"threshold": 6.0, "nesterov": True},
        lambda lr, **n: optax.radam(lr, **n, nesterov=True),
        constant=("threshold",),
    ),
    Case("adabelief", ADABELIEF, optax.adabelief),
    Case(
        "adabelief",
        ADABELIEF | {"nesterov": True},
        lambda lr, **n: optax.adabelief(lr, **n, nesterov=True),
    ),
    Case("yogi", ADAM, optax.yogi),
]

REFUSED = [
    ("optimizer=nadam optimizer.b1=1", "b1"),
    ("optimizer=adam optimizer.b2=0.99999999", "b2"),
    ("optimizer=adam optimizer.eps=0", "eps"),
    ("optimizer=nadamw optimizer.weight_decay=-1", "weight_decay"),
    ("optimizer=radam optimizer.threshold=4", "threshold"),
    ("optimizer=adabelief optimizer.eps_root=-1", "eps_root"),
]


def test_the_first_update_of_adam_is_the_rate_whatever_the_gradient():
    # Both bias corrections cancel at the first update (Kingma and Ba 2015, section 2.1).
    arguments = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
    passed = trajectory("adam", arguments, [0.1], [[5.0, -0.001]], [1.0, 1.0])
    np.testing.assert_allclose(passed, [[0.9, 1.1]], rtol=2e-5)
