"""Which cases of a parametrized test belong to the default set; ``.ci/run`` runs all of them."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_except(quick: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """``cases`` as parameters, those that are not in ``quick`` marked ``slow``."""
    cases = list(cases)
    assert all(case in cases for case in quick)
    return [pytest.param(case, marks=() if case in quick else pytest.mark.slow) for case in cases]
