"""Sizes of the training state."""

import jax
import jax.numpy as jnp
import numpy as np

from runner.training.state import tree_bytes, tree_size


def test_the_bytes_of_a_tree_are_those_of_the_types_of_its_leaves():
    tree = {
        "float32": jnp.zeros((3, 4)),
        "bfloat16": jax.ShapeDtypeStruct((5,), jnp.bfloat16),
        "int8": [np.zeros((7, 1), np.int8), None],
    }
    assert tree_size(tree) == 12 + 5 + 7
    assert tree_bytes(tree) == 12 * 4 + 5 * 2 + 7
