"""Builds the data set, the objective and the augmentation of an experiment."""

from typing import Any

import jax
import numpy as np

from runner import registry
from runner.config import AugmentationSettings, Choice, DatasetSettings
from runner.data.augmentation import Augmentation, check_inputs
from runner.data.dataset import Dataset
from runner.data.feed import Placement, choose_placement
from runner.data.splits import class_counts, moments, with_normalization, with_validation
from runner.errors import ConfigError, DataError, type_name
from runner.objectives import Objective, Targets


def build_dataset(choice: Choice, settings: DatasetSettings) -> Dataset:
    """The chosen data set, with a validation split if it is to have one, and its normalisation.

    Raises:
      ConfigError: it refuses its settings.
      DataError: a data file is missing or damaged, or the factory returns something else.
    """
    dataset = registry.datasets.build(choice.name, dict(choice.settings))
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"dataset {choice.name}", f"is {type_name(dataset)}", "return a runner Dataset"
        )
    dataset = with_validation(dataset, share=settings.validation, seed=settings.split_seed)
    try:
        return with_normalization(dataset, mean=settings.mean, std=settings.std)
    except ConfigError as error:
        raise error.under("dataset") from error


def build_objective(choice: Choice, targets: Targets) -> Objective:
    """The chosen objective for such targets.

    Raises:
      ConfigError: the targets do not suit it, or the factory returns something else.
    """
    objective = registry.objectives.build(
        choice.name, {**dict(choice.settings), "targets": targets}
    )
    if not isinstance(objective, Objective):
        problem = f"is {type_name(objective)}"
        raise ConfigError(f"objective {choice.name}", problem, "return a runner Objective")
    return objective


def targets_of(dataset: Dataset) -> Targets:
    """What an objective depends on."""
    shape, num_classes = dataset.train.targets.shape[1:], dataset.num_classes
    if num_classes is None:
        mean, std = moments([dataset.train.all_targets])
        return Targets(shape, mean=mean, std=std)
    if not shape:
        return Targets(shape, num_classes, counts=class_counts(dataset.train, num_classes))
    names = dataset.classes
    sizes = None if names is None else tuple(len(name.encode()) for name in names)
    return Targets(shape, num_classes, token_bytes=sizes)


def prepared_example(shape: tuple[int, ...], dtype: Any, normalized: bool) -> jax.ShapeDtypeStruct:
    """Shape and type of one example as the model sees it, as a batch of one."""
    return jax.ShapeDtypeStruct((1, *shape), np.float32 if normalized else dtype)


def build_augmentation(settings: AugmentationSettings, dataset: Dataset) -> Augmentation | None:
    numbers = {"mixup": settings.mixup, "cutmix": settings.cutmix}
    augmentation = Augmentation(
        crop_padding=settings.crop_padding,
        flip=settings.flip,
        cutout_size=settings.cutout,
        **{name: None if value is None else np.float32(value) for name, value in numbers.items()},
    )
    if augmentation == Augmentation():
        return None
    try:
        check_inputs(augmentation, dataset.train.shape, are_numbers=dataset.normalized)
    except ConfigError as error:
        raise error.under("augmentation") from error
    return augmentation


def placement_of(chosen: str, dataset: Dataset, device: jax.Device) -> Placement:
    return choose_placement(dataset, device) if chosen == "auto" else chosen  # type: ignore
