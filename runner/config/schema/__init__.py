"""What each section of the configuration may hold: names, types and checks; YAML holds the values.

A field's name is its key and the keyword argument of the factory; ``convert`` reads the types.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from runner.config.schema.datasets import Idx
from runner.config.schema.models import Cnn, Mlp
from runner.config.schema.optimizers import (
    AdaBelief,
    AdaDelta,
    AdaFactor,
    AdaGrad,
    Adam,
    AdamW,
    Lamb,
    Lars,
    Lion,
    Muon,
    NovoGrad,
    RAdam,
    RmsProp,
    Sgd,
)
from runner.config.schema.schedulers import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Sequence,
    Step,
    TriangularLR,
    WarmupCosine,
)
from runner.config.schema.tasks import Check
from runner.config.schema.training import Training
from runner.config.schema.wrappers import Wrappers

__all__ = ["CHOICES", "Sequence", "Training", "Wrappers"]


@dataclass(frozen=True)
class Nothing:
    """A choice without settings of its own."""


# Registered name → schema of its arguments. Names that a plugin brings have no schema: their
# arguments are checked against the factory's signature.
CHOICES: Mapping[str, Mapping[str, type[Any]]] = MappingProxyType(
    {
        "scheduler": {
            "cyclic": Cyclic,
            "triangular_lr": TriangularLR,
            "one_cycle": OneCycle,
            "constant": Constant,
            "cosine": Cosine,
            "cosine_restarts": CosineRestarts,
            "warmup_cosine": WarmupCosine,
            "linear": Linear,
            "polynomial": Polynomial,
            "exponential": Exponential,
            "step": Step,
            "multistep": MultiStep,
            "sequence": Sequence,
        },
        "optimizer": {
            "sgd": Sgd,
            "adam": Adam,
            "adamw": AdamW,
            "nadam": Adam,
            "nadamw": AdamW,
            "amsgrad": Adam,
            "adamax": Adam,
            "radam": RAdam,
            "adabelief": AdaBelief,
            "yogi": Adam,
            "rmsprop": RmsProp,
            "adagrad": AdaGrad,
            "adadelta": AdaDelta,
            "adafactor": AdaFactor,
            "lion": Lion,
            "lamb": Lamb,
            "lars": Lars,
            "novograd": NovoGrad,
            "muon": Muon,
        },
        "model": {"linear": Nothing, "mlp": Mlp, "cnn": Cnn},
        "dataset": {"digits": Nothing, "idx": Idx},
        "task": {"train": Nothing, "check": Check},
    }
)
