"""Folders of images become data sets, or the image that does not fit is named."""

import contextlib
import os
import sys
import warnings

import numpy as np
import pytest

from runner.errors import ConfigError, DataError
from runner.registry import datasets

Image = pytest.importorskip("PIL.Image", reason="needs the extra images")

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def draw(tmp_path):
    """Writes an image of one colour below the folder and returns its path."""

    def draw(name, colour=RED, size=(4, 3), mode="RGB", **options):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, colour).save(path, **options)
        return path

    return draw


@pytest.fixture
def divided(draw, tmp_path):
    for part, count in (("train", 2), ("test", 1)):
        for i in range(count):
            draw(f"{part}/cat/{i}.png", RED)
            draw(f"{part}/dog/{i}.png", BLUE)
    return tmp_path / "images"


def load(root, **settings):
    return datasets.build("images", {"root": str(root), **settings})


def refused(root, **settings) -> DataError:
    with pytest.raises(DataError) as raised:
        load(root, **settings)
    return raised.value


def test_folders_are_the_classes(divided):
    dataset = load(divided)
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.inputs.shape == (4, 3, 4, 3)
    assert dataset.train.inputs.dtype == np.uint8
    assert dataset.train.inputs[:, 0, 0].tolist() == [[*RED]] * 2 + [[*BLUE]] * 2
    assert dataset.train.targets.tolist() == [0, 0, 1, 1]
    assert dataset.test.targets.tolist() == [0, 1]
    assert dataset.validation is None


def test_a_validation_folder_is_the_validation_part(divided, draw):
    draw("validation/dog/0.png", BLUE)
    draw("train/.thumbnails/0.png", GREEN)
    dataset = load(divided)
    assert dataset.classes == ("cat", "dog")
    assert dataset.validation is not None
    assert dataset.validation.targets.tolist() == [1]


def test_one_tree_is_divided_by_a_share_of_each_class(draw, tmp_path):
    for i in range(10):
        draw(f"a/{i}.png", (i, 0, 0))
        draw(f"b/deeper/{i}.JPG", BLUE, quality=100)
    dataset = load(tmp_path / "images", test_share=0.3)
    assert np.bincount(dataset.test.all().targets).tolist() == [3, 3]
    assert np.bincount(dataset.train.all().targets).tolist() == [7, 7]
    found = load(tmp_path / "images").test.rows
    assert len(found) == 4
    again = load(tmp_path / "images", test_share=0.2, test_seed=0).test.rows
    np.testing.assert_array_equal(found, again)


def test_colours_become_grey(divided):
    dataset = load(divided, channels=1)
    # ITU-R 601-2 luma: 0.299 red + 0.587 green + 0.114 blue.
    assert dataset.train.inputs.shape == (4, 3, 4, 1)
    assert set(dataset.train.inputs.ravel().tolist()) == {76, 29}


@pytest.mark.parametrize(("mode", "colour"), [("L", 9), ("1", 1), ("P", 0), ("RGBA", (1, 2, 3, 4))])
def test_images_of_any_8_bit_mode_have_three_channels(divided, draw, mode, colour):
    draw("train/cat/other.png", colour, mode=mode)
    assert load(divided).train.inputs.shape == (5, 3, 4, 3)


def test_differing_sizes_are_refused_naming_two_images(divided, draw):
    path = draw("train/dog/9.png", BLUE, size=(5, 3))
    error = refused(divided)
    assert error.exit_code == 3
    assert error.key == str(path)
    assert error.problem == f"has 3×5 pixels, {divided / 'train/cat/0.png'} has 3×4"
    assert load(divided, size=[6, 2]).train.inputs.shape == (5, 6, 2, 3)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_image_on_its_side_is_turned(divided, draw, orientation):
    """By the EXIF standard, 5 to 8 have their first row at the left or right side of the image."""
    exif = Image.Exif()
    exif[274] = orientation
    draw("train/dog/9.jpg", BLUE, size=(3, 4), exif=exif)
    assert load(divided).train.inputs.shape == (5, 3, 4, 3)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_an_image_that_is_mirrored_or_upside_down_keeps_its_size(divided, draw, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    draw("train/dog/9.jpg", BLUE, size=(4, 3), exif=exif)
    assert load(divided).train.inputs.shape == (5, 3, 4, 3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20), "half"])
def test_a_damaged_image_is_named(divided, content):
    path = divided / "train" / "cat" / "1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    error = refused(divided)
    assert error.key == str(path)
    assert "is not a PNG or JPEG image, or is damaged" in error.problem


def test_an_image_of_another_format_is_refused_whatever_its_name(divided, draw):
    path = draw("train/cat/2.png", format="GIF")
    error = refused(divided)
    assert error.key == str(path)
    assert "is not a PNG or JPEG image" in error.problem


def test_no_damage_to_an_image_ends_in_another_error(divided):
    path = divided / "train" / "cat" / "1.png"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(DataError):
            load(divided)


def test_an_image_that_unpacks_to_a_huge_one_is_refused(divided, monkeypatch):
    for limit in (8, 4):  # Pillow warns above its limit, and raises above twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert "is huge" in refused(divided).problem


def test_more_than_8_bits_are_refused(divided, draw):
    path = draw("train/cat/deep.png", 40000, mode="I;16")
    error = refused(divided)
    assert (error.key, error.problem) == (str(path), "has more than 8 bits per channel")


def test_a_class_without_training_images_is_named(divided, draw):
    draw("test/owl/0.png", GREEN)
    error = refused(divided)
    assert error.key == str(divided / "test" / "owl")
    assert "no such class" in error.problem


def test_folders_without_images_are_named(divided, tmp_path):
    (divided / "train" / "owl").mkdir()
    (divided / "train" / "owl" / "notes.txt").write_text("none")
    assert refused(divided).key == str(divided / "train" / "owl")
    (tmp_path / "empty").mkdir()
    assert "has no folders" in refused(tmp_path / "empty").problem
    assert "no such folder" in refused(tmp_path / "none").problem


def test_one_class_is_refused(draw, tmp_path):
    draw("a/0.png")
    assert "only one class" in refused(tmp_path / "images").problem


def test_a_size_has_two_numbers(divided):
    with pytest.raises(ConfigError, match=r"^dataset\.size: has length 1, not 2;"):
        load(divided, size=[32])
    with pytest.raises(ConfigError, match=r"^dataset\.root: no folder is given"):
        datasets.build("images", {"root": None})


def test_without_pillow_the_extra_is_named(divided, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ConfigError, match=r"^dataset\.name: .*pillow.*pip install '.*\[images\]'"):
        load(divided)


def test_a_pipe_in_place_of_an_image_is_not_read(divided):
    os.mkfifo(divided / "train/cat/2.png")
    assert str(refused(divided)).startswith(f"{divided / 'train/cat/2.png'}: is not a file; ")
