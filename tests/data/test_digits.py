"""The embedded digits are the published ones, in a fixed split."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from runner.registry import datasets


@pytest.fixture(scope="module")
def digits():
    return datasets.build("digits", {})


def test_four_fifths_are_trained_on_and_a_tenth_each_validates_and_tests(digits):
    assert digits.train.inputs.shape == (1437, 8, 8, 1)
    assert digits.validation.inputs.shape == (180, 8, 8, 1)
    assert digits.test.inputs.shape == (180, 8, 8, 1)
    assert digits.train.inputs.dtype == np.uint8
    assert digits.num_classes == 10


def test_all_splits_together_hold_what_uci_published(digits):
    targets = np.concatenate([split.targets for split in digits.splits.values()])
    # The class counts of optdigits.tes, as optdigits.names gives them.
    assert np.bincount(targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    inputs = np.concatenate([split.inputs for split in digits.splits.values()])
    assert (inputs.min(), inputs.max()) == (0, 16)
    # load_digits().images.sum() of scikit-learn.
    assert inputs.sum(dtype=np.int64) == 561718


def test_each_digit_is_held_out_in_equal_share(digits):
    train, validation, test = (np.bincount(s.targets) for s in digits.splits.values())
    held_out = validation + test
    assert (np.abs(held_out - (train + held_out) / 5) < 1).all()
    assert (np.abs(validation - test) <= 1).all()


def test_the_split_never_changes(digits):
    hashed = hashlib.sha256(digits.test.inputs.tobytes() + digits.test.targets.tobytes())
    # Recorded from the first version: results of different versions stay comparable.
    assert hashed.hexdigest()[:16] == "0ffe572f52c7fea2"


def test_no_image_is_in_two_splits(digits):
    train, validation, test = (
        {image.tobytes() for image in split.inputs} for split in digits.splits.values()
    )
    assert not train & (validation | test)
    assert not validation & test


def test_the_licence_travels_with_the_data():
    text = (resources.files("runner.data.sources") / "digits.LICENSE.txt").read_text()
    for words in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "creativecommons.org/licenses/by/4.0"):
        assert words in text
