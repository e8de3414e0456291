"""What a program is compiled for: everything about a run that is no number a person sweeps over."""

from dataclasses import dataclass, field
from typing import Literal

import flax.linen as nn

from runner.optimizers import Groups, Optimizer

ComputeDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Structure:
    """Equal structures share one compiled program.

    model: the flax module.
    optimizer: which one, without its numbers.
    groups: which parameters have rates of their own, or stay as they are.
    accumulate: batches whose gradients are averaged into one update.
    compute_dtype: what the model computes in; parameters, loss and optimizer stay in float32.
    """

    model: nn.Module
    optimizer: Optimizer
    groups: Groups = field(default_factory=Groups)
    accumulate: int = 1
    compute_dtype: ComputeDtype = "float32"
