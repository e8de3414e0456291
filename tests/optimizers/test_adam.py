"""Adam and its variants: the cases of the common tests, and first updates by hand."""

import numpy as np
import optax
from optax import contrib
from optimizer_cases import Case, matrices, trajectory

ADAM = {"b1": 0.85, "b2": 0.95, "eps": 1e-6}
DECAYED = {"weight_decay": 0.02, "decay_all": False}
RADAM = ADAM | {"threshold": 5.0, "nesterov": False}
ADABELIEF = ADAM | {"eps_root": 1e-7, "nesterov": False}
ADAN = ADAM | {"b3": 0.9, "eps_root": 1e-7} | DECAYED
ADOPT = ADAM | {"nesterov": False, "use_clipping": True}
ADEMAMIX = ADAM | {"b3": 0.97, "alpha": 3.0, "eps_root": 1e-7} | DECAYED

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
    Case("adan", ADAN, lambda lr, **n: optax.adan(lr, **n, mask=matrices)),
    Case("adan", ADAN | {"decay_all": True}, optax.adan),
    Case("adopt", ADOPT, contrib.adopt),
    Case(
        "adopt",
        ADOPT | {"nesterov": True, "use_clipping": False},
        lambda lr, **n: contrib.adopt(lr, **n, nesterov=True, use_clipping=False),
    ),
    Case("ademamix", ADEMAMIX, lambda lr, **n: contrib.ademamix(lr, **n, mask=matrices)),
    Case("ademamix", ADEMAMIX | {"decay_all": True}, contrib.ademamix),
]

REFUSED = [
    ("optimizer=nadam optimizer.b1=1", "b1"),
    ("optimizer=adam optimizer.b2=0.99999999", "b2"),
    ("optimizer=adam optimizer.eps=0", "eps"),
    ("optimizer=nadamw optimizer.weight_decay=-1", "weight_decay"),
    ("optimizer=radam optimizer.threshold=4", "threshold"),
    ("optimizer=adabelief optimizer.eps_root=-1", "eps_root"),
    ("optimizer=adan optimizer.b3=1", "b3"),
    ("optimizer=adopt optimizer.eps=0", "eps"),
    ("optimizer=ademamix optimizer.alpha=-1", "alpha"),
]


def test_the_first_update_of_adam_is_the_rate_whatever_the_gradient():
    # Both bias corrections cancel at the first update (Kingma and Ba 2015, section 2.1).
    arguments = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
    passed = trajectory("adam", arguments, [0.1], [[5.0, -0.001]], [1.0, 1.0])
    np.testing.assert_allclose(passed, [[0.9, 1.1]], rtol=2e-5)


def test_two_updates_of_adan_by_hand():
    # m: 0.5, 1.75, over 0.5, 0.75: 1, 2.33333. The difference is 2, v: 0.5 over 0.4375: 1.142857.
    # n: 0.5 * 1, 0.5 * 0.5 + 0.5 * (3 + 0.25 * 2) ** 2 = 6.375, over 0.5, 0.75: 1, 8.5.
    # u: 1, (2.33333 + 0.25 * 1.142857) / 8.5 ** 0.5 = 0.898326.
    arguments = {"b1": 0.5, "b2": 0.75, "b3": 0.5, "eps": 1e-8, "eps_root": 0.0}
    passed = trajectory("adan", arguments, [0.1, 0.1], [[1.0], [3.0]], [10.0])
    np.testing.assert_allclose(passed.ravel(), [9.9, 9.8101674], rtol=1e-6)


def test_three_updates_of_adopt_by_hand():
    # The first leaves the parameter: nu = 4. The second: 3 / 2, clipped to 1, m = 0.5,
    # nu = 0.75 * 4 + 0.25 * 9 = 5.25. The third: 1 / 5.25 ** 0.5 = 0.436436, m = 0.468218.
    arguments = {"b1": 0.5, "b2": 0.75, "eps": 1e-6}
    passed = trajectory("adopt", arguments, [0.1] * 3, [[2.0], [3.0], [1.0]], [10.0])
    np.testing.assert_allclose(passed.ravel(), [10.0, 9.95, 9.9031782], rtol=1e-6)


def test_two_updates_of_ademamix_by_hand():
    # Fast: 0.5, 1.75, over 0.5, 0.75: 1, 2.33333. Slow, not corrected: 0.1, 0.09 + 0.3 = 0.39.
    # nu: 0.25, 2.4375, over 0.25, 0.4375: 1, 5.571429. u: 1 + 2 * 0.1 = 1.2, then
    # (2.33333 + 2 * 0.39) / 5.571429 ** 0.5 = 1.318993.
    arguments = {"b1": 0.5, "b2": 0.75, "b3": 0.9, "alpha": 2.0, "eps": 1e-8}
    passed = trajectory("ademamix", arguments, [0.1, 0.1], [[1.0], [3.0]], [10.0])
    np.testing.assert_allclose(passed.ravel(), [9.88, 9.7481007], rtol=1e-6)
