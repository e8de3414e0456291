"""Images whose labels a small model can learn."""

import numpy as np

from runner.data.dataset import Split


def easy_images(random: np.random.Generator, n: int) -> Split:
    """``n`` images [n, 8, 8, 1] of noise, uint8, whose first pixel is brighter by their label."""
    targets = random.integers(0, 10, n).astype(np.int32)
    inputs = random.integers(0, 9, (n, 8, 8, 1)).astype(np.uint8)
    inputs[:, 0, 0, 0] += targets.astype(np.uint8)
    return Split(inputs, targets)
