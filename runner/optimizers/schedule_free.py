"""Schedule-free optimizers: an average of the parameters instead of a decaying rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from etils import epy

from runner.config.markers import Number
from runner.config.types import Decay, Decays, NonNegative, Positive, Unscheduled
from runner.registry import evaluated_by, register_optimizer

with epy.lazy_imports():
    import optax
    from optax import contrib

# The average is recovered from the parameters by a division by b1.
Interpolation = Annotated[float, Number(gt=0, lt=1), Unscheduled()]


def _average(opt_state: Any, params: Any) -> Any:
    return contrib.schedule_free_eval_params(opt_state, params)


@register_optimizer("schedule_free_sgd", rate_scale=3.0)
@evaluated_by(_average)
def schedule_free_sgd(
    learning_rate: Any,
    *,
    b1: Interpolation = 0.9,
    weight_decay: Decays | None = None,
    weight_lr_power: NonNegative = 2.0,
) -> optax.GradientTransformation:
    """SGD evaluated at an average of its iterates (Defazio et al. 2024).

        y = (1 - b1) * z + b1 * x                        the parameters that are trained
        z -= learning_rate * (grad(y) + weight_decay * y)
        x += weight / sum_of_weights * (z - x)           the parameters that are evaluated

    The weight of an update is ``max_lr ** weight_lr_power``, where ``max_lr`` is the largest rate
    so far. Each update uses the rate of its own step for both; optax, given a schedule, uses the
    next step's rate for the weight. ``b1`` is part of the state and constant for the whole run.
    """
    return _with_b1_of_state(
        lambda b1: contrib.schedule_free_sgd(
            learning_rate, b1=b1, weight_decay=weight_decay, weight_lr_power=weight_lr_power
        ),
        b1,
    )


@register_optimizer("schedule_free_adamw", rate_scale=0.03)
@evaluated_by(_average)
def schedule_free_adamw(
    learning_rate: Any,
    *,
    b1: Interpolation = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: Decays = 0.0,
    weight_lr_power: NonNegative = 2.0,
) -> optax.GradientTransformation:
    """AdamW evaluated at an average of its iterates (Defazio et al. 2024, algorithm 1).

    Like ``schedule_free_sgd``, with the gradient divided by the root of its bias-corrected second
    moment.
    """
    return _with_b1_of_state(
        lambda b1: contrib.schedule_free_adamw(
            learning_rate,
            b1=b1,
            b2=b2,
            eps=eps,
            weight_decay=weight_decay,
            weight_lr_power=weight_lr_power,
        ),
        b1,
    )


def _with_b1_of_state(
    build: Callable[[Any], optax.GradientTransformation], b1: Any
) -> optax.GradientTransformation:
    """``build(b1)``, but updating with the ``b1`` of its state.

    The average is recovered from the parameters, so updates and evaluation need the ``b1`` that
    the parameters were interpolated with.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return build(state.b1).update(updates, state, params)

    return optax.GradientTransformation(build(b1).init, update)
