"""A dataset is validated when it is created."""

import dataclasses

import numpy as np
import pytest

from runner.data.dataset import Dataset, Split
from runner.errors import ConfigError, DataError


def split(inputs=None, targets=None) -> Split:
    return Split(
        np.zeros((3, 2, 2, 1), np.uint8) if inputs is None else inputs,
        np.array([0, 1, 2], np.int32) if targets is None else targets,
    )


GOOD = {"train": split(), "test": split(), "num_classes": 3, "mean": 0.0, "std": 1.0}
NAN = np.full((3, 2, 2, 1), np.nan, np.float32)


def test_a_valid_dataset_keeps_its_arrays():
    dataset = Dataset(**GOOD)
    assert len(dataset.train) == 3
    assert dataset.train.inputs is GOOD["train"].inputs
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.mean = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (split(targets=np.array([0, 1, 3], np.int32)), "label 3 of example 2 is outside 0 to 2"),
        (split(targets=np.array([0, -1, 2], np.int32)), "label -1 of example 1"),
        (split(targets=np.array([0, 1], np.int32)), r"shape \(2,\) for 3 inputs"),
        (split(targets=np.array([0.0, 1.0, 2.0])), "float64"),
        (split(np.zeros(3, np.uint8)), r"shape \(3,\)"),
        (split(np.zeros((3, 2, 0, 1), np.uint8)), r"shape \(3, 2, 0, 1\)"),
        (split(np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, np.int32)), "no examples"),
        (split(NAN), "finite"),
        (split(np.full((3, 2, 2, 1), 1e39)), "float32"),
        (split(np.full((3, 2, 2, 1), -np.inf, np.float16)), "finite"),
        (split(np.full((3, 2, 2, 1), None)), "object"),
    ],
)
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_bad_split_is_named(part, bad, said):
    with pytest.raises(DataError, match=f"{part} .*{said}"):
        Dataset(**(GOOD | {part: bad}))


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("other", [None, (np.zeros((3, 2, 2, 1)), np.zeros(3, np.int32))])
def test_a_split_that_is_missing_or_another_object_is_named(part, other):
    with pytest.raises(DataError, match=r"; give a Split$") as caught:
        Dataset(**(GOOD | {part: other}))
    assert caught.value.key == f"{part} split"


def test_a_label_is_named_by_its_example_also_in_a_later_block(monkeypatch):
    monkeypatch.setattr("runner.data.dataset._BLOCK_BYTES", 1)
    bad = split(targets=np.array([0, 1, 3], np.int32))
    with pytest.raises(DataError, match="label 3 of example 2 is outside 0 to 2"):
        Dataset(**(GOOD | {"train": bad}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_real_targets_must_be_finite(value):
    bad = split(targets=np.array([0, value, 2], np.float32))
    with pytest.raises(DataError, match=r"^train targets: \(float32\) are not all finite"):
        Dataset(**(GOOD | {"train": bad, "test": bad, "num_classes": None}))


def test_the_validation_split_selects_and_the_test_split_in_its_place():
    validation = split()
    assert Dataset(**GOOD).selection is GOOD["test"]
    assert list(Dataset(**GOOD).splits) == ["train", "test"]
    dataset = Dataset(**GOOD, validation=validation)
    assert dataset.selection is validation
    assert list(dataset.splits) == ["train", "validation", "test"]


def test_tokens_are_decoded_by_their_names_or_as_utf8():
    named = Dataset(**GOOD, classes=("a", "é", "🙂"))
    assert named.decoded(np.array([2, 0, 1])) == "🙂aé"
    assert Dataset(**GOOD).decoded(np.array([104, 0xC3, 0xA9, 0xFF])) == "hé\ufffd"


def test_splits_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"\(3, 2, 1\).*\(2, 2, 1\)"):
        Dataset(**(GOOD | {"test": split(np.zeros((3, 3, 2, 1), np.uint8))}))


def test_targets_of_different_shapes_are_refused():
    two, three = (split(targets=np.zeros((3, count), np.float32)) for count in (2, 3))
    with pytest.raises(DataError, match=r"^test targets: have shape \(3,\), the train targets"):
        Dataset(**(GOOD | {"train": two, "test": three, "num_classes": None}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("std", 0.0),
        ("std", -1.0),
        ("std", float("nan")),
        ("std", float("inf")),
        ("mean", float("nan")),
        ("num_classes", 1),
    ],
)
def test_invalid_numbers_are_a_configuration_error(key, value):
    with pytest.raises(ConfigError, match=f"^{key}: {value}"):
        Dataset(**(GOOD | {key: value}))
    if key != "num_classes":
        with pytest.raises(ConfigError, match=f"^{key}: {value}"):
            Dataset(**GOOD).normalized_by(**{"mean": 0.0, "std": 1.0, key: value})


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_inputs_may_be_of_any_real_type(dtype):
    assert Dataset(**(GOOD | {"train": split(np.ones((3, 2, 2, 1), dtype))}))


@pytest.mark.parametrize("shape", [(1, 2, 1), (2, 1, 1), (2, 2, 3)])
def test_height_width_and_channels_of_both_splits_must_be_equal(shape):
    with pytest.raises(DataError, match=rf"have shape \({', '.join(map(str, shape))}\), the train"):
        Dataset(**(GOOD | {"test": split(np.zeros((3, *shape), np.uint8))}))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_targets_must_be_int32(dtype):
    with pytest.raises(DataError, match=f"^train targets: are {np.dtype(dtype)}; give int32"):
        Dataset(**(GOOD | {"train": split(targets=np.array([0, 1, 2], dtype))}))


def test_classes_need_a_name_each():
    assert Dataset(**GOOD).classes is None
    assert Dataset(**GOOD, classes=("cat", "dog", "owl")).classes == ("cat", "dog", "owl")
    with pytest.raises(ConfigError, match=r"^classes: 2 names for 3 classes; give one name for"):
        Dataset(**GOOD, classes=("cat", "dog"))
