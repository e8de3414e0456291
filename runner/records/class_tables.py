"""Metrics of the test split by class: names arrays [classes], and draws confusion matrices."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from runner.errors import reason
from runner.training.tags import PREFIXES

_log = logging.getLogger("runner")
_TEST = f"{PREFIXES['test']}/"


class ClassTables:
    """Names the entries of arrays [classes], and draws matrices [classes, classes]."""

    def __init__(self, labels: Sequence[str], draw: Callable[[str, np.ndarray], bytes]) -> None:
        """``labels`` are those of the classes; ``draw(tag, matrix)`` returns a PNG."""
        self._labels, self._draw = labels, draw
        self._matrices: dict[str, np.ndarray] = {}

    def by_class(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of single classes by tag; keeps matrices for ``pictures``."""
        found: dict[str, float] = {}
        for tag, value in metrics.items():
            if np.ndim(value) == 0 or not tag.startswith(_TEST):
                continue
            array = np.asarray(value)
            if array.ndim == 1:
                labelled = zip(self._labels, map(float, array), strict=True)
                found |= {f"{tag}/{name}": v for name, v in labelled if math.isfinite(v)}
            else:
                self._matrices[tag] = array
        return found

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        """The matrices as (tag, PNG); warns of one that cannot be drawn and leaves it out."""
        for tag, matrix in self._matrices.items():
            try:
                yield tag, self._draw(tag, matrix)
            except Exception as error:  # a broken plotting library does not end the run
                _log.warning("%s was not drawn: %s", tag, reason(error))
