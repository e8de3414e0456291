"""A train state as arrays by name, and back."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import StorageError
from runner.optimizers import Groups, assign
from runner.optimizers.base import Optimizer
from runner.schedules.plateau import Plateau
from runner.training import checkpoint
from runner.training.state import Static, TrainState


def a_state(seed=0, *, width=3, slow=False, average=False):
    rng = np.random.default_rng(seed)
    params = {
        "Dense_0": {
            "kernel": jnp.asarray(rng.standard_normal((2, width)), jnp.float32),
            "bias": jnp.asarray(rng.standard_normal(width), jnp.float32),
        }
    }
    other = jax.tree.map(lambda a: a + 1, params)
    return TrainState(
        step=jnp.asarray(5 + seed, jnp.int32),
        params=params,
        model_state={"batch_stats": {"mean": jnp.asarray(rng.standard_normal(3), jnp.float32)}},
        opt_state=({"mu": other}, (), jnp.asarray(3, jnp.int32)),
        key=jax.random.key(seed),
        slow=other if slow else None,
        average=other if average else None,
    )


def arrays_of(state):
    """As ``to_arrays`` for a state whose own parameters are evaluated."""
    tree = checkpoint.named_leaves(vars(state))
    return {name: np.asarray(checkpoint._data(leaf)) for name, leaf in tree.items()}


def template_of(state):
    return jax.eval_shape(lambda: state)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        a, b = (jax.random.key_data(x) if x.dtype == one.key.dtype else x for x in (a, b))
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_a_state_is_restored_to_the_bit(slow, average):
    state = a_state(slow=slow, average=average)
    arrays = arrays_of(state)
    assert_same(checkpoint.from_arrays(template_of(state), arrays, source="here"), state)


def test_names_are_paths():
    assert set(arrays_of(a_state())) == {
        "step",
        "key",
        "params/Dense_0/kernel",
        "params/Dense_0/bias",
        "model_state/batch_stats/mean",
        "opt_state/0/mu/Dense_0/kernel",
        "opt_state/0/mu/Dense_0/bias",
        "opt_state/2",
    }


def test_a_missing_array_is_named_with_its_shape():
    state = a_state()
    arrays = arrays_of(state)
    del arrays["opt_state/0/mu/Dense_0/bias"]
    with pytest.raises(StorageError) as caught:
        checkpoint.from_arrays(template_of(state), arrays, source="run/checkpoints/5")
    assert str(caught.value).startswith(
        "run/checkpoints/5: holds no opt_state/0/mu/Dense_0/bias (float32[3]); "
    )


def test_another_shape_names_the_path_and_both_shapes():
    with pytest.raises(StorageError) as caught:
        checkpoint.from_arrays(template_of(a_state(width=4)), arrays_of(a_state()), source="here")
    assert caught.value.problem == "params/Dense_0/bias is float32[3], not float32[4]"
    assert "init_params_only=true" in caught.value.remedy


def test_another_type_names_the_path_and_both_types():
    state = a_state()
    arrays = arrays_of(state)
    arrays["params/Dense_0/bias"] = arrays["params/Dense_0/bias"].astype(np.float16)
    with pytest.raises(StorageError) as caught:
        checkpoint.from_arrays(template_of(state), arrays, source="here")
    assert caught.value.problem == "params/Dense_0/bias is float16[3], not float32[3]"


@pytest.mark.parametrize("section", ["slow", "average"])
def test_copies_that_were_not_stored_start_as_the_parameters(section):
    state = a_state(**{section: True})
    arrays = arrays_of(a_state())
    restored = checkpoint.from_arrays(template_of(state), arrays, source="here")
    assert_same(replace(restored, **{section: None}), a_state())
    found = getattr(restored, section)
    for name, leaf in checkpoint.named_leaves(found).items():
        assert np.array_equal(leaf, arrays[f"params/{name}"])


def test_averaged_statistics_that_were_not_stored_start_as_the_models():
    state = replace(a_state(), averaged_model_state=a_state(1).model_state)
    arrays = arrays_of(a_state())
    restored = checkpoint.from_arrays(template_of(state), arrays, source="here")
    found = restored.averaged_model_state["batch_stats"]["mean"]
    assert np.array_equal(found, arrays["model_state/batch_stats/mean"])


def static_of(state, **frozen):
    """What is needed of a ``Static`` to save ``state``; nothing is trained."""
    groups = assign(state.params, {"biases": ("*/bias",)}, **frozen) if frozen else Groups()
    return Static(None, Optimizer("sgd", static=(), momentum_name=None), groups)


def test_evaluated_parameters_are_stored_only_if_they_are_not_the_trained_ones():
    plain = a_state()
    found = checkpoint.to_arrays(static_of(plain), plain)
    assert found.keys() == arrays_of(plain).keys()
    for name, array in arrays_of(plain).items():
        assert found[name].tobytes() == array.tobytes()
    # The frozen bias is shared, the kernel is not.
    state = a_state(average=True)
    average = {"Dense_0": {"kernel": state.average["Dense_0"]["kernel"], "bias": None}}
    state = replace(state, average=average)
    found = checkpoint.to_arrays(static_of(state, frozen=("biases",)), state)
    kernel, bias = (found[f"evaluated/Dense_0/{name}"] for name in ("kernel", "bias"))
    assert np.array_equal(kernel, average["Dense_0"]["kernel"])
    assert np.array_equal(bias, state.params["Dense_0"]["bias"])


def test_stored_variables_are_those_that_evaluations_use():
    state = replace(a_state(average=True), averaged_model_state=a_state(1).model_state)
    template = {"params": state.params, **state.model_state}
    arrays = checkpoint.to_arrays(static_of(state), state)
    found = checkpoint.stored_variables(template, arrays, source="here")
    own = a_state(1).model_state
    expected = {"params": state.average, **own}
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    plain = {name: a for name, a in arrays.items() if not name.startswith(("eval", "averaged"))}
    found = checkpoint.stored_variables(template, plain, source="here")
    jax.tree.map(np.testing.assert_array_equal, found, template)


@pytest.mark.parametrize("section", ["plateau", "stopping"])
def test_counts_of_evaluations_that_were_not_stored_start_at_zero(section):
    counts = Plateau(patience=1, threshold=0.0, is_relative=False).start()
    state = replace(a_state(), **{section: counts})
    restored = checkpoint.from_arrays(template_of(state), arrays_of(a_state()), source="here")
    for value in getattr(restored, section):
        assert not value.any()
    assert_same(replace(restored, **{section: None}), a_state())


def test_parameters_of_another_type_are_not_taken():
    arrays = arrays_of(a_state(2))
    arrays["params/Dense_0/bias"] = arrays["params/Dense_0/bias"].astype(np.float16)
    taken, missing, unused = checkpoint.with_params(a_state(1), arrays)
    assert missing == unused == ["params/Dense_0/bias"]
    assert taken.params["Dense_0"]["bias"].dtype == np.float32


def test_parameters_are_taken_by_path_and_the_rest_of_the_state_stays():
    state, other = a_state(1, slow=True, average=True), a_state(2)
    taken, missing, unused = checkpoint.with_params(state, arrays_of(other))
    assert (missing, unused) == ([], [])
    for tree in (taken.params, taken.slow, taken.average):
        for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other.params), strict=True):
            assert np.array_equal(one, two)
    assert np.array_equal(
        taken.model_state["batch_stats"]["mean"], other.model_state["batch_stats"]["mean"]
    )
    kept = ("step", "opt_state")
    for name in kept:
        equal = jax.tree.map(np.array_equal, getattr(taken, name), getattr(state, name))
        assert all(jax.tree.leaves(equal))
    assert np.array_equal(jax.random.key_data(taken.key), jax.random.key_data(state.key))


def test_the_buffers_that_were_taken_can_all_be_donated():
    taken, _, _ = checkpoint.with_params(a_state(1, slow=True, average=True), arrays_of(a_state(2)))
    leaves = jax.tree.leaves((taken.params, taken.slow, taken.average))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_parameters_that_do_not_match_are_reported_and_left_as_they_were():
    state = a_state(1, width=4)
    arrays = arrays_of(a_state(2))
    arrays["params/head/kernel"] = np.ones(3, np.float32)
    taken, missing, unused = checkpoint.with_params(state, arrays)
    assert missing == ["params/Dense_0/bias", "params/Dense_0/kernel"]
    assert unused == ["params/Dense_0/bias", "params/Dense_0/kernel", "params/head/kernel"]
    assert np.array_equal(taken.params["Dense_0"]["kernel"], state.params["Dense_0"]["kernel"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_state_with_a_value_that_is_not_finite_is_told(value, dtype):
    good = {"a": np.ones(3, np.float32), "step": np.array(2**31 - 1, np.int32)}
    assert checkpoint.is_finite(good)
    bad = np.array([1.0, value, 1.0]).astype(dtype)
    assert not checkpoint.is_finite({**good, "b": bad})
