"""CIFAR's binary files are read exactly, from a folder or from the archive."""

import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from runner.data.sources import cifar
from runner.errors import ConfigError, DataError
from runner.registry import datasets

PIXELS = 3 * 32 * 32
FORMS = cifar._CIFAR10, cifar._CIFAR100
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]


def image(seed: int) -> np.ndarray:
    """Height, width and channels."""
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


def record(seed: int, *labels: int) -> bytes:
    """As the publisher describes it: the labels, then the red, the green and the blue plane."""
    planes = [image(seed)[:, :, channel].tobytes() for channel in range(3)]
    return bytes(labels) + b"".join(planes)


CIFAR10 = {name: record(2 * i, i) + record(2 * i + 1, 9) for i, name in enumerate(BATCHES)}
CIFAR10["test_batch.bin"] = record(20, 3) + record(21, 4)
CIFAR100 = {
    "train.bin": record(0, 19, 99) + record(1, 0, 1),
    "test.bin": record(2, 5, 50) + record(3, 6, 60),
}


def test_files_have_the_sizes_that_the_publisher_states():
    """10,000 images a file of CIFAR-10, 50,000 and 10,000 of CIFAR-100, with 1 and 2 labels."""
    ten, hundred = FORMS
    assert set(cifar._sizes(ten).values()) == {10_000 * (1 + PIXELS)}
    assert list(cifar._sizes(ten)) == [*BATCHES, "test_batch.bin"]
    assert cifar._sizes(hundred) == {
        "train.bin": 50_000 * (2 + PIXELS),
        "test.bin": 10_000 * (2 + PIXELS),
    }


@pytest.fixture(autouse=True)
def two_records_a_file(monkeypatch):
    for name in ("_CIFAR10", "_CIFAR100"):
        monkeypatch.setattr(cifar, name, getattr(cifar, name)._replace(records=(2, 2)))


def packed(folder, files, damage=lambda data: data) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in {"readme.html": b"x" * 100, **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return damage(gzip.compress(plain.getvalue(), mtime=0))


@pytest.fixture(params=["root", "folder", "archive"])
def write(request, tmp_path):
    def write(files, number=10):
        name = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[number]
        if request.param == "archive":
            path = tmp_path / f"cifar-{number}-binary.tar.gz"
            path.write_bytes(packed(name, files))
            return str(tmp_path)
        folder = tmp_path / name if request.param == "folder" else tmp_path
        folder.mkdir(exist_ok=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        return str(tmp_path)

    return write


def load(root, name="cifar10", **settings):
    return datasets.build(name, {"root": root, **settings})


def refused(root, name="cifar10", **settings) -> DataError:
    with pytest.raises(DataError) as raised:
        load(root, name, **settings)
    assert raised.value.key.startswith(root)
    return raised.value


def test_the_five_batches_follow_each_other(write):
    dataset = load(write(CIFAR10))
    assert dataset.train.inputs.shape == (10, 32, 32, 3)
    for number in range(10):
        np.testing.assert_array_equal(dataset.train.inputs[number], image(number))
    assert dataset.train.targets.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    np.testing.assert_array_equal(dataset.test.inputs[1], image(21))
    assert dataset.test.targets.tolist() == [3, 4]
    # The order of batches.meta.txt.
    assert dataset.classes[0] == "airplane"
    assert dataset.classes[9] == "truck"


def test_cifar100_has_fine_and_coarse_labels(write):
    root = write(CIFAR100, 100)
    fine = load(root, "cifar100")
    assert (fine.num_classes, fine.train.targets.tolist()) == (100, [99, 1])
    assert fine.classes[99] == "worm"
    np.testing.assert_array_equal(fine.train.inputs[1], image(1))
    coarse = load(root, "cifar100", labels="coarse")
    assert (coarse.num_classes, coarse.train.targets.tolist()) == (20, [19, 0])
    assert coarse.test.targets.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CIFAR10["data_batch_3.bin"][:-1], "only 6145 bytes, 6146 were expected"),
        (CIFAR10["data_batch_3.bin"] + b"x", "too many bytes, 6146 were expected"),
        (b"", "only 0 bytes"),
        (record(0, 0) + record(0, 10), "label 10 of example 1 is outside 0 to 9"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(write, content, said):
    error = refused(write(CIFAR10 | {"data_batch_3.bin": content}))
    assert said in error.problem
    assert error.key.endswith("data_batch_3.bin")


def test_a_missing_file_is_named(write):
    files = {name: content for name, content in CIFAR10.items() if name != "test_batch.bin"}
    assert "test_batch.bin" in str(refused(write(files)))


def test_without_any_file_the_archive_is_asked_for(tmp_path):
    error = refused(str(tmp_path))
    assert error.key == str(tmp_path / "cifar-10-binary.tar.gz")
    assert "dataset.download=true" in error.remedy
    assert "no such folder" in refused(str(tmp_path / "none")).problem
    with pytest.raises(ConfigError, match=r"^dataset\.root: no folder is given"):
        load(None)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.9999])
def test_a_damaged_archive_is_named(tmp_path, at):
    path = tmp_path / "cifar-10-binary.tar.gz"
    whole = packed("cifar-10-batches-bin", CIFAR10)
    place = int(at * len(whole))
    for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
        path.write_bytes(content)
        assert "damaged" in refused(str(tmp_path)).problem


def test_a_link_in_the_archive_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(CIFAR10["test_batch.bin"])
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in CIFAR10.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            if name == "test_batch.bin":
                member.type, member.linkname = tarfile.SYMTYPE, str(secret)
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if member.size else None)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(plain.getvalue()))
    assert "holds no file cifar-10-batches-bin/test_batch.bin" in refused(str(tmp_path)).problem


def test_the_archive_is_downloaded_if_nothing_is_there(tmp_path, monkeypatch):
    asked = []

    def fetch(published, folder):
        asked.append(published)
        folder.mkdir()
        content = packed("cifar-10-batches-bin", CIFAR10)
        (folder / published[0].name).write_bytes(content)

    monkeypatch.setattr(cifar, "fetch", fetch)
    root = str(tmp_path / "new")
    for _ in range(2):
        assert len(load(root, download=True).train) == 10
    assert asked == [cifar.PUBLISHED["cifar10"]]


@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "data_batch_1.bin"])
def test_a_pipe_is_not_read(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=name):
        datasets.build("cifar10", {"root": str(tmp_path)})
