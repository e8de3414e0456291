"""Each augmentation against what it promises, computed in numpy from its own images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.cli.commands import configure
from runner.data import augmentation as augmentation_module
from runner.data.augmentation import (
    Augmentation,
    check_inputs,
    cutmix,
    cutout,
    mixup,
    random_crop,
    random_flip,
)
from runner.data.dataset import Examples
from runner.data.feed import Source
from runner.data.preparation import Preparation
from runner.errors import ConfigError
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.training.step import mean_loss

KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).uniform(1, 2, (64, 6, 5, 2)).astype(np.float32)
TARGETS = np.arange(64, dtype=np.int32)


def test_a_crop_is_a_window_of_the_padded_image():
    """All 25 windows of a padding of 2 occur among many images."""
    images = np.repeat(IMAGES[:1], 400, axis=0)
    padded = np.pad(images[0], ((2, 2), (2, 2), (0, 0)))
    windows = {
        padded[row : row + 6, column : column + 5].tobytes()
        for row in range(5)
        for column in range(5)
    }
    found = {image.tobytes() for image in np.asarray(random_crop(KEY, images, 2))}
    assert found == windows


def test_the_places_of_crops_are_drawn_by_their_key():
    corners = np.asarray(jax.random.randint(KEY, (64, 2), 0, 5))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    pairs = zip(padded, corners, strict=True)
    expected = [image[top : top + 6, left : left + 5] for image, (top, left) in pairs]
    np.testing.assert_array_equal(random_crop(KEY, IMAGES, 2), expected)


def test_half_of_the_images_are_mirrored_left_to_right():
    images = np.repeat(IMAGES, 10, axis=0)
    found = np.asarray(random_flip(KEY, images))
    mirrored = (found == images[:, :, ::-1]).all(axis=(1, 2, 3)).sum()
    kept = (found == images).all(axis=(1, 2, 3)).sum()
    assert mirrored + kept == 640
    assert 257 <= mirrored <= 383  # 320 expected, five standard deviations are 63


@pytest.mark.slow
def test_a_cutout_is_a_square_whose_centre_may_be_anywhere():
    found = np.asarray(cutout(KEY, np.repeat(IMAGES[:1], 500, axis=0), 4))
    areas = set()
    for image in found:
        rows, columns = np.nonzero(image[..., 0] == 0)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (image[rows.min() :][:height, columns.min() :][:, :width] == 0).all()
        assert (image == 0).sum() == height * width * 2
        areas.add((int(height), int(width)))
    assert areas == {(h, w) for h in (2, 3, 4) for w in (2, 3, 4)}


@pytest.mark.slow
def test_a_cutout_of_a_wide_image_has_its_centre_inside_it():
    """A centre inside keeps at least half of the square inside, in each direction."""
    images = np.ones((300, 4, 32, 1), np.float32)
    found = np.asarray(cutout(KEY, images, 4)[..., 0] == 0)
    rows, columns = found.any(2).sum(1), found.any(1).sum(1)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4}
    assert found.any((0, 1)).all()


@pytest.mark.slow
def test_mixup_shares_inputs_and_losses_alike():
    found = mixup(KEY, Examples(IMAGES, TARGETS), jnp.float32(0.5))
    share = float(found.shares[0])
    assert 0 < share < 1
    expected = share * IMAGES + (1 - share) * IMAGES[::-1]
    np.testing.assert_allclose(found.inputs, expected, rtol=1e-6)
    np.testing.assert_array_equal(found.others, TARGETS[::-1])


@pytest.mark.slow
def test_cutmix_shares_losses_by_area():
    for seed in range(20):
        found = cutmix(jax.random.key(seed), Examples(IMAGES, TARGETS), jnp.float32(1.0))
        own = (np.asarray(found.inputs) == IMAGES)[0, ..., 0]
        other = (np.asarray(found.inputs) == IMAGES[::-1])[0, ..., 0]
        assert (own | other).all()
        assert float(found.shares[0]) == pytest.approx(own.mean())


def test_a_rectangle_of_cutmix_has_the_shape_of_the_image_and_the_drawn_area():
    """Beta(1e6, 1e6) is 1/2, so the sides are those of an image of 20×10 over the root of 2."""
    images = np.arange(1, 401, dtype=np.float32).reshape(2, 20, 10, 1)
    widest = tallest = 0
    for seed in range(10):
        found = cutmix(jax.random.key(seed), Examples(images, TARGETS[:2]), jnp.float32(1e6))
        rows, columns = np.nonzero(np.asarray(found.inputs)[0, ..., 0] > 200)
        tallest, widest = max(tallest, np.ptp(rows) + 1), max(widest, np.ptp(columns) + 1)
    assert (tallest, widest) == (14, 7)


@pytest.mark.slow
def test_a_share_of_mixup_follows_the_beta_distribution():
    """Beta(1, 1) is uniform: mean 1/2, variance 1/12."""
    draw = jax.vmap(lambda key: mixup(key, Examples(IMAGES, TARGETS), jnp.float32(1.0)).shares[0])
    shares = np.asarray(draw(jax.random.split(KEY, 2000)))
    assert shares.mean() == pytest.approx(1 / 2, abs=0.03)
    assert shares.var() == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"class_weights": (1.0, 2.0, 3.0)}])
def test_the_loss_of_mixed_examples_is_shared(settings):
    """As PyTorch computes it for targets that are probabilities."""
    objective = Classification(targets=Targets(num_classes=3), **settings)
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)
    own, others = jnp.array([0, 1, 2, 0]), jnp.array([2, 2, 1, 1])
    shares = jnp.array([0.25, 0.25, 0.25, 0.25])
    probabilities = 0.25 * jax.nn.one_hot(own, 3) + 0.75 * jax.nn.one_hot(others, 3)
    weights = jnp.asarray(settings.get("class_weights", (1.0, 1.0, 1.0)))
    each = -(probabilities * weights * jax.nn.log_softmax(logits)).sum(-1)
    expected = each.sum() / (probabilities * weights).sum()
    found = mean_loss(objective, logits, Examples(None, own, others, shares))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_evaluations_are_not_augmented_and_training_is_by_its_key():
    augmentation = Augmentation(crop_padding=1, flip=True, cutout_size=2, mixup=np.float32(0.2))
    source = Source(None, Preparation.of(1.5, 0.5, augmentation))
    batch = Examples(IMAGES, TARGETS)
    np.testing.assert_allclose(source.prepared(batch).inputs, (IMAGES - 1.5) / 0.5, rtol=1e-5)
    one, again, other = (
        np.asarray(source.prepared(batch, jax.random.key(seed)).inputs) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


CHANGES = {
    "crop_padding": ("random_crop", 1),
    "flip": ("random_flip", True),
    "cutout_size": ("cutout", 2),
    "mixup": ("mixup", 0.25),
    "cutmix": ("cutmix", 0.5),
}


@pytest.mark.parametrize(
    "asked", [(), *[(name,) for name in CHANGES], ("crop_padding", "flip", "cutout_size", "mixup")]
)
def test_the_changes_asked_for_are_made_in_order_each_with_its_own_key(monkeypatch, asked):
    calls, keys = [], set()
    for function, _ in CHANGES.values():

        def noted(key, given, *setting, function=function):
            calls.append((function, *setting))
            keys.add(jax.random.key_data(key).tobytes())
            return given

        monkeypatch.setattr(augmentation_module, function, noted)
    Augmentation(**{name: CHANGES[name][1] for name in asked})(KEY, Examples(IMAGES, TARGETS))
    settings = [CHANGES[name] for name in asked]
    assert calls == [each[:1] if each[0] == "random_flip" else each for each in settings]
    assert len(keys) == len(asked)


def test_with_both_half_of_the_batches_are_mixed_in_each_way(monkeypatch):
    for function in ("mixup", "cutmix"):
        monkeypatch.setattr(
            augmentation_module, function, lambda _, given, alpha: given._replace(inputs=alpha)
        )
    both = Augmentation(mixup=jnp.float32(0.25), cutmix=jnp.float32(0.5))
    # Without a compilation for each call.
    monkeypatch.setattr(jax.lax, "cond", lambda which, yes, no: yes() if which else no())
    examples = Examples(IMAGES, TARGETS)
    ways = [float(both(jax.random.key(seed), examples).inputs) for seed in range(36)]
    assert set(ways) == {0.25, 0.5}
    assert 3 <= ways.count(0.25) <= 33  # 18 expected, five standard deviations are 15


def test_inputs_without_a_mean_are_used_as_stored():
    tokens = np.arange(6, dtype=np.int32).reshape(2, 3)
    augmentation = Augmentation()
    preparation = Preparation.of(None, None, augmentation)
    assert preparation.augmentation is augmentation
    found = Source(None, preparation).prepared(Examples(tokens, tokens)).inputs
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, tokens)


def test_the_padding_of_a_crop_is_the_mean_of_the_normalised_inputs():
    """Padding before the normalisation would give -mean / std, -25, at the border."""
    preparation = Preparation.of(100.0, 4.0, Augmentation(crop_padding=3))
    images = np.full((50, 4, 4, 1), 108.0, np.float32)
    found = preparation(KEY, Examples(images, TARGETS[:50])).inputs
    assert set(np.unique(found).tolist()) == {0.0, 2.0}


@pytest.mark.slow
def test_with_both_each_batch_is_mixed_in_one_way():
    both = Augmentation(mixup=np.float32(1.0), cutmix=np.float32(1.0))
    ways = set()
    for seed in range(12):
        found = np.asarray(both(jax.random.key(seed), Examples(IMAGES, TARGETS)).inputs)
        ways.add(bool(((found == IMAGES) | (found == IMAGES[::-1])).all()))
    assert ways == {True, False}


@pytest.mark.parametrize(
    ("augmentation", "shape", "said"),
    [
        (Augmentation(crop_padding=2), (9,), r"^crop_padding: is for images, but .*\(9,\)"),
        (Augmentation(flip=True), (9, 2), "^flip: is for images"),
        (Augmentation(cutout_size=7), (6, 8, 1), "^cutout: 7 pixels do not fit in an image of 6×8"),
        (Augmentation(mixup=np.float32(1)), (9,), "^mixup: is for numbers"),
        (Augmentation(cutmix=np.float32(1)), (9,), r"^cutmix: is for images, but .*\(9,\)"),
        (Augmentation(cutout_size=7), (8, 6, 1), "^cutout: 7 pixels do not fit in an image of 8×6"),
    ],
)
def test_what_does_not_suit_the_inputs_is_refused(augmentation, shape, said):
    with pytest.raises(ConfigError, match=said):
        check_inputs(augmentation, shape, are_numbers=False)


@pytest.mark.parametrize(
    ("augmentation", "shape"),
    [
        (Augmentation(crop_padding=2, flip=True, cutout_size=6), (6, 8, 1)),
        (Augmentation(mixup=np.float32(1), cutmix=np.float32(1)), (6, 8, 1)),
        (Augmentation(mixup=np.float32(1)), (9,)),
    ],
)
def test_what_suits_the_inputs_is_accepted(augmentation, shape):
    check_inputs(augmentation, shape, are_numbers=True)


@pytest.mark.parametrize(
    "line", ["crop_padding=0", "cutout=-1", "mixup=0", "cutmix=.inf", "flip=1"]
)
def test_bad_settings_are_named(line):
    with pytest.raises(ConfigError) as raised:
        configure(f"augmentation.{line}")
    assert raised.value.key == f"augmentation.{line.partition('=')[0]}"
