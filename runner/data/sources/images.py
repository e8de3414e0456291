"""Images: a folder of PNG and JPEG files for each class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from etils import epy

from runner.config.markers import Folder, Series, Whole
from runner.config.signature import checked
from runner.config.types import InnerShare, Seed
from runner.data.assembly import assembled
from runner.data.dataset import Dataset, Split
from runner.data.files import check_file, existing_folder, missing_extra, unreadable
from runner.data.targets import check_class_count
from runner.errors import ConfigError, DataError, reason
from runner.registry import register_dataset

if TYPE_CHECKING:
    from PIL import Image

with epy.lazy_imports():
    import numpy as np

_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_PARTS = ("train", "validation", "test")
_SIDE = Whole(1, 2**14)
# Values of the EXIF tag 274 for an image that is stored on its side.
_ORIENTATION_TAG, _ON_ITS_SIDE = 274, (5, 6, 7, 8)


@register_dataset("images")
@checked
def images(
    *,
    root: Annotated[str, Folder("that holds a folder of images for each class")],
    size: Annotated[tuple[int, ...], Series(_SIDE, nouns="pixels", example="[32,32]")]
    | None = None,
    channels: Literal[1, 3] = 3,
    test_share: InnerShare = 0.2,
    test_seed: Seed = 0,
) -> Dataset:
    """Inputs uint8 [n, height, width, channels]; the classes are the names of the folders.

    The folders of the classes are in ``root/train`` and ``root/test``, possibly in
    ``root/validation`` too, or in ``root`` itself.

    Args:
      root: a class is a folder with its .png, .jpg or .jpeg files, which may be in sub-folders.
      size: height and width that images are resized to; None if all have one size.
      channels: 1 for grey images, 3 for red, green and blue.
      test_share: the share of the images that is held out if there is no folder ``test``, of each
        class equally.
      test_seed: the seed of their random choice.

    Raises:
      ConfigError: ``root`` is empty, ``size`` is not two numbers, or Pillow is not installed.
      DataError: a folder or an image is missing, damaged or not of the common size.
    """
    if size is not None and len(size) != 2:
        raise ConfigError(
            "size", f"has length {len(size)}, not 2", "write [height,width], as [32,32]"
        )
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise missing_extra("pillow", "images") from error
    folder = existing_folder(root, "create it with a folder of images for each class")
    found = _parts(folder)
    classes = tuple(found["train"])
    check_class_count(str(found["train"][classes[0]][0].parent.parent), len(classes))
    _check_classes(folder, found, classes)
    height, width = size or _common_size(path for part in found.values() for path in _paths(part))
    splits = {
        part: Split(_read(_paths(files), height, width, channels), _labels(files, classes))
        for part, files in found.items()
    }
    return assembled(
        str(folder),
        splits,
        num_classes=len(classes),
        classes=classes,
        test_share=test_share,
        test_seed=test_seed,
    )


# The images of each class, in the order of their names.
_Files = dict[str, list[Path]]


def _parts(root: Path) -> dict[str, _Files]:
    """The images of each part; those of an undivided tree are the training part."""
    if not os.path.isdir(root / "train"):
        return {"train": _by_class(root)}
    return {part: _by_class(root / part) for part in _PARTS if os.path.isdir(root / part)}


def _by_class(folder: Path) -> _Files:
    found: _Files = {}
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        raise unreadable(folder, error) from error
    for name in names:
        if name.startswith("."):
            continue
        files = (folder / name).rglob("*")
        found[name] = sorted(path for path in files if path.suffix.lower() in _SUFFIXES)
        if not found[name]:
            problem = f"has no image ({', '.join(_SUFFIXES)})"
            raise DataError(str(folder / name), problem, "add images, or remove the folder")
    if not found:
        raise DataError(str(folder), "has no folders", "give it a folder of images for each class")
    return found


def _check_classes(root: Path, found: dict[str, _Files], classes: tuple[str, ...]) -> None:
    for part, files in found.items():
        for name in files:
            if name not in classes:
                problem = f"there is no such class in {root / 'train'}"
                remedy = "add training images of it, or remove the folder"
                raise DataError(str(root / part / name), problem, remedy)


def _paths(files: _Files) -> list[Path]:
    return [path for paths in files.values() for path in paths]


def _labels(files: _Files, classes: tuple[str, ...]) -> np.ndarray:
    numbers = [classes.index(name) for name in files]
    return np.repeat(np.array(numbers, np.int32), [len(paths) for paths in files.values()])


def _common_size(paths: Iterator[Path]) -> tuple[int, int]:
    """The height and width of all images; only their headers are read."""
    first, expected = None, (0, 0)
    for path in paths:
        with _opened(path) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION_TAG) in _ON_ITS_SIDE:
                width, height = height, width
        if first is None:
            first, expected = path, (height, width)
        if (height, width) != expected:
            problem = f"has {height}×{width} pixels, {first} has {expected[0]}×{expected[1]}"
            remedy = "set dataset.size=[height,width] to resize all images"
            raise DataError(str(path), problem, remedy)
    return expected


def _read(paths: list[Path], height: int, width: int, channels: int) -> np.ndarray:
    """The images, resized if they have another size: uint8 [n, height, width, channels]."""
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    images_bhwc = np.empty((len(paths), height, width, channels), np.uint8)
    for target, path in zip(images_bhwc, paths, strict=True):
        with _opened(path) as opened:
            if opened.mode[0] in "IF":  # converting these would cut off values above 255
                remedy = "convert it to 8 bits"
                raise DataError(str(path), "has more than 8 bits per channel", remedy)
            image = ImageOps.exif_transpose(opened).convert(mode)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            target[:] = np.asarray(image).reshape(height, width, channels)
    return images_bhwc


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image, not yet decoded; what fails while it is read is a DataError."""
    from PIL import Image

    check_file(path)
    try:
        # A warning about a huge image is an error: it may unpack to more than the memory.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                yield image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(str(path), f"is huge ({reason(error)})", "make it smaller") from error
    except OSError as error:
        if error.errno is not None:
            raise unreadable(path, error) from error
        raise _damaged(path, error) from error
    except (EOFError, SyntaxError, ValueError) as error:  # Pillow's, for damaged contents
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    problem = f"is not a PNG or JPEG image, or is damaged ({reason(error)})"
    return DataError(str(path), problem, "replace it, or remove it")
