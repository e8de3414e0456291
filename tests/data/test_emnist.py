"""EMNIST's files are read upright, with its own labels."""

import errno
import gzip
import os
import struct
import zipfile

import pytest

from runner.data.sources import emnist
from runner.errors import ConfigError, DataError
from runner.registry import datasets


def files(split: str, labels: list[int]) -> dict[str, bytes]:
    n = len(labels)
    return {
        f"emnist-{split}-{part}-{kind}-ubyte.gz": gzip.compress(content)
        for part in ("train", "test")
        for kind, content in (
            ("images-idx3", struct.pack(">4I", 0x803, n, 2, 3) + bytes(range(6 * n))),
            ("labels-idx1", struct.pack(">2I", 0x801, n) + bytes(labels)),
        )
    }


@pytest.fixture
def write(tmp_path):
    def write(contents):
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    return write


def load(root, **settings):
    return datasets.build("emnist", {"root": root, **settings})


def test_images_are_transposed(write):
    dataset = load(write(files("balanced", [0, 46])))
    # Stored as two rows of three: 0 1 2 / 3 4 5.
    assert dataset.train.inputs[0, :, :, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert dataset.train.targets.tolist() == [0, 46]


@pytest.mark.parametrize(
    ("split", "count", "names"),
    [
        ("balanced", 47, {0: "0", 10: "A", 35: "Z", 36: "a", 46: "t"}),
        ("bymerge", 47, {36: "a", 38: "d"}),
        ("byclass", 62, {10: "A", 36: "a", 61: "z"}),
        ("digits", 10, {9: "9"}),
        ("mnist", 10, {0: "0"}),
        ("letters", 26, {0: "a", 25: "z"}),
    ],
)
def test_the_classes_are_those_of_the_split(write, split, count, names):
    """Numbers and characters are those of NIST's emnist-SPLIT-mapping.txt."""
    first = 1 if split == "letters" else 0
    dataset = load(write(files(split, [first, first + count - 1])), split=split)
    assert dataset.num_classes == count
    assert {number: dataset.classes[number] for number in names} == names
    assert dataset.train.targets.tolist() == [0, count - 1]


@pytest.mark.parametrize("label", [0, 27])
def test_letters_are_numbered_from_one(write, label):
    with pytest.raises(DataError, match=f"label {label} of example 0 is outside 1 to 26"):
        load(write(files("letters", [label])), split="letters")


def test_files_are_extracted_from_the_archive(tmp_path):
    contents = files("digits", [3, 4])
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for name, content in (contents | files("letters", [1])).items():
            archive.writestr(f"gzip/{name}", content)
        archive.writestr("../outside", b"x")
    assert load(str(tmp_path), split="digits").train.targets.tolist() == [3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"gzip.zip", *contents}
    assert not (tmp_path.parent / "outside").exists()


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "gzip.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gzip/readme.txt", b"none")
    for content in (path.read_bytes(), b"<html>", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not the archive of EMNIST") as raised:
            load(str(tmp_path))
        assert raised.value.key == str(path)
    assert [found.name for found in tmp_path.iterdir()] == ["gzip.zip"]


def test_the_archive_is_downloaded_if_files_are_missing(tmp_path, monkeypatch):
    contents, asked = files("balanced", [0, 1]), []

    def fetch(published, folder):
        asked.append(published)
        folder.mkdir()
        with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
            for name, content in contents.items():
                archive.writestr(f"gzip/{name}", content)

    monkeypatch.setattr(emnist, "fetch", fetch)
    root = str(tmp_path / "new")
    for _ in range(2):
        assert len(load(root, download=True).train) == 2
    assert asked == [emnist.PUBLISHED["emnist"]]


def test_plain_files_are_neither_downloaded_nor_extracted(tmp_path, monkeypatch):
    for name, content in files("digits", [3, 4]).items():
        (tmp_path / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    (tmp_path / "gzip.zip").write_bytes(b"not an archive")
    monkeypatch.setattr(emnist, "fetch", None)
    assert load(str(tmp_path), split="digits", download=True).train.targets.tolist() == [3, 4]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file") as raised:
        load(str(tmp_path), split="letters")
    assert raised.value.key == str(tmp_path / "emnist-letters-train-images-idx3-ubyte")
    with pytest.raises(DataError, match=r"no such folder; .*gzip\.zip.*dataset\.download=true"):
        load(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"^dataset\.root: no folder is given"):
        load(None)


@pytest.mark.parametrize("download", [False, True])
def test_a_folder_whose_name_is_too_long_does_not_exist(tmp_path, download):
    with pytest.raises(DataError, match=r"there is no such folder|File name too long"):
        load(str(tmp_path / (300 * "x")), download=download)


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for name, content in files("digits", [3]).items():
            archive.writestr(f"gzip/{name}", content)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left") as raised:
        load(str(tmp_path), split="digits")
    assert raised.value.key == str(tmp_path / "emnist-digits-train-images-idx3-ubyte.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["gzip.zip"]


def test_a_pipe_in_place_of_the_archive_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "gzip.zip")
    with pytest.raises(DataError, match=r"gzip\.zip: is not a file; "):
        load(str(tmp_path))
