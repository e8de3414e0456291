"""The embedded data set: 1,797 handwritten digits of 8×8 grey values from 0 to 16."""

from importlib import resources

from etils import epy

from runner.data.dataset import Dataset, Split
from runner.data.order import epoch_order
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

# One example in this many is held out, alternately for validation and for the test.
HELD_OUT = 5


@register_dataset("digits")
def digits() -> Dataset:
    """UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, CC BY 4.0).

    1,437 training, 180 validation and 180 test examples, the same in every run, with each digit in
    equal share. Inputs are uint8 [n, 8, 8, 1].
    """
    with (resources.files("runner.data.sources") / "digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        images_bhwc, labels = arrays["images"][..., None], arrays["labels"].astype(np.int32)
    shuffled = epoch_order(0, 0, len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    part = np.zeros(len(labels), np.int32)
    part[by_class[::HELD_OUT]] = 1 + np.arange(len(by_class[::HELD_OUT])) % 2
    train, validation, test = (Split(images_bhwc[part == i], labels[part == i]) for i in range(3))
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        num_classes=10,
        classes=tuple(map(str, range(10))),
    )
