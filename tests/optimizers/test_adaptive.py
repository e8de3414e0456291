"""A rate for each parameter: the cases of the common tests."""

import optax
from optimizer_cases import Case, matrices

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
            weight_decay_rate=weight_decay,
            clipping_threshold=None,
            factored=False,
            multiply_by_parameter_scale=False,
            **n,
        ),
    ),
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
]
