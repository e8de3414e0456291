"""Adaptive rates per parameter, from squared gradients: AdaGrad and its successors."""

from __future__ import annotations

from typing import Annotated, Any

from etils import epy

from runner.config.types import Count, Decay, Decays, Needs, NonNegative, Positive, PositiveShare
from runner.optimizers.decay import mask
from runner.registry import register_optimizer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax
    from optax import contrib


@register_optimizer("rmsprop", rate_scale=0.01)
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
    """RMSProp (Hinton 2012, lecture 6e; Graves 2013, equations 38 to 45, if ``centered``).

    The velocity accumulates updates multiplied by the learning rate; in PyTorch's RMSprop it does
    not. If ``momentum`` is None there is no velocity.
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

    ``eps`` is added inside the square root; PyTorch's Adagrad adds it outside.
    """
    return optax.adagrad(
        learning_rate, initial_accumulator_value=initial_accumulator_value, eps=eps
    )


@register_optimizer("adadelta", rate_scale=10.0)
def adadelta(
    learning_rate: Any,
    *,
    rho: Decay = 0.9,
    eps: Positive = 1e-6,
    weight_decay: Decays = 0.0,
) -> optax.GradientTransformation:
    """AdaDelta (Zeiler 2012, algorithm 1); weight decay is added to the gradient, as in PyTorch."""
    return optax.adadelta(learning_rate, rho=rho, eps=eps, weight_decay=weight_decay)


@register_optimizer("adafactor", rate_scale=0.1)
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

    If ``clipping_threshold`` or ``momentum`` is None, that term is left out. The weight decay is
    not multiplied by the learning rate.
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


@register_optimizer("sm3")
def sm3(learning_rate: Any, *, momentum: Decay = 0.9) -> optax.GradientTransformation:
    """AdaGrad with accumulators per row and column (Anil et al. 2019, algorithm SM3-II).

    A parameter has an accumulator for each index of each dimension instead of for each entry.
    """
    return _scalars_as_vectors(optax.sm3(learning_rate, momentum=momentum))


@register_optimizer("madgrad", rate_scale=0.1)
def madgrad(
    learning_rate: Any,
    *,
    momentum: Decay = 0.9,
    weight_decay: Decays = 0.0,
    eps: Positive = 1e-6,
) -> optax.GradientTransformation:
    """AdaGrad with dual averaging and a cube root (Defazio and Jelassi 2021, algorithm 1).

    Weight decay is added to the gradient. As in the authors' code, ``eps`` is also added to the
    learning rate.
    """
    return contrib.madgrad(learning_rate, momentum=momentum, weight_decay=weight_decay, eps=eps)


def _scalars_as_vectors(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Makes ``tx``, which cannot handle scalar parameters, treat them as vectors of length 1."""

    def init(params: Any) -> Any:
        return tx.init(jax.tree.map(jnp.atleast_1d, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        scaled, state = tx.update(jax.tree.map(jnp.atleast_1d, updates), state)
        return jax.tree.map(lambda new, old: new.reshape(old.shape), scaled, updates), state

    return optax.GradientTransformation(init, update)
