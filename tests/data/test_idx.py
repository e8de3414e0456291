"""IDX files are read exactly or refused by name."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from runner.data.dataset import Dataset
from runner.errors import ConfigError, DataError
from runner.registry import datasets

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def encoded(*sizes: int, content: bytes, magic: int | None = None) -> bytes:
    magic = 0x800 + len(sizes) if magic is None else magic
    return struct.pack(f">I{len(sizes)}I", magic, *sizes) + content


def images(n: int, height: int = 2, width: int = 3) -> bytes:
    return encoded(n, height, width, content=bytes(i % 256 for i in range(n * height * width)))


def labels(*values: int) -> bytes:
    return encoded(len(values), content=bytes(values))


GOOD = {
    TRAIN_IMAGES: images(4),
    TRAIN_LABELS: labels(0, 9, 1, 2),
    TEST_IMAGES: images(2),
    TEST_LABELS: labels(3, 4),
}


@pytest.fixture(params=["", ".gz"])
def suffix(request):
    return request.param


@pytest.fixture
def write(tmp_path, suffix):
    """Writes the four files, some of them replaced, and returns the folder."""

    def write(replaced: dict[str, bytes]):
        for name, content in (GOOD | replaced).items():
            content = gzip.compress(content) if suffix else content
            (tmp_path / f"{name}{suffix}").write_bytes(content)
        return tmp_path

    return write


def load(root) -> Dataset:
    return datasets.build("idx", {"root": str(root)})


def test_bytes_become_images_and_labels(write):
    dataset = load(write({}))
    assert dataset.train.inputs.shape == (4, 2, 3, 1)
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.train.inputs.ravel().tolist() == list(range(24))
    assert dataset.train.targets.tolist() == [0, 9, 1, 2]
    assert dataset.test.inputs[1, :, :, 0].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert dataset.test.targets.tolist() == [3, 4]
    assert dataset.num_classes == 10


def test_the_classes_may_be_named(write):
    names, folder = [f"item {i}" for i in range(10)], str(write({}))
    assert datasets.build("idx", {"root": folder, "classes": names}).classes == tuple(names)
    with pytest.raises(ConfigError, match=r"^dataset\.classes: 1 names for 10 classes; "):
        datasets.build("idx", {"root": folder, "classes": ["cat"]})


def test_the_home_folder_can_be_written_as_a_tilde(write, monkeypatch):
    monkeypatch.setenv("HOME", str(write({})))
    assert len(load("~").train) == 4


def test_a_plain_file_takes_precedence_over_a_compressed_one(tmp_path):
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.gz").write_bytes(b"never read")
    assert len(load(tmp_path).train) == 4


def test_a_missing_root_names_the_files_it_must_hold():
    with pytest.raises(ConfigError, match=r"^dataset\.root: ") as raised:
        datasets.build("idx", {"root": None})
    assert all(name in raised.value.remedy for name in NAMES)


@pytest.mark.parametrize("root", ["/no/such/folder", "~nobody-of-that-name/x", "a\0b", "x" * 5000])
def test_a_missing_folder_is_named(root):
    with pytest.raises(DataError) as raised:
        load(root)
    assert raised.value.key == root
    assert all(name in raised.value.remedy for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(write, suffix, name):
    folder = write({})
    (folder / f"{name}{suffix}").unlink()
    with pytest.raises(DataError, match="no such file") as raised:
        load(folder)
    assert raised.value.key == str(folder / name)


@pytest.mark.parametrize(
    "near", ["train-images.idx3-ubyte", "train-images.idx3-ubyte.gz", "Train_Images_IDX3_ubyte.GZ"]
)
def test_a_file_with_nearly_the_name_is_to_be_renamed(write, suffix, near):
    folder = write({})
    (folder / f"{TRAIN_IMAGES}{suffix}").rename(folder / near)
    with pytest.raises(DataError, match="no such file") as raised:
        load(folder)
    assert raised.value.key == str(folder / TRAIN_IMAGES)
    assert raised.value.remedy == f"rename {near}"


@pytest.mark.parametrize(
    ("name", "shape"),
    [(TRAIN_IMAGES, (2, 2048, 2048)), (TEST_LABELS, (2**23,)), (TEST_IMAGES, (2, 2048, 2048))],
)
def test_counts_and_sizes_are_compared_before_anything_is_unpacked(tmp_path, name, shape):
    for other, content in GOOD.items():
        (tmp_path / f"{other}.gz").write_bytes(gzip.compress(content))
    size = int(np.prod(shape))
    header = encoded(*shape, content=b"")
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(header + bytes(size), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(DataError, match="use four files of one data set"):
        load(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 10


FAULTS = {
    "empty": (b"", "is empty"),
    "magic of labels": (labels(1), "starts with 00000801, not with 00000803"),
    "other kind of number": (encoded(1, 1, 1, content=b"1", magic=0xD03), "starts with 00000d03"),
    "text": (b"<html>not found</html>", "starts with 3c68746d"),
    "cut in the magic": (images(4)[:3], "starts with 000008,"),
    "cut in the header": (images(4)[:11], "truncated within its header"),
    "cut in its last size": (images(4)[:15], "truncated within its header"),
    "one byte short": (images(4)[:-1], "less than the 24 bytes|too short for the 24 bytes"),
    "one byte long": (images(4) + b"\0", "more than the 24 bytes"),
    "no images": (images(0), r"holds nothing \(its shape is \(0, 2, 3\)\)"),
    "no pixels": (encoded(4, 0, 3, content=b""), "holds nothing"),
    "claims 2^96 bytes": (
        encoded(2**32 - 1, 2**32 - 1, 2**32 - 1, content=b"x"),
        "too short for the 79228162458924105385300197375 bytes",
    ),
    "fewer than labels": (images(3), "4 labels for the 3 images"),
    "other size": (images(4, 3, 2), "images of 2×3 pixels, the training images have 3×2"),
}


@pytest.mark.parametrize(("content", "said"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_image_file_is_named_with_its_fault(write, suffix, content, said):
    folder = write({TRAIN_IMAGES: content})
    with pytest.raises(DataError, match=said) as raised:
        load(folder)
    assert raised.value.exit_code == 3
    assert raised.value.key.startswith(str(folder))


def test_a_label_outside_the_classes_is_named_with_its_place(write, suffix):
    folder = write({TEST_LABELS: labels(3, 10)})
    with pytest.raises(DataError, match="label 10 of example 1 is outside 0 to 9") as raised:
        load(folder)
    assert raised.value.key == str(folder / f"{TEST_LABELS}{suffix}")


def test_no_damage_to_a_compressed_file_changes_what_is_read(tmp_path):
    for name, content in GOOD.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    path = tmp_path / f"{TRAIN_LABELS}.gz"
    whole = path.read_bytes()
    flips = (
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        for at in range(len(whole))
        for bit in range(8)
    )
    for damaged in [*(whole[:length] for length in range(len(whole))), *flips]:
        path.write_bytes(damaged)
        try:
            targets = load(tmp_path).train.targets.tolist()
        except DataError:
            continue
        # The time stamp and padding bits carry no content, so a flip there may pass.
        assert targets == [0, 9, 1, 2]
        assert len(damaged) == len(whole)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(write, suffix):
    folder = write({})
    path = folder / f"{TRAIN_IMAGES}{suffix}"
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        load(folder)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path)
