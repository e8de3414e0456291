"""The wrappers around an optimizer equal optax's own."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.optimizers import Wrappers
from runner.optimizers.wrappers import Average

STEPS = 40
RANDOM = np.random.default_rng(0)
PARAMS = {"a": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32), "b": jnp.float32(0.7)}
GRADS = {
    "a": jnp.asarray(RANDOM.normal(size=(STEPS, 3, 2)) * 2, jnp.float32),
    "b": jnp.asarray(RANDOM.normal(size=STEPS), jnp.float32),
}


def trained(tx, params, around=lambda step, params, kept: (params, kept), kept=None):
    """The parameters after each update, and what ``around`` keeps beside them."""

    @jax.jit
    def run(params, state, kept):
        def body(carry, now):
            params, state, kept = carry
            step, grads = now
            updates, state = tx.update(grads, state, params)
            params, kept = around(step, optax.apply_updates(params, updates), kept)
            return (params, state, kept), (params, kept)

        return jax.lax.scan(body, (params, state, kept), (jnp.arange(STEPS), GRADS))[1]

    return run(params, tx.init(params), kept)


@pytest.mark.parametrize(
    ("ours", "by_hand"),
    [
        ({}, []),
        ({"clip_norm": 1.5}, [optax.clip_by_global_norm(1.5)]),
        ({"clip_value": 0.5}, [optax.clip(0.5)]),
        (
            {"clip_norm": 1.5, "clip_value": 0.5},
            [optax.clip(0.5), optax.clip_by_global_norm(1.5)],
        ),
    ],
)
def test_clipping_is_optaxs_bit_for_bit(ours, by_hand):
    adam = optax.adam(0.1)
    ours, _ = trained(Wrappers.of(**ours).around(adam), PARAMS)
    expected, _ = trained(optax.chain(*by_hand, adam), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


def test_a_clipped_norm_by_hand():
    # The norm of (3, 4) is 5: scaled down to 1 it is (0.6, 0.8); (0.3, 0.4) is left as it is.
    tx = Wrappers.of(clip_norm=1.0).around(optax.sgd(1.0))
    grads = jnp.array([3.0, 4.0]), jnp.array([0.3, 0.4])
    for grad, update in zip(grads, ([-0.6, -0.8], [-0.3, -0.4]), strict=True):
        updates, _ = tx.update(grad, tx.init(grad), grad)
        np.testing.assert_allclose(updates, update, rtol=1e-6)


@pytest.mark.parametrize(("period", "share"), [(1, 0.5), (5, 0.5), (6, 0.8), (7, 1.0), (50, 0.3)])
def test_lookahead_is_optaxs(period, share):
    inner = optax.adam(0.1)
    lookahead = Wrappers.of(sync_period=period, slow_step_size=share).lookahead
    fast, slow = trained(inner, PARAMS, lookahead.after, PARAMS)
    start = optax.LookaheadParams.init_synced(PARAMS)
    tx = optax.lookahead(inner, sync_period=period, slow_step_size=share)

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    expected = jax.lax.scan(body, (start, tx.init(start)), GRADS)[1]
    for ours, theirs in ((fast, expected.fast), (slow, expected.slow)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), ours, theirs
        )


def test_after_a_synchronisation_fast_and_slow_are_equal_to_the_bit():
    lookahead = Wrappers.of(sync_period=5, slow_step_size=0.3).lookahead
    fast, slow = trained(optax.sgd(0.1), PARAMS, lookahead.after, PARAMS)
    jax.tree.map(lambda f, s: np.testing.assert_array_equal(f[4::5], s[4::5]), fast, slow)
    assert not np.array_equal(fast["a"][3], slow["a"][3])


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_optaxs_unbiased_one(decay):
    ema = optax.ema(decay, debias=True)
    average = Wrappers.of(ema_decay=decay).average

    def both(step, params, kept):
        ours, state = kept
        theirs, state = ema.update(params, state)
        ours = average.after(step, params, ours)
        return params, (ours, state), theirs

    def body(carry, now):
        params, kept = carry
        step, grads = now
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        params, kept, theirs = both(step, params, kept)
        return (params, kept), (kept[0], theirs)

    start = PARAMS, (PARAMS, ema.init(PARAMS))
    _, (ours, theirs) = jax.lax.scan(body, start, (jnp.arange(STEPS), GRADS))
    # optax divides by 1 - decay ** t, which for 0.999 is good to 3e-5 at first.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs)


@settings(deadline=None)
@given(
    st.floats(0.01, 0.99999),
    st.lists(st.floats(0.125, 8, width=32), min_size=1, max_size=60),
)
def test_the_average_is_within_4e_6_of_exact_arithmetic(decay, values):
    average, kept = Average.of(decay), jnp.float32(-100)  # the initial value must not matter
    exact, weights = Fraction(0), Fraction(0)
    for step, value in enumerate(values):
        kept = average.after(jnp.int32(step), jnp.float32(value), kept)
        exact = Fraction(decay) * exact + Fraction(value)
        weights = Fraction(decay) * weights + 1
        assert abs(Fraction(float(kept)) / (exact / weights) - 1) <= Fraction(4, 10**6)


def test_the_average_of_constant_parameters_is_exact():
    average, value = Average.of(0.9999), jnp.float32(0.1)
    kept = jnp.float32(5)
    for step in (*range(20), 10**6, 2**31 - 2):
        kept = average.after(jnp.int32(step), value, kept)
        assert float(kept) == float(value)


def test_the_defaults_leave_the_rate_and_move_the_slow_parameters_half_way():
    """Zhang et al. 2019, section 4, with a slow step size of 0.5."""
    wrappers = Wrappers.of(sync_period=6)
    assert (wrappers.multiplier, wrappers.lookahead.slow_step_size) == (1, 0.5)
    assert wrappers.multiplier.dtype == np.float32


def test_which_wrappers_are_present_is_static_and_their_hyperparams_are_not():
    one = jax.tree.structure(Wrappers.of(clip_norm=1.0, ema_decay=0.9))
    assert one == jax.tree.structure(Wrappers.of(clip_norm=2.0, ema_decay=0.99, multiplier=3.0))
    assert one != jax.tree.structure(Wrappers.of(clip_norm=1.0))
