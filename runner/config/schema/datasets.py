"""What a ``dataset`` section may hold, by its name."""

from dataclasses import dataclass

from runner.checks import finite, positive
from runner.errors import ConfigError


@dataclass(frozen=True)
class Idx:
    """The data source ``idx``."""

    root: str | None
    mean: float
    std: float

    def __post_init__(self) -> None:
        finite("mean", self.mean)
        positive("std", self.std)
        if not self.root:
            raise ConfigError(
                "root",
                "no folder is given",
                "give the folder that holds train-images-idx3-ubyte, train-labels-idx1-ubyte, "
                "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or .gz",
            )
