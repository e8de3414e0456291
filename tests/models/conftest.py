"""Shared by the tests of models: parameters drawn by numpy, shapes, and parameter counts."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.registry import models


def shapes_of(model, shape, dtype=jnp.float32):
    """The shapes of a model's variables for inputs [batch, ...]; nothing is computed."""
    inputs = jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), inputs)


def output_shape(model, shape, dtype=jnp.float32):
    """The shape of a model's outputs in training."""
    variables, inputs = shapes_of(model, shape, dtype), jax.ShapeDtypeStruct(shape, dtype)
    apply = partial(model.apply, train=True, mutable=["batch_stats"])
    return jax.eval_shape(apply, variables, inputs, rngs={"dropout": jax.random.key(0)})[0].shape


@pytest.fixture(scope="session")
def outputs():
    """``outputs(name, shape, dtype, **arguments)``: the shape of a registered model's outputs."""
    return lambda name, shape, dtype=jnp.float32, **arguments: output_shape(
        models.build(name, arguments), shape, dtype
    )


@pytest.fixture(scope="session")
def parameter_count():
    """``parameter_count(name, shape, dtype, **arguments)`` of a registered model."""

    def count(name, shape, dtype=jnp.float32, **arguments):
        params = shapes_of(models.build(name, arguments), shape, dtype)["params"]
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))

    return count


@pytest.fixture(scope="session")
def drawn():
    """``drawn(model, shape, dtype)``: variables of a model, drawn by numpy, all positive variances.

    XLA takes seconds to compile jax's random numbers of many shapes.
    """

    def draw(model, shape, dtype=jnp.float32):
        random = np.random.default_rng(7)

        def values(path, leaf):
            noise = random.normal(0, 0.3, leaf.shape)
            centre = path[-1].key in ("scale", "var")
            return jnp.asarray(np.exp(noise) if centre else noise, leaf.dtype)

        return jax.tree_util.tree_map_with_path(values, shapes_of(model, shape, dtype))

    return draw


@pytest.fixture
def random_draws(monkeypatch):
    """``random_draws(model, shape, dtype, train=...)``: how many arrays are drawn by dropouts."""
    bernoulli, drawn = jax.random.bernoulli, []

    def counted(*args, **kwargs):
        drawn.append(args)
        return bernoulli(*args, **kwargs)

    def draws(model, shape, dtype=jnp.float32, *, train):
        variables = shapes_of(model, shape, dtype)
        apply = partial(model.apply, train=train, mutable=["batch_stats"])
        rngs = {"dropout": jax.random.key(0)}
        drawn.clear()
        jax.eval_shape(apply, variables, jax.ShapeDtypeStruct(shape, dtype), rngs=rngs)
        return len(drawn)

    monkeypatch.setattr(jax.random, "bernoulli", counted)
    return draws
