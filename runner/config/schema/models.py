"""What a ``model`` section may hold, by its name."""

from dataclasses import dataclass

from runner.checks import whole, widths


@dataclass(frozen=True)
class Mlp:
    """The model ``mlp``."""

    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        widths("hidden", self.hidden)


@dataclass(frozen=True)
class Cnn:
    """The model ``cnn``."""

    features: tuple[int, ...]
    dense: int

    def __post_init__(self) -> None:
        widths("features", self.features)
        whole("dense", self.dense, at_least=1)
