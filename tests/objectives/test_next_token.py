"""The cross-entropy of text, per token, in bits per byte and as perplexity."""

import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.objectives import Targets
from runner.objectives.next_token import NextToken

HALF, QUARTER = np.log(0.5), np.log(0.25)
# Two positions of three tokens: the first token has a probability of one half.
LOGITS = jnp.array([[[HALF, QUARTER, QUARTER]] * 2] * 2)


def metrics(objective, targets, valid):
    found = objective.metrics(objective.sums(LOGITS, jnp.array(targets), jnp.array(valid)))
    return {name: float(value) for name, value in found.items()}


def test_metrics_are_means_over_the_tokens_of_the_valid_examples():
    """One bit and two bits: 1.5 bits a token."""
    ours = NextToken(targets=Targets((2,), 3))
    assert ours.token_bytes.tolist() == [1, 1, 1]
    assert ours.output_shape == (2, 3)
    found = metrics(ours, [[0, 1], [2, 2]], [True, False])
    assert found["loss"] == pytest.approx(1.5 * np.log(2), rel=1e-6)
    assert found["bits_per_byte"] == pytest.approx(1.5, rel=1e-6)
    assert found["perplexity"] == pytest.approx(2**1.5, rel=1e-6)
    assert found["accuracy"] == 0.5


def test_bits_per_byte_counts_the_bytes_of_each_token():
    """Tokens of one and of three bytes: three bits over four bytes, then four over six."""
    ours = NextToken(targets=Targets((2,), 3, token_bytes=(1, 3, 3)))
    assert metrics(ours, [[0, 1], [0, 0]], [True, False])["bits_per_byte"] == pytest.approx(3 / 4)
    assert metrics(ours, [[0, 1], [2, 2]], [True, True])["bits_per_byte"] == pytest.approx(7 / 10)


@pytest.mark.parametrize("targets", [Targets(num_classes=3), Targets((5,)), Targets((5, 5), 3)])
def test_other_targets_are_refused(targets):
    with pytest.raises(ConfigError, match=r"^next_token .*block of tokens"):
        NextToken(targets=targets)
