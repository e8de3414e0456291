"""The embedded digits are the published ones, in a fixed split."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from runner.registry import datasets


@pytest.fixture(scope="module")
def digits():
    return datasets.build("digits", {})


def test_the_split_is_four_fifths_and_one_fifth_of_all(digits):
    assert digits.train.inputs.shape == (1437, 8, 8, 1)
    assert digits.test.inputs.shape == (360, 8, 8, 1)
    assert digits.train.inputs.dtype == np.uint8
    assert digits.num_classes == 10


def test_both_splits_together_hold_what_uci_published(digits):
    targets = np.concatenate([digits.train.targets, digits.test.targets])
    # The class counts of optdigits.tes, as optdigits.names gives them.
    assert np.bincount(targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    inputs = np.concatenate([digits.train.inputs, digits.test.inputs])
    assert (inputs.min(), inputs.max()) == (0, 16)
    # load_digits().images.sum() of scikit-learn.
    assert inputs.sum(dtype=np.int64) == 561718


def test_each_digit_is_held_out_in_equal_share(digits):
    held_out = np.bincount(digits.test.targets)
    both = held_out + np.bincount(digits.train.targets)
    assert (np.abs(held_out - both / 5) < 1).all()


def test_the_split_never_changes(digits):
    hashed = hashlib.sha256(digits.test.inputs.tobytes() + digits.test.targets.tobytes())
    # Recorded from the first version: results of different versions stay comparable.
    assert hashed.hexdigest()[:16] == "0cc93aba01a28c1a"


def test_no_held_out_image_is_trained_on(digits):
    train = {image.tobytes() for image in digits.train.inputs}
    assert not any(image.tobytes() in train for image in digits.test.inputs)


def test_mean_and_std_are_those_of_the_training_split(digits):
    assert digits.mean == pytest.approx(digits.train.inputs.mean(), abs=5e-4)
    assert digits.std == pytest.approx(digits.train.inputs.std(), abs=5e-4)


def test_the_licence_travels_with_the_data():
    text = (resources.files("runner.data.sources") / "digits.LICENSE.txt").read_text()
    for words in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "creativecommons.org/licenses/by/4.0"):
        assert words in text
