"""A text becomes blocks of tokens that no part shares with another."""

import gzip

import numpy as np
import pytest

from runner.data.splits import with_validation
from runner.errors import ConfigError, DataError
from runner.registry import datasets

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
TEXT = (ALPHABET * 6)[:200]


@pytest.fixture(params=["", ".gz"])
def write(request, tmp_path):
    def write(content: bytes):
        path = tmp_path / f"text.txt{request.param}"
        path.write_bytes(gzip.compress(content) if request.param else content)
        return path

    return write


def load(path, **settings):
    return datasets.build("text", {"path": str(path), **settings})


def ends(dataset):
    """The first and the last token of each split."""
    splits = dataset.splits.items()
    return {name: (split.inputs[0, 0], split.targets[-1, -1]) for name, split in splits}


def refused(path, **settings) -> str:
    with pytest.raises(DataError) as raised:
        load(path, **settings)
    assert raised.value.key == str(path)
    return str(raised.value)


def test_bytes_are_the_tokens(write):
    dataset = load(write(TEXT.encode()), block=8)
    assert (dataset.num_classes, dataset.classes, dataset.normalized) == (256, None, False)
    inputs, targets = dataset.train.all()[:2]
    assert (inputs.dtype, targets.dtype) == (np.int32, np.int32)
    assert bytes(inputs[0].tolist()) == b"abcdefgh"
    assert bytes(targets[0].tolist()) == b"bcdefghi"
    assert bytes(inputs[1].tolist()) == b"ijklmnop"


def test_characters_are_numbered_in_their_order(write):
    content = "żółw\nцапля🙂" * 30
    dataset = load(write(content.encode()), tokens="characters", block=4)
    assert dataset.classes == tuple(sorted(set(content)))
    first = "".join(dataset.classes[token] for token in dataset.train.inputs[0])
    assert first == content[:4]


def test_the_parts_follow_each_other_and_no_block_crosses_a_border(write):
    content = bytes(range(200))
    dataset = load(write(content), block=4, stride=1)
    # The last 20 of 200 tokens are for the test; a block spans five tokens with its last target.
    assert ends(dataset) == {"train": (0, 179), "test": (180, 199)}
    assert [len(part) for part in dataset.splits.values()] == [176, 16]


@pytest.mark.parametrize(("share", "border"), [(0.1, 162), (0.25, 135), (0.5, 90)])
def test_the_end_of_the_training_text_is_held_out_for_validation(write, share, border):
    dataset = load(write(bytes(range(200))), block=4, stride=1)
    divided = with_validation(dataset, share=share, seed=0)
    expected = {"train": (0, border - 1), "validation": (border, 179), "test": (180, 199)}
    assert ends(divided) == expected
    assert with_validation(dataset, share=0, seed=0).validation is None


@pytest.mark.parametrize("share", [0.05, 0.96])
def test_a_share_that_leaves_less_than_a_block_is_refused(write, share):
    dataset = load(write(bytes(range(200))), block=9)
    with pytest.raises(ConfigError, match=r"^dataset\.validation: .* of 180 tokens, too few"):
        with_validation(dataset, share=share, seed=0)


@pytest.mark.parametrize(
    ("stride", "starts"), [(None, [0, 8, 16]), (3, [0, 3, 6]), (9, [0, 9, 18])]
)
def test_blocks_start_a_stride_apart(write, stride, starts):
    dataset = load(write(bytes(range(200))), block=8, stride=stride)
    assert dataset.train.inputs[:3, 0].tolist() == starts


def test_a_block_has_128_tokens_of_bytes_unless_told_otherwise(write):
    dataset = load(write(bytes(200) * 10))
    assert dataset.train.inputs.shape == (1799 // 128, 128)
    assert dataset.num_classes == 256


def test_all_blocks_are_views_of_one_array(write):
    dataset = load(write(bytes(200) + bytes(range(200))), block=8, stride=1)
    train = dataset.train
    assert np.shares_memory(train.inputs, train.targets)
    assert train.inputs.strides == (4, 4)


def test_a_text_that_is_too_short_is_refused(write):
    path = write(TEXT.encode())
    assert "has 200 tokens, too few for blocks of 20; give 210" in refused(path, block=20)
    assert len(load(path, block=19).test) == 1
    assert "has 0 tokens" in refused(write(b""))


def test_what_is_not_utf8_has_no_characters(write):
    path = write(b"caf\xe9 " * 100)
    assert "byte 3 is not UTF-8" in refused(path, tokens="characters", block=4)
    assert load(path, block=4).num_classes == 256
    assert load(write(b"ab" * 50), tokens="characters", block=4).classes == ("a", "b")
    assert "has 1 different characters" in refused(write(b"a" * 100), tokens="characters", block=4)


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "text.gz"
    whole = gzip.compress(TEXT.encode())
    for content in (whole[:-9], b"plain text", whole[:30] + b"\0" + whole[31:]):
        path.write_bytes(content)
        assert "is damaged" in refused(path, block=8)


def test_a_missing_file_is_named(tmp_path):
    assert "there is no such file" in refused(tmp_path / "none.txt")
    assert "there is no such file" in refused(tmp_path)
    with pytest.raises(ConfigError, match=r"^dataset\.path: no path is given"):
        datasets.build("text", {"path": None})
