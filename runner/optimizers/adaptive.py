"""A rate for each parameter from its squared gradients: AdaGrad and what came of it."""

from __future__ import annotations

from typing import Annotated, Any

from etils import epy

from runner.config.types import Count, Decay, Decays, Needs, NonNegative, Positive, PositiveShare
from runner.optimizers.decay import mask
from runner.registry import register_optimizer

with epy.lazy_imports():
    import optax


@register_optimizer("rmsprop")
def rmsprop(
    learning_rate: Any,
    *,
    decay: Decay = 0.9,
    eps: Positive = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Decay | None = None,
    nesterov: Annotated[bool, Needs("momentum")] = False,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """RMSProp (Hinton 2012, lecture 6e; Graves 2013, equations 38 to 45, where ``centered``).

    The velocity holds updates already multiplied by the rate; in PyTorch's RMSprop it does not.
    ``momentum`` of None leaves out the velocity.
    """
    return optax.rmsprop(
        learning_rate,
        decay=decay,
        eps=eps,
        initial_scale=initial_scale,
        eps_in_sqrt=eps_in_sqrt,
        centered=centered,
        momentum=momentum,
        nesterov=nesterov,
        bias_correction=bias_correction,
    )


@register_optimizer("adagrad")
def adagrad(
    learning_rate: Any,
    *,
    initial_accumulator_value: NonNegative = 0.1,
    eps: Positive = 1e-7,
) -> optax.GradientTransformation:
    """AdaGrad with a diagonal matrix (Duchi, Hazan and Singer 2011, figure 1).

    ``eps`` stands inside the root; in PyTorch's Adagrad it is added to it.
    """
    return optax.adagrad(
        learning_rate, initial_accumulator_value=initial_accumulator_value, eps=eps
    )


@register_optimizer("adadelta")
def adadelta(
    learning_rate: Any,
    *,
    rho: Decay = 0.9,
    eps: Positive = 1e-6,
    weight_decay: Decays = 0.0,
) -> optax.GradientTransformation:
    """AdaDelta (Zeiler 2012, algorithm 1); the decay joins the gradient, as in PyTorch's."""
    return optax.adadelta(learning_rate, rho=rho, eps=eps, weight_decay=weight_decay)


@register_optimizer("adafactor")
def adafactor(
    learning_rate: Any,
    *,
    min_dim_size_to_factor: Count = 128,
    decay_rate: PositiveShare = 0.8,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Positive | None = 1.0,
    momentum: Decay | None = None,
    weight_decay: Decays = 0.0,
    decay_all: bool = True,
    eps: Positive = 1e-30,
    factored: bool = True,
) -> optax.GradientTransformation:
    """AdaFactor (Shazeer and Stern 2018, algorithms 4 and 5).

    ``clipping_threshold`` or ``momentum`` of None leaves out the term. The decay is subtracted as
    it is: it is not multiplied by the learning rate.
    """
    return optax.adafactor(
        learning_rate,
        min_dim_size_to_factor=min_dim_size_to_factor,
        decay_rate=decay_rate,
        multiply_by_parameter_scale=multiply_by_parameter_scale,
        clipping_threshold=clipping_threshold,
        momentum=momentum,
        weight_decay_rate=weight_decay,
        weight_decay_mask=mask(decay_all),
        eps=eps,
        factored=factored,
    )
