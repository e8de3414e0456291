"""Completing a data set: the validation split, and the normalisation of the training split."""

import numpy as np
import pytest

from runner.cli.commands import configure
from runner.data.dataset import Dataset, Split
from runner.data.splits import class_counts, moments, with_normalization, with_validation
from runner.errors import ConfigError

LABELS = np.repeat(np.arange(3, dtype=np.int32), [60, 30, 10])


def dataset(**more):
    inputs = np.arange(300, dtype=np.float32).reshape(100, 3)
    train = Split(inputs, LABELS)
    return Dataset(**{"train": train, "test": train, "num_classes": 3, **more})


def rows(split):
    return split.take(np.arange(len(split))).inputs[:, 0].tolist()


def test_validation_examples_are_a_share_of_each_class_and_not_trained_on():
    split = with_validation(dataset(), share=0.1, seed=0)
    assert class_counts(split.validation, 3) == (6, 3, 1)
    assert class_counts(split.train, 3) == (54, 27, 9)
    assert sorted(rows(split.train) + rows(split.validation)) == [3.0 * i for i in range(100)]


def test_which_examples_of_a_regression_are_held_out_does_not_depend_on_their_targets():
    def held_out(targets):
        train = Split(np.arange(300, dtype=np.float32).reshape(100, 3), targets)
        whole = Dataset(train=train, test=train, num_classes=None)
        return rows(with_validation(whole, share=0.2, seed=0).validation)

    rising = np.arange(100, dtype=np.float32)
    assert held_out(rising) == held_out(-rising) == held_out(np.zeros(100, np.float32))


def test_the_seed_draws_the_validation_examples():
    first, again, other = (
        rows(with_validation(dataset(), share=0.2, seed=seed).validation) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_given_validation_split_is_kept():
    given = Split(np.zeros((2, 3), np.float32), LABELS[:2])
    assert with_validation(dataset(validation=given), share=0.5, seed=0).validation is given


def test_a_share_of_0_goes_without_a_validation_split():
    own = dataset(validation=Split(np.zeros((2, 3), np.float32), LABELS[:2]))
    for whole in (dataset(), own):
        split = with_validation(whole, share=0, seed=0)
        assert split.validation is None
        assert split.selection is split.test
        assert split.train is whole.train


def test_real_targets_are_drawn_without_classes():
    train = Split(np.zeros((100, 3), np.float32), np.arange(100, dtype=np.float32))
    split = with_validation(Dataset(train, train), share=0.25, seed=0)
    assert (len(split.train), len(split.validation)) == (75, 25)


def test_several_labels_an_example_are_drawn_without_classes():
    train = Split(np.zeros((100, 3), np.float32), np.zeros((100, 2), np.int32))
    split = with_validation(Dataset(train, train, num_classes=2), share=0.25, seed=0)
    assert (len(split.train), len(split.validation)) == (75, 25)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_a_split_empty_is_refused(share):
    with pytest.raises(ConfigError, match=r"^dataset.validation: "):
        with_validation(dataset(), share=share, seed=0)


def test_a_split_of_a_split_has_its_rows():
    inner = Split(np.arange(10.0).reshape(5, 2), np.zeros(5, np.int32), np.array([1, 3, 4]))
    outer = with_validation(Dataset(inner, inner, num_classes=2), share=0.4, seed=0)
    assert sorted(rows(outer.train) + rows(outer.validation)) == [2.0, 6.0, 8.0]


def test_mean_and_deviation_are_those_of_each_channel_of_the_training_split(monkeypatch):
    """Also in several blocks, and for numbers far from zero."""
    monkeypatch.setattr("runner.data.dataset._BLOCK_BYTES", 1000)
    random = np.random.default_rng(0)
    inputs = (1e6 + random.normal(size=(50, 4, 3)) * [1, 2, 3]).astype(np.float64)
    split = Split(inputs, np.zeros(50, np.int32))
    mean, std = moments(block.inputs for block in split.blocks())
    np.testing.assert_allclose(mean, inputs.mean((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(std, inputs.std((0, 1)), rtol=1e-9)
    found = with_normalization(Dataset(split, split, num_classes=2), mean=None, std=2.0)
    assert (found.mean, found.std) == (mean, 2.0)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 2, 1)])
def test_the_moments_of_one_channel_are_numbers(shape):
    values = np.array([1, 1, 5, 5], np.uint8).reshape(shape)
    assert moments([values]) == (3.0, 2.0)
    assert [type(each) for each in moments([values])] == [float, float]


def test_a_data_sets_own_normalisation_is_used_unless_another_is_given():
    own = dataset(mean=1.0, std=2.0)
    assert vars(with_normalization(own, mean=None, std=None)) == vars(own)
    found = with_normalization(own, mean=None, std=(3.0, 4.0, 5.0))
    assert (found.mean, found.std) == (1.0, (3.0, 4.0, 5.0))
    assert with_normalization(own, mean=6.0, std=None).mean == 6.0
    measured = with_normalization(dataset(), mean=None, std=None)
    found = with_normalization(dataset(), mean=6.0, std=None)
    assert (found.mean, found.std) == (6.0, measured.std)


def test_a_constant_channel_has_the_deviation_one():
    split = Split(np.full((5, 2), 7, np.uint8), np.zeros(5, np.int32))
    assert moments(block.inputs for block in split.blocks()) == ((7.0, 7.0), (1.0, 1.0))


def test_validation_examples_do_not_influence_the_normalisation():
    split = with_validation(dataset(), share=0.5, seed=0)
    found = with_normalization(split, mean=None, std=None)
    inputs = split.train.take(np.arange(50)).inputs.astype(np.float64)
    np.testing.assert_allclose(found.mean, inputs.mean(0), rtol=1e-12)


def test_tokens_are_not_normalised():
    tokens = dataset(normalized=False)
    assert with_normalization(tokens, mean=None, std=None).mean is None
    for key in ("mean", "std"):
        with pytest.raises(ConfigError, match=f"^{key}: is set"):
            with_normalization(tokens, **{"mean": None, "std": None, key: 1.0})


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("dataset.std=0", "dataset.std"),
        ("dataset.mean=.inf", "dataset.mean"),
        ("dataset.validation=1", "dataset.validation"),
        ("dataset.validation=-0.1", "dataset.validation"),
        ("dataset.split_seed=-1", "dataset.split_seed"),
        ("dataset.placement=disk", "dataset.placement"),
    ],
)
def test_bad_settings_are_named(line, key):
    with pytest.raises(ConfigError) as raised:
        configure(line)
    assert raised.value.key == key


def test_a_mean_per_channel_must_have_one_for_each():
    with pytest.raises(ConfigError, match=r"^mean: has length 2, not the number of channels, 3;"):
        with_normalization(dataset(), mean=(1.0, 2.0), std=None)


def test_examples_larger_than_a_block_are_taken_one_at_a_time():
    """Of 16 MiB each; views of one number, which take no memory."""
    inputs = np.broadcast_to(np.float32(1), (3, 2**22))
    blocks = [*Split(inputs, np.zeros(3, np.int32)).blocks()]
    assert [len(block.inputs) for block in blocks] == [1, 1, 1]
    small = [*Split(np.zeros((3, 2), np.float32), np.zeros(3, np.int32)).blocks()]
    assert [len(block.inputs) for block in small] == [3]
