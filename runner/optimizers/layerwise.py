"""Optimizers that normalise or orthogonalise the update of each layer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from etils import epy

from runner.config.markers import Whole
from runner.config.types import Decay, Decays, Needs, NonNegative, Positive
from runner.optimizers.decay import mask
from runner.registry import register_optimizer

with epy.lazy_imports():
    import jax
    import optax
    from optax import contrib


@register_optimizer("lamb", rate_scale=0.03)
def lamb(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-6,
    eps_root: NonNegative = 0.0,
    weight_decay: Decays = 0.0,
    decay_all: bool = True,
) -> optax.GradientTransformation:
    """AdamW with each layer's update scaled to the layer's norm (You et al. 2020, algorithm 2)."""
    return optax.lamb(
        learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        eps_root=eps_root,
        weight_decay=weight_decay,
        mask=mask(decay_all),
    )


@register_optimizer("lars", rate_scale=30.0)
def lars(
    learning_rate: Any,
    *,
    momentum: Decay = 0.9,
    nesterov: Annotated[bool, Needs("momentum")] = False,
    weight_decay: Decays = 0.0,
    decay_all: bool = True,
    trust_coefficient: Positive = 0.001,
    eps: NonNegative = 0.0,
    adapt_all: bool = True,
) -> optax.GradientTransformation:
    """SGD with updates scaled to the layer's norm (You, Gitman and Ginsburg 2017, algorithm 1).

    Unless ``adapt_all``, updates of parameters with fewer than two dimensions are not scaled.
    """
    return optax.lars(
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=_or_true(mask(decay_all)),
        trust_coefficient=trust_coefficient,
        eps=eps,
        trust_ratio_mask=_or_true(mask(adapt_all)),
        momentum=momentum,
        nesterov=nesterov,
    )


@register_optimizer("novograd", rate_scale=0.1)
def novograd(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: Positive = 1e-6,
    eps_root: NonNegative = 0.0,
    weight_decay: Decays = 0.0,
) -> optax.GradientTransformation:
    """Adam with one second moment per layer (Ginsburg et al. 2019, algorithm 1).

    As in the paper, all parameters decay, and the weight decay is added to the momentum.
    """
    return optax.novograd(
        learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root, weight_decay=weight_decay
    )


@register_optimizer("fromage", rate_scale=0.1)
def fromage(learning_rate: Any, *, min_norm: NonNegative = 1e-6) -> optax.GradientTransformation:
    """Gradient descent relative to each layer's norm (Bernstein et al. 2020, algorithm 1).

        param = (param - learning_rate * grad * |param| / |grad|) / sqrt(1 + learning_rate ** 2)

    A norm below ``min_norm`` counts as ``min_norm``, so that parameters of zero can change.
    """
    return optax.fromage(learning_rate, min_norm=min_norm)


@register_optimizer("muon", rate_scale=0.1)
def muon(
    learning_rate: Any,
    *,
    momentum: Decay = 0.95,
    nesterov: bool = True,
    ns_steps: Annotated[int, Whole(1, 100)] = 5,
    preconditioning: Literal["frobenius", "spectral", "aol", "schatten"] = "frobenius",
    adaptive: bool = False,
    consistent_rms: Positive | None = None,
    eps: Positive = 1e-8,
    weight_decay: Decays = 0.0,
    decay_all: bool = False,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
) -> optax.GradientTransformation:
    """Momentum orthogonalised by Newton-Schulz iterations (Jordan et al. 2024).

    A parameter with more than two dimensions is treated as a matrix: its last axis is the output,
    the others are the input. Parameters with fewer than two are updated by AdamW with ``b1`` and
    ``b2``, and decay only if ``decay_all``. If ``consistent_rms`` is None, updates are scaled by
    ``sqrt(max(1, outputs / inputs))``.
    """
    return contrib.muon(
        learning_rate,
        ns_steps=ns_steps,
        beta=momentum,
        eps=eps,
        weight_decay=weight_decay,
        nesterov=nesterov,
        adaptive=adaptive,
        preconditioning=preconditioning,  # type: ignore[arg-type]
        adam_b1=b1,
        adam_b2=b2,
        adam_weight_decay=weight_decay if decay_all else 0.0,
        muon_weight_dimension_numbers=_as_matrices,
        consistent_rms=consistent_rms,
    )


def _or_true(chosen: Any) -> Any:
    return True if chosen is None else chosen


def _as_matrices(params: Any) -> Any:
    def axes(param: Any) -> contrib.MuonDimensionNumbers | None:
        if param.ndim < 2:
            return None
        return contrib.MuonDimensionNumbers(tuple(range(param.ndim - 1)), param.ndim - 1)

    return jax.tree.map(axes, params)
