"""The embedded data set: 1,797 handwritten digits of 8×8 grey values from 0 to 16."""

from importlib import resources

from etils import epy

from runner.data.dataset import Dataset, Split
from runner.data.order import epoch_order
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

# One example in this many is held out.
HELD_OUT = 5
# Of the training split, in grey values from 0 to 16.
MEAN, STD = 4.893, 6.020


@register_dataset("digits")
def digits() -> Dataset:
    """UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, CC BY 4.0).

    1,437 training and 360 test examples, the same in every run, with each digit in equal share.
    Inputs are uint8 [n, 8, 8, 1]; mean and standard deviation are those of the training split.
    """
    with (resources.files("runner.data.sources") / "digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        images_bhwc, labels = arrays["images"][..., None], arrays["labels"].astype(np.int32)
    shuffled = epoch_order(0, 0, len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    held_out = np.zeros(len(labels), bool)
    held_out[by_class[::HELD_OUT]] = True
    return Dataset(
        train=Split(images_bhwc[~held_out], labels[~held_out]),
        test=Split(images_bhwc[held_out], labels[held_out]),
        num_classes=10,
        mean=MEAN,
        std=STD,
        classes=tuple(map(str, range(10))),
    )
