"""Parameter groups: the first match wins, each has its own hyperparams, frozen ones no state."""

import fnmatch

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizer_cases import all_cases
from sampling import slow_except

from runner.errors import ConfigError
from runner.optimizers import Groups, assign, split
from runner.optimizers.base import of_group
from runner.registry import register_optimizer

ADAMW = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "decay_all": True}
PARAMS = {
    "body": {"kernel": np.ones((2, 3)), "bias": np.ones(3)},
    "head": {"kernel": np.ones((3, 2)), "bias": np.ones(2)},
}


def test_the_first_pattern_that_matches_takes_a_parameter():
    groups = assign(PARAMS, {"biases": ("*/bias",), "head": ("head/*",)})
    assert groups.names == ("biases", "head", "default")
    assert dict(groups.members) == {
        "body/bias": "biases",
        "body/kernel": "default",
        "head/bias": "biases",
        "head/kernel": "head",
    }


def test_a_group_may_have_several_patterns_and_all_may_be_taken():
    groups = assign(PARAMS, {"body": ("body/bias", "body/k*"), "head": ("head/[bk]*",)})
    assert groups.names == ("body", "head")
    assert groups.labels(PARAMS) == {
        "body": {"kernel": "body", "bias": "body"},
        "head": {"kernel": "head", "bias": "head"},
    }


def test_without_patterns_there_is_one_group():
    assert assign(PARAMS, {}) == Groups()
    assert Groups().trained(PARAMS) is PARAMS
    assert Groups().merged(PARAMS, {}) is PARAMS
    depths = (("body/kernel", 1), ("body/bias", 1), ("head/kernel", 0), ("head/bias", 0))
    assert assign(PARAMS, {}, depths=depths) == Groups(depths=depths)


@pytest.mark.parametrize(
    ("patterns", "frozen", "said"),
    [
        ({"a": ("*/biass",)}, (), r"groups\.a: '\*/biass' matches no parameter; .*body/bias"),
        (
            {"a": ("*",), "b": ("head/*",)},
            (),
            r"groups\.b: 'head/\*' matches only .* group a \('\*'",
        ),
        (
            {"a": ("*", "head/*")},
            (),
            r"groups\.a: 'head/\*' matches only parameters that '\*' takes first",
        ),
        ({"a": ("*",)}, ("a",), "frozen: leaves no parameter to train"),
        ({"a": ("*",)}, ("default",), "frozen: there is no default group"),
        ({}, ("default",), "frozen: leaves no parameter"),
    ],
)
def test_a_pattern_that_does_nothing_is_refused(patterns, frozen, said):
    with pytest.raises(ConfigError, match=said):
        assign(PARAMS, patterns, frozen=frozen)


def test_the_paths_of_a_large_model_are_not_all_listed():
    params = {f"layer_{i}": {"kernel": np.ones(1)} for i in range(300)}
    with pytest.raises(ConfigError) as error:
        assign(params, {"a": ("nothing",)})
    assert "(300 in all)" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(("count", "end"), [(8, ""), (9, ", ... (9 in all)")])
def test_the_paths_of_a_small_model_are_all_listed(count, end):
    params = {f"layer_{i}": np.ones(1) for i in range(count)}
    with pytest.raises(ConfigError) as error:
        assign(params, {"a": ("nothing",)})
    listed = ", ".join(f"layer_{i}" for i in range(8))
    assert str(error.value).endswith(f"the paths are {listed}{end}")


@given(st.lists(st.text("ab*?/", min_size=1, max_size=4), max_size=4), st.data())
def test_every_parameter_is_in_the_first_group_that_matches(patterns, data):
    paths = data.draw(st.sets(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5))
    named = {f"g{i}": (pattern,) for i, pattern in enumerate(patterns)}
    try:
        groups = assign({path: np.ones(1) for path in paths}, named)
    except ConfigError:
        return  # a pattern that selects nothing, which is tested above
    for path, group in groups.members:
        first = next((n for n, (p,) in named.items() if fnmatch.fnmatchcase(path, p)), "default")
        assert group == first


def test_frozen_parameters_are_none_and_merged_back_unchanged():
    groups = assign(PARAMS, {"body": ("body/*",)}, frozen=("body",))
    trained = groups.trained(PARAMS)
    assert trained["body"] == {"kernel": None, "bias": None}
    merged = groups.merged(jax.tree.map(lambda p: p + 1, trained), PARAMS)
    assert merged["body"]["kernel"] is PARAMS["body"]["kernel"]
    np.testing.assert_array_equal(merged["head"]["bias"], [2, 2])


def test_a_frozen_group_has_no_state():
    groups = assign(PARAMS, {"body": ("body/*",)}, frozen=("body",))
    optimizer, hyperparams = split("adam", {"b1": 0.9, "b2": 0.999, "eps": 1e-8})
    tx = groups.transformation(lambda *_: optimizer.build(0.1, hyperparams))
    shapes = [leaf.shape for leaf in jax.tree.leaves(tx.init(groups.trained(PARAMS)))]
    assert sorted(shapes) == [(), (2,), (2,), (3, 2), (3, 2)]  # a count and two moments


def test_a_frozen_group_leaves_the_others_their_hyperparams():
    patterns = {"body": ("body/*",), "biases": ("*/bias",)}
    groups = assign(PARAMS, patterns, frozen=("body",))
    _, hyperparams = split("adamw", {"weight_decay": (0.25, 0.5, 4.0)} | ADAMW)
    tx = groups.transformation(
        lambda i, _: optax.add_decayed_weights(of_group(hyperparams, i)["weight_decay"])
    )
    params = groups.trained(PARAMS)
    updates, _ = tx.update(params, tx.init(params), params)
    # A gradient of one, and the decay of a parameter that is one.
    np.testing.assert_array_equal(updates["head"]["bias"], [1.5, 1.5])
    np.testing.assert_array_equal(updates["head"]["kernel"], np.full((3, 2), 5.0))


def test_a_list_of_another_argument_is_static():
    register_optimizer("test_listed")(
        lambda learning_rate, *, weight_decay, shares: optax.sgd(learning_rate * shares[1])
    )
    optimizer, hyperparams = split(
        "test_listed", {"weight_decay": (0.1, 0.2), "shares": (0.5, 0.25)}
    )
    assert optimizer.static == (("shares", (0.5, 0.25)),)
    assert list(hyperparams) == ["weight_decay"]


@pytest.mark.parametrize("decays", [(0.1, 1e39), (float("nan"), 0.1)])
def test_a_number_outside_the_range_of_float32_is_refused_anywhere_in_a_list(decays):
    with pytest.raises(
        ConfigError,
        match=r"optimizer\.weight_decay\[\d\]: .* is (not finite|outside the range of float32)",
    ):
        split("adamw", {"weight_decay": decays} | ADAMW)


CASES = all_cases()
# Some that compile quickly.
QUICK = [case for case in CASES if case.name in ("sgd", "adam", "rmsprop", "lamb")]
UPDATES = 3
SHAPES = {"kernel": (2, 2, 2, 8), "matrix": (8, 6), "scale": (6,), "bias": (6,)}
RATES = {"tail": 0.003, "mid": 0.01, "default": 0.0007}


@pytest.mark.parametrize("case", slow_except(QUICK, CASES), ids=[case.name for case in CASES])
def test_each_group_is_updated_as_if_there_were_no_others(case):
    """optax's own optimizer on one group; bit for bit, without compilation."""
    name, arguments, by_hand, _ = case
    random = np.random.default_rng(0)
    params = {k: jnp.asarray(random.normal(size=s), jnp.float32) for k, s in SHAPES.items()}
    all_grads = [
        {k: jnp.asarray(random.normal(size=s), jnp.float32) for k, s in SHAPES.items()}
        for _ in range(UPDATES)
    ]
    groups = assign(params, {"tail": ("bias", "kernel"), "mid": ("scale",)})
    decays = dict(zip(groups.names, (0.0, 0.03, 0.2), strict=True))
    has_decay = isinstance(arguments.get("weight_decay"), float)
    listed = {"weight_decay": tuple(decays.values())} if has_decay else {}
    optimizer, hyperparams = split(name, arguments | listed)
    rates = [jnp.float32(RATES[group]) for group in groups.names]
    tx = groups.transformation(lambda i, _: optimizer.build(rates[i], of_group(hyperparams, i)))
    together = trained(tx, params, all_grads)
    for group, rate in zip(groups.names, rates, strict=True):
        keys = [path for path, of in groups.members if of == group]
        own = split(name, arguments | ({"weight_decay": decays[group]} if has_decay else {}))[1]
        expected = trained(
            by_hand(rate, **own),
            {k: params[k] for k in keys},
            [{k: g[k] for k in keys} for g in all_grads],
        )
        for key in keys:
            np.testing.assert_array_equal(together[key], expected[key], err_msg=f"{group} {key}")


def trained(tx, params, all_grads):
    state = tx.init(params)
    for grads in all_grads:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params
