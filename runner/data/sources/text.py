"""A text: blocks of its bytes or characters, each with the same block one token later."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from etils import epy

from runner.config.markers import DataPath
from runner.config.signature import checked
from runner.config.types import Count
from runner.data.dataset import Dataset, Split
from runner.data.files import existing_file, opened
from runner.errors import ConfigError, DataError
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

# The share of the text for the test.
TEST_SHARE = 0.1


@register_dataset("text")
@checked
def text(
    *,
    path: Annotated[str, DataPath("of a text file, plain or .gz")],
    tokens: Literal["bytes", "characters"] = "bytes",
    block: Count = 128,
    stride: Count | None = None,
) -> Dataset:
    """Blocks of tokens: inputs int32 [n, block], targets int32 [n, block] one token later.

    The last 10% of the text is for the test, and the end of the rest for validation, as much as
    ``dataset.validation`` says; no block crosses a border. Both arrays are views of the tokens, so
    overlapping blocks take no memory.

    Args:
      tokens: the 256 bytes, which have no names, or the characters of the UTF-8 text, whose numbers
        are their places in the sorted list of those that occur in it.
      block: the number of tokens of an example.
      stride: the distance between the starts of two blocks; None for the length of a block.

    Raises:
      ConfigError: ``path`` is empty.
      DataError: the file is missing, empty, damaged, not UTF-8, or too short for a block.
    """
    file = existing_file(path, "give the path of a text file")
    with opened(file, "copy it again") as contents:
        data = contents.read()
    classes = None
    if tokens == "bytes":
        numbers = np.frombuffer(data, np.uint8).astype(np.int32)
    else:
        numbers, classes = _characters(file, data)
    training, test = np.split(numbers, [len(numbers) - int(TEST_SHARE * len(numbers))])
    if len(test) <= block:
        shortest = -(-(block + 1) // TEST_SHARE)
        problem = f"has {len(numbers)} tokens, too few for blocks of {block}"
        remedy = f"give {shortest:.0f} tokens or more, or set a shorter dataset.block"
        raise DataError(str(file), problem, remedy)
    stride = stride or block
    return Dataset(
        train=_blocks(training, block, stride),
        test=_blocks(test, block, stride),
        hold_out=partial(_hold_out, training, block=block, stride=stride),
        num_classes=256 if classes is None else len(classes),
        classes=classes,
        normalized=False,
    )


def _characters(path: Path, data: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each character of a text, and the characters."""
    try:
        points = np.frombuffer(data.decode("utf-8").encode("utf-32-le"), "<u4")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8 ({error.reason})"
        raise DataError(
            str(path), problem, "convert it to UTF-8, or set dataset.tokens=bytes"
        ) from (error)
    found, numbers = np.unique(points, return_inverse=True)
    if len(found) < 2:
        problem = f"has {len(found)} different characters"
        raise DataError(str(path), problem, "give a text with two or more")
    return numbers.astype(np.int32), tuple(map(chr, found))


def _hold_out(tokens: np.ndarray, share: float, *, block: int, stride: int) -> tuple[Split, Split]:
    """The blocks of the beginning, and those of a share of the text at its end."""
    border = len(tokens) - round(share * len(tokens))
    parts = np.split(tokens, [border])
    if (shortest := min(map(len, parts))) <= block:
        problem = (
            f"{share:g} leaves a part of {shortest} of {len(tokens)} tokens, "
            f"too few for blocks of {block}"
        )
        remedy = "write another share, 0 for none, or a shorter dataset.block"
        raise ConfigError("dataset.validation", problem, remedy)
    train, validation = (_blocks(part, block, stride) for part in parts)
    return train, validation


def _blocks(tokens: np.ndarray, block: int, stride: int) -> Split:
    windows = np.lib.stride_tricks.sliding_window_view(tokens, block + 1)[::stride]
    return Split(windows[:, :-1], windows[:, 1:])
