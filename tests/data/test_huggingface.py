"""Two features of a map-style data set become inputs and targets."""

import sys
import types

import numpy as np
import pytest

from runner.errors import ConfigError, DataError
from runner.registry import datasets


class FakeSplit:
    """A split of ``datasets``, as far as the source uses it: features, and columns by name."""

    def __init__(self, names=None, **columns):
        self._columns = columns
        label = types.SimpleNamespace(names=names) if names else object()
        self.features = {name: label if name == "label" else object() for name in columns}

    def __getitem__(self, name):
        return self._columns[name]


TRAIN = FakeSplit(
    names=["cat", "dog"],
    image=[np.full((2, 3), i, np.uint8) for i in range(6)],
    label=[0, 1, 0, 1, 0, 1],
    size=[0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
)
TEST = FakeSplit(names=["cat", "dog"], image=[np.zeros((2, 3), np.uint8)] * 2, label=[1, 0])


@pytest.fixture
def hub(monkeypatch):
    """The splits by name of the data set on the hub; what was asked for is in ``asked``."""
    splits, asked = {"train": TRAIN, "test": TEST}, []

    def load_dataset(*arguments, **settings):
        asked.append((arguments, settings))
        if arguments[0] == "none":
            raise FileNotFoundError("Couldn't find 'none' on the hub")
        return splits

    module = types.SimpleNamespace(
        load_dataset=load_dataset, load_from_disk=lambda path: splits["train"]
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    return types.SimpleNamespace(splits=splits, asked=asked)


def load(path="owner/animals", **settings):
    return datasets.build("huggingface", {"path": path, **settings})


def test_images_and_class_labels(hub):
    dataset = load(test_split="test", subset="small", revision="abc")
    assert hub.asked == [(("owner/animals", "small"), {"revision": "abc"})]
    assert dataset.train.inputs.shape == (6, 2, 3, 1)
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.train.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.classes == ("cat", "dog")
    assert dataset.test.targets.tolist() == [1, 0]
    assert dataset.validation is None


def test_real_targets_are_numbers(hub):
    dataset = load(target_feature="size", test_share=0.5)
    assert (dataset.num_classes, dataset.classes) == (None, None)
    assert dataset.train.targets.dtype == np.float32
    found = [*dataset.train.all().targets, *dataset.test.all().targets]
    assert sorted(found) == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_a_share_is_held_out_without_a_test_split(hub):
    dataset = load(test_share=1 / 3)
    assert sorted(dataset.test.all().targets.tolist()) == [0, 1]
    assert len(dataset.train) == 4


def test_a_fifth_is_held_out_unless_another_share_is_given(hub):
    hub.splits["train"] = FakeSplit(image=TRAIN["image"] * 5, label=TRAIN["label"] * 5)
    found = load().test.rows
    assert len(found) == 6
    np.testing.assert_array_equal(found, load(test_share=0.2, test_seed=0).test.rows)
    assert not np.array_equal(found, load(test_seed=1).test.rows)


def test_numbers_become_a_column(hub):
    assert load(input_feature="size").train.inputs.shape == (6, 1)


def test_arrays_of_real_numbers_keep_their_shape(hub):
    hub.splits["train"] = FakeSplit(image=[np.ones((2, 3), np.float32)] * 6, label=TRAIN["label"])
    assert load().train.inputs.shape == (6, 2, 3)


def test_a_validation_split_is_taken_where_one_is_named(hub):
    dataset = load(validation_split="test", test_split="test")
    assert dataset.validation.targets.tolist() == dataset.test.targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "labels", "count"),
    [(["a", "b", "c"], [0, 1] * 3, 3), (None, [0, 1, 2] * 2, 3), (None, [True, False] * 3, 2)],
)
def test_the_classes_are_those_with_names_or_up_to_the_highest_label(hub, names, labels, count):
    hub.splits["train"] = FakeSplit(names=names, image=TRAIN["image"], label=labels)
    dataset = load(test_share=1 / 3)
    assert dataset.num_classes == count
    assert dataset.classes == (None if names is None else tuple(names))


def test_a_class_of_the_test_alone_is_named(hub):
    hub.splits["train"] = FakeSplit(image=TRAIN["image"], label=[0, 1] * 3)
    hub.splits["test"] = FakeSplit(image=TEST["image"], label=[2, 0])
    with pytest.raises(DataError, match="class 2 is in the test or validation split, but not in"):
        load(test_split="test")
    hub.splits["train"] = FakeSplit(image=TRAIN["image"], label=[0] * 6)
    with pytest.raises(DataError, match="holds examples of only one class"):
        load()


@pytest.mark.parametrize(
    ("suffix", "form"),
    [(".csv", "csv"), (".json", "json"), (".jsonl", "json"), (".parquet", "parquet")],
)
def test_the_name_of_a_file_tells_its_format(hub, tmp_path, suffix, form):
    path = tmp_path / f"data{suffix}"
    path.touch()
    load(str(path))
    assert hub.asked == [((form,), {"data_files": str(path)})]


def test_a_folder_is_loaded_from_disk(hub, tmp_path):
    assert len(load(str(tmp_path), test_split="train").train) == 6
    assert hub.asked == []


FAULTS = {
    "split": ({"test_split": "tests"}, "has no split 'tests'; did you mean test"),
    "feature": ({"target_feature": "labels"}, "has no feature 'labels'; did you mean label"),
    "name": ({"path": "none"}, "cannot be loaded .*Couldn't find"),
    "file": ({"path": "/no/such.csv"}, "there is no such file"),
}


@pytest.mark.parametrize(("settings", "said"), FAULTS.values(), ids=FAULTS)
def test_what_is_missing_is_named(hub, settings, said):
    with pytest.raises(DataError, match=said):
        load(**settings)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([np.zeros((2, 3)), np.zeros((3, 3))] * 3, "does not give one array"),
        (list("abcdef"), "values of type <U1"),
        ([1, 2, 3, 4, 5, None], "values of type object"),
        ([], "does not give one array"),
    ],
)
def test_values_that_are_not_one_array_are_refused(hub, column, said):
    hub.splits["train"] = FakeSplit(image=column, label=TRAIN["label"])
    with pytest.raises(DataError, match=f"feature image .*{said}"):
        load()


def test_a_label_below_zero_is_refused(hub):
    # The library's mark for the hidden labels of a test split.
    hub.splits["train"] = FakeSplit(image=TRAIN["image"], label=[0, 1, 0, 1, 0, -1])
    with pytest.raises(DataError, match="label -1 of example 5"):
        load()


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"dataset\.name: .*pip install '.*\[huggingface\]'"):
        load()


def test_a_saved_data_set_is_read_by_the_library_itself(tmp_path):
    library = pytest.importorskip("datasets", reason="needs the extra huggingface")
    features = library.Features(
        {
            "image": library.Image(),
            "values": library.List(library.Value("float32")),
            "label": library.ClassLabel(names=["cat", "dog"]),
        }
    )
    from PIL import Image

    images = [Image.new("RGB", (3, 2), (i, 0, 0)) for i in range(10)]
    rows = {"image": images, "values": [[i, 0.5] for i in range(10)], "label": [0, 1] * 5}
    library.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    dataset = load(str(tmp_path / "saved"))
    inputs, targets = dataset.train.all()[:2]
    assert inputs.shape == (8, 2, 3, 3)
    assert (inputs[:, 0, 0, 0] % 2 == targets).all()
    assert dataset.classes == ("cat", "dog")
    values = load(str(tmp_path / "saved"), input_feature="values").train.all().inputs
    assert values.shape == (8, 2)
    path = tmp_path / "data.jsonl"
    path.write_text("".join(f'{{"values": [{i}, 1], "label": {i % 2}}}\n' for i in range(10)))
    assert len(load(str(path), input_feature="values").train) == 8
