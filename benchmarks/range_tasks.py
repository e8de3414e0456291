"""The data sets, models and optimizers of ``range_quality.py``."""

from dataclasses import dataclass

# Grids of twelve rates, each twice the one before: up to 8.2 for sgd, 0.2 for the others.
SGD = tuple(0.004 * 2**i for i in range(12))
ADAPTIVE = tuple(0.0001 * 2**i for i in range(12))


@dataclass(frozen=True)
class Combination:
    """A data set, a model and an optimizer.

    overrides: those of the run. ``{tables}``, ``{fashion}`` and ``{text}`` are filled in.
    grid: the rates that are tried.
    constant: the default rate of Keras's optimizer of that name.
    """

    name: str
    overrides: str
    grid: tuple[float, ...]
    constant: float


ARRAYS = "dataset=arrays dataset.path={tables}/"
FASHION = "dataset=fashion_mnist dataset.root={fashion} training.batch_size=128"
TASKS = {
    "text transformer": (
        "dataset=text dataset.path={text} dataset.block=64 objective=next_token model=transformer "
        "model.depth=2 model.width=64 training.batch_size=16 training.steps=600 "
        "dataset.validation=0.001"
    ),
    "fashion cnn": (
        FASHION + " model=cnn model.features=[8,16] training.epochs=1 dataset.validation=0.03"
    ),
    "fashion mlp": FASHION + " training.epochs=2",
    "mnist1d cnn": ARRAYS + "mnist1d.npz model=cnn model.features=[16,32] training.epochs=20",
    "letters mlp": ARRAYS + "letterrecognition.npz model.hidden=[128,128] training.epochs=10",
    "satellite mlp": ARRAYS + "satellite.npz model.hidden=[128] training.epochs=15",
    "shuttle mlp": ARRAYS + "shuttle.npz training.epochs=4 training.batch_size=256",
    "digits mlp": "",
    "digits linear": "model=linear",
}
OPTIMIZERS = {"sgd": (SGD, 0.01), "adamw": (ADAPTIVE, 0.001), "rmsprop": (ADAPTIVE, 0.001)}
COMBINATIONS = tuple(
    Combination(f"{task} {optimizer}", f"{overrides} optimizer={optimizer}", grid, constant)
    for task, overrides in TASKS.items()
    for optimizer, (grid, constant) in OPTIMIZERS.items()
)
