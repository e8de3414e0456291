"""Exports the model of a saved run as StableHLO, which JAX runs without this package."""

import jax
from jax import export

from runner.errors import ConfigError, reason
from runner.experiment.saved_run import SavedRun, predictions

PLATFORMS = ("cpu", "cuda", "tpu")


def exported_model(run: SavedRun) -> export.Exported:
    """Raw inputs [batch, ...] → predictions, float32 [batch, ...], for any batch size.

    The normalisation and the parameters are part of it.

    Raises:
      ConfigError: the model has an operation that cannot be exported.
    """

    def predict(raw: jax.Array) -> jax.Array:
        # Each example is a batch of one, so a model may use len(x), which a batch of unknown size
        # does not have.
        arguments = run.static, run.variables, run.objective, run.preparation
        single = jax.vmap(lambda one: predictions(*arguments, one[None]))
        return single(raw)[:, 0]

    (batch,) = export.symbolic_shape("batch")
    inputs = jax.ShapeDtypeStruct((batch, *run.shape), run.dtype)
    try:
        return export.export(jax.jit(predict), platforms=PLATFORMS)(inputs)
    except Exception as error:
        key, remedy = f"model {run.config.model.name}", "use load(...).predict instead"
        raise ConfigError(key, f"cannot be exported ({reason(error)})", remedy) from error
