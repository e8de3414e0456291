"""Adam and its variants."""

from __future__ import annotations

from typing import Annotated, Any

from etils import epy

from runner.config.markers import Number
from runner.config.types import Decay, Decays, NonNegative, Positive
from runner.optimizers.decay import mask
from runner.registry import register_optimizer

with epy.lazy_imports():
    import optax
    from optax import contrib


@register_optimizer("adam", rate_scale=0.01)
def adam(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, algorithm 1)."""
    return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)


@register_optimizer("adamw", rate_scale=0.01)
def adamw(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: Decays = 1e-4,
    decay_all: bool = True,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    As in PyTorch's AdamW, the weight decay is multiplied by the learning rate.
    """
    return optax.adamw(
        learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask(decay_all)
    )


@register_optimizer("nadam", rate_scale=0.01)
def nadam(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """Adam with Nesterov momentum (Dozat 2016), which is constant instead of warmed up."""
    return optax.nadam(learning_rate, b1=b1, b2=b2, eps=eps)


@register_optimizer("nadamw", rate_scale=0.01)
def nadamw(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: Decays = 1e-4,
    decay_all: bool = True,
) -> optax.GradientTransformation:
    """NAdam with the decoupled weight decay of ``adamw``."""
    return optax.nadamw(
        learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask(decay_all)
    )


@register_optimizer("amsgrad", rate_scale=0.01)
def amsgrad(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """Adam with the largest second moment so far (Reddi et al. 2018, algorithm 2).

    The maximum is over bias-corrected moments; PyTorch corrects the maximum instead.
    """
    return optax.amsgrad(learning_rate, b1=b1, b2=b2, eps=eps)


@register_optimizer("adamax", rate_scale=0.01)
def adamax(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """Adam with the infinity norm as second moment (Kingma and Ba 2015, algorithm 2)."""
    return optax.adamax(learning_rate, b1=b1, b2=b2, eps=eps)


@register_optimizer("radam", rate_scale=0.01)
def radam(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
    threshold: Annotated[float, Number(gt=4)] = 5.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam whose first updates are rectified (Liu et al. 2020, algorithm 2)."""
    return optax.radam(learning_rate, b1=b1, b2=b2, eps=eps, threshold=threshold, nesterov=nesterov)


@register_optimizer("adabelief", rate_scale=0.01)
def adabelief(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-16,
    eps_root: NonNegative = 1e-16,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam with the variance of gradients as second moment (Zhuang et al. 2020, algorithm 2)."""
    return optax.adabelief(
        learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root, nesterov=nesterov
    )


@register_optimizer("yogi", rate_scale=0.01)
def yogi(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-3,
) -> optax.GradientTransformation:
    """Adam with an additive update of the second moment (Zaheer et al. 2018)."""
    return optax.yogi(learning_rate, b1=b1, b2=b2, eps=eps)


@register_optimizer("adan", rate_scale=0.01)
def adan(
    learning_rate: Any,
    *,
    b1: Decay = 0.98,
    b2: Decay = 0.92,
    b3: Decay = 0.99,
    eps: Positive = 1e-8,
    eps_root: NonNegative = 1e-8,
    weight_decay: Decays = 0.0,
    decay_all: bool = True,
) -> optax.GradientTransformation:
    """Adam with Nesterov momentum from differences of gradients (Xie et al. 2022, algorithm 1).

    Unlike in algorithm 1, the three means are bias-corrected as in Adam, and the weight decay is
    that of ``adamw``, not a division by ``1 + learning_rate * weight_decay``. ``b1``, ``b2`` and
    ``b3`` are one minus those of the paper.
    """
    return optax.adan(
        learning_rate,
        b1=b1,
        b2=b2,
        b3=b3,
        eps=eps,
        eps_root=eps_root,
        weight_decay=weight_decay,
        mask=mask(decay_all),
    )


@register_optimizer("adopt", rate_scale=0.01)
def adopt(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: Positive = 1e-6,
    nesterov: bool = False,
    use_clipping: bool = True,
) -> optax.GradientTransformation:
    """Adam that normalises a gradient by the previous second moment (Taniguchi et al. 2024).

    Update 0 does not change the parameters. With ``use_clipping`` the normalised gradients of
    update t are clipped to ``t ** 0.25``.
    """
    return contrib.adopt(
        learning_rate, b1=b1, b2=b2, eps=eps, nesterov=nesterov, use_clipping=use_clipping
    )


@register_optimizer("ademamix", rate_scale=0.01)
def ademamix(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 5.0,
    eps: Positive = 1e-8,
    eps_root: NonNegative = 0.0,
    weight_decay: Decays = 0.0,
    decay_all: bool = True,
) -> optax.GradientTransformation:
    """AdamW with a second, slow mean of gradients (Pagliardini et al. 2024, algorithm 1).

    ``b3`` and ``alpha`` are constant; the paper warms up both in long runs.
    """
    return contrib.ademamix(
        learning_rate,
        b1=b1,
        b2=b2,
        b3=b3,
        alpha=alpha,
        eps=eps,
        eps_root=eps_root,
        weight_decay=weight_decay,
        mask=mask(decay_all),
    )
