"""NumPy files become data sets, or are refused by name."""

import io
import os
import zipfile

import numpy as np
import pytest

from runner.errors import ConfigError, DataError
from runner.registry import datasets

GOOD = {
    "x_train": np.arange(24, dtype=np.float32).reshape(6, 4),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.ones((3, 4), np.float32),
    "y_test": np.array([2, 1, 0]),
}


@pytest.fixture(params=["npz", "npy"])
def write(request, tmp_path):
    """Writes the arrays, some of them replaced or left out, and returns the path."""

    def write(**replaced):
        arrays = {k: v for k, v in (GOOD | replaced).items() if v is not None}
        if request.param == "npz":
            np.savez_compressed(tmp_path / "data.npz", **arrays)
            return tmp_path / "data.npz"
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        return tmp_path

    return write


def load(path, **settings):
    return datasets.build("arrays", {"path": str(path), **settings})


def refused(path, **settings) -> str:
    with pytest.raises(DataError) as raised:
        load(path, **settings)
    assert raised.value.key.startswith(str(path))
    return str(raised.value)


def test_integer_targets_are_classes(write):
    dataset = load(write())
    assert dataset.num_classes == 3
    assert (dataset.train.targets.dtype, dataset.train.targets.tolist()) == (
        np.int32,
        [0, 1, 2, 0, 1, 2],
    )
    np.testing.assert_array_equal(dataset.train.inputs, GOOD["x_train"])
    assert dataset.test.targets.tolist() == [2, 1, 0]
    assert dataset.validation is None


def test_real_targets_are_numbers(write):
    dataset = load(write(y_train=np.arange(6) / 2, y_test=np.zeros(3)))
    assert dataset.num_classes is None
    assert dataset.train.targets.dtype == np.float32
    assert dataset.train.targets.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]


def test_the_largest_number_that_float32_holds_is_a_target(write):
    largest = float(np.finfo(np.float32).max)
    values = np.array([largest, -largest, 0, 1, 2, 3])
    assert load(write(y_train=values, y_test=np.zeros(3))).train.targets[0] == largest
    said = refused(write(y_train=2 * values, y_test=np.zeros(3)))
    assert "target of example 0 is not a finite number" in said


def test_npy_inputs_are_mapped_not_read(tmp_path):
    for name, array in GOOD.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert isinstance(load(tmp_path).train.inputs, np.memmap)


def test_one_number_an_example_becomes_a_column(write):
    dataset = load(write(x_train=np.arange(6.0), x_test=np.arange(3.0)))
    assert dataset.train.inputs.shape == (6, 1)


def test_a_column_of_targets_becomes_a_list(write):
    dataset = load(write(y_train=GOOD["y_train"][:, None], y_test=GOOD["y_test"][:, None]))
    assert dataset.train.targets.shape == (6,)


def test_a_validation_part_is_taken_where_it_exists(write):
    dataset = load(write(x_validation=np.zeros((2, 4), np.float32), y_validation=np.array([0, 1])))
    assert dataset.validation is not None
    assert dataset.validation.targets.tolist() == [0, 1]


def test_arrays_may_have_other_names(write):
    renamed = dict(zip(("X", "y", "Xt", "yt"), GOOD.values(), strict=True))
    path = write(**dict.fromkeys(GOOD), **renamed)
    dataset = load(path, train_arrays=["X", "y"], test_arrays=["Xt", "yt"])
    assert (len(dataset.train), len(dataset.test)) == (6, 3)
    assert "there is no array 'x_train'" in refused(path)


def test_class_names_are_those_of_the_array_classes(write):
    assert load(write(classes=np.array(["a", "b", "c"]))).classes == ("a", "b", "c")
    assert "for 3 classes" in refused(write(classes=np.array(["a", "b"])))
    assert "has int64 of shape (3,) for 3" in refused(write(classes=np.array([1, 2, 3])))


def test_a_test_part_is_held_out_of_each_class(write):
    labels = np.repeat([0, 1], [80, 20])
    path = write(x_train=np.arange(100.0), y_train=labels, x_test=None, y_test=None)
    dataset = load(path, test_share=0.25)
    test, train = dataset.test.all(), dataset.train.all()
    assert np.bincount(test.targets).tolist() == [20, 5]
    assert sorted([*test.inputs[:, 0], *train.inputs[:, 0]]) == list(range(100))
    again, other = load(path, test_share=0.25), load(path, test_share=0.25, test_seed=1)
    np.testing.assert_array_equal(test.inputs, again.test.all().inputs)
    assert not np.array_equal(test.inputs, other.test.all().inputs)


def test_a_fifth_is_held_out_unless_another_share_is_given(write):
    path = write(x_train=np.arange(50.0), y_train=np.arange(50) / 2, x_test=None, y_test=None)
    found, first = load(path).test.rows, load(path, test_share=0.2, test_seed=0).test.rows
    assert len(found) == 10
    np.testing.assert_array_equal(found, first)


@pytest.mark.parametrize(("share", "count"), [(0.9, 2), (0.1, 0)])
def test_a_share_that_leaves_no_examples_for_one_part_is_named(write, share, count):
    two = {"x_train": np.ones((2, 4)), "y_train": np.array([0.5, 1.5])}
    said = refused(write(**two, x_test=None, y_test=None), test_share=share)
    assert f"{share} of its 2 examples leaves {2 - count} to train and {count} to test; " in said


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, ">i4"])
def test_labels_of_any_whole_type_fit(write, dtype):
    dataset = load(
        write(
            y_train=np.array([0, 1, 0, 1, 0, 1]).astype(dtype),
            y_test=np.array([0, 1, 1]).astype(dtype),
        )
    )
    assert dataset.train.targets.dtype == np.int32
    assert dataset.train.targets.tolist() == [0, 1, 0, 1, 0, 1]


def test_big_endian_inputs_are_read(write):
    dataset = load(write(x_train=GOOD["x_train"].astype(">f4")))
    assert dataset.train.inputs.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.inputs, GOOD["x_train"])


FAULTS = {
    "too few targets": ({"y_train": np.array([0, 1, 2])}, "3 targets for the 6 inputs"),
    "other shape": ({"x_test": np.ones((3, 5))}, r"has shape (3, 5)"),
    "no examples": ({"x_test": np.ones((0, 4)), "y_test": np.ones(0, int)}, "has shape (0, 4)"),
    "no targets": ({"y_test": None}, "there is no array 'y_test'"),
    "strings": ({"y_train": np.array(list("abcabc"))}, "values of type <U1"),
    "complex": ({"x_train": np.ones((6, 4), complex)}, "values of type complex128"),
    "a scalar": ({"x_train": np.array(1.0)}, "has shape ()"),
    "negative": ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "label -1 of example 5"),
    "beyond int32": ({"y_train": np.array([0, 1, 2, 0, 1, 2**40])}, "label 1099511627776"),
    "identifiers": ({"y_train": np.array([0, 1, 2, 0, 1, 900])}, "label 900"),
    "as many as examples": ({"y_train": np.array([0, 1, 2, 0, 1, 6])}, "label 6, but there are"),
    "mixed": ({"y_test": np.array([0.5, 1, 2])}, "values of type float64"),
    "identifiers of the test": ({"y_test": np.array([0, 900, 1])}, "y_test"),
    "not trained": ({"y_train": np.array([0, 0, 2, 0, 0, 2])}, "class 1 is in the test"),
    "validated, not trained": (
        {"x_validation": np.zeros((2, 4), np.float32), "y_validation": np.array([0, 3])},
        "class 3 is in the test or validation split",
    ),
    "one class": ({"y_train": np.zeros(6, int), "y_test": np.zeros(3, int)}, "only one class"),
    "not finite": (
        {"y_train": np.array([0.5, 1, 2, np.nan, 1, 1]), "y_test": np.zeros(3)},
        "target of example 3 is not a finite number",
    ),
}


@pytest.mark.parametrize(("replaced", "said"), FAULTS.values(), ids=FAULTS)
def test_arrays_that_do_not_fit_are_named(write, replaced, said):
    assert said in refused(write(**replaced))


def test_several_labels_an_example_are_held_out_without_classes(write):
    labels = np.arange(12).reshape(6, 2) % 2
    dataset = load(write(y_train=labels, x_test=None, y_test=None), test_share=1 / 3)
    assert (len(dataset.train), len(dataset.test)) == (4, 2)
    assert dataset.train.targets.shape == (6, 2)
    assert (dataset.train.rows.dtype, dataset.test.rows.dtype) == (np.int32, np.int32)


def test_a_label_that_is_bad_beside_good_ones_is_named_by_its_example(write):
    values = np.zeros((6, 2))
    values[3, 1] = np.nan
    said = refused(write(y_train=values, y_test=np.zeros((3, 2))))
    assert "target of example 3 is not a finite number" in said


def test_each_training_example_may_have_a_class_of_its_own(write):
    assert load(write(y_train=np.arange(6), y_test=np.array([0, 1, 2]))).num_classes == 6


def test_a_label_outside_the_given_classes_is_named(write):
    assert "label 2 of example 2 is outside 0 to 1" in refused(write(), num_classes=2)
    said = refused(write(y_train=np.array([0, 1] * 3)), num_classes=2)
    assert "y_test" in said
    assert "label 2 of example 0 is outside 0 to 1" in said
    assert load(write(), num_classes=5).num_classes == 5


def test_a_number_of_classes_for_real_targets_is_a_configuration_error(write):
    with pytest.raises(ConfigError, match=r"^dataset\.num_classes: "):
        load(write(y_train=np.zeros(6), y_test=np.zeros(3)), num_classes=3)


def test_objects_are_never_loaded(write):
    path = write(x_train=np.array([{"a": 1}] * 6, dtype=object))
    assert "Python objects" in refused(path)


def test_a_missing_path_is_named(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match=r"^dataset\.path: no path is given"):
        datasets.build("arrays", {"path": None})


def test_real_targets_are_held_out_at_random(write):
    """Not in equal shares of the targets, which would take one of each ten in their order."""
    values = {"x_train": np.arange(100.0), "y_train": np.arange(100) / 2}
    path, most = write(**values, x_test=None, y_test=None), 0
    for seed in range(3):
        rows = load(path, test_share=0.1, test_seed=seed).test.rows
        assert len(rows) == 10
        most = max(most, np.bincount(rows // 10).max())
    assert most > 1


@pytest.mark.parametrize(("version", "said"), [((2, 0), None), ((3, 0), "has version (3, 0)")])
def test_versions_of_numpys_format_that_numbers_need_are_read(tmp_path, version, said):
    for name, array in GOOD.items():
        with (tmp_path / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array(file, array, version=version)
    if said is None:
        assert load(tmp_path).num_classes == 3
    else:
        assert said in refused(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("flag", b"\1\0"), ("method", b"\x63\0")], ids=["encrypted", "unknown"]
)
def test_an_archive_that_cannot_be_unpacked_is_damaged(tmp_path, field, value):
    path = tmp_path / "data.npz"
    np.savez(path, **GOOD)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        starts = [member.header_offset + 6 for member in archive.infolist()]
    at = content.find(b"PK\1\2")
    while at >= 0:
        starts.append(at + 8)
        at = content.find(b"PK\1\2", at + 1)
    for start in starts:
        place = start + (2 if field == "method" else 0)
        content[place : place + 2] = value
    path.write_bytes(content)
    assert "is damaged" in refused(path)


def test_flipped_bits_in_a_compressed_archive_are_noticed(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **GOOD)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("x_train.npy")
    extra = int.from_bytes(whole[member.header_offset + 28 :][:2], "little")
    start = member.header_offset + 30 + len("x_train.npy") + extra
    for at in range(start, start + member.compress_size, 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert "is damaged" in refused(path)


def test_every_truncation_of_an_archive_is_noticed(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **GOOD)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert "is damaged" in refused(path)


def test_flipped_bits_in_an_archive_are_noticed(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **GOOD)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("x_train.npy")
    start = member.header_offset + 30 + len("x_train.npy")
    for at in range(start + 128, start + member.file_size, 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert "is damaged" in refused(path)


def test_a_truncated_npy_file_is_noticed(tmp_path):
    for name, array in GOOD.items():
        np.save(tmp_path / f"{name}.npy", array)
    path = tmp_path / "x_train.npy"
    whole = path.read_bytes()
    for length in (0, 5, 60, 128, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"damaged|truncated") as raised:
            load(tmp_path)
        assert raised.value.key == str(path)


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 4)}
    )
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
        archive.writestr("y_train.npy", header.getvalue())
    size = len(header.getvalue())
    assert f"is truncated: it holds at most {size} bytes, but its header says {8 * 4 * 2**40};" in (
        refused(path)
    )


def test_a_pipe_in_place_of_an_array_is_not_read(tmp_path):
    for name, array in GOOD.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "x_train.npy").unlink()
    os.mkfifo(tmp_path / "x_train.npy")
    assert "x_train.npy: is not a file; " in refused(tmp_path)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="needs longer numbers")
def test_numbers_of_more_than_64_bits_are_refused(write):
    path = write(x_train=GOOD["x_train"].astype(np.longdouble))
    assert "has values of type float128; " in refused(path)


@pytest.mark.parametrize("text", ["(" * 9000, "-" * 9000 + "1", "[" * 4000 + "]" * 4000, "{[]: 1}"])
def test_a_header_that_pythons_parser_refuses_is_damage(tmp_path, text):
    np.save(tmp_path / "y_train.npy", GOOD["y_train"])
    header = f"{text}\n".encode()
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "x_train.npy").write_bytes(head + header + bytes(99))
    assert "x_train.npy: " in refused(tmp_path)
