"""Objectives: the loss and metrics of a kind of task, one per file."""

from runner.objectives.base import Objective, Targets
from runner.registry import import_modules

import_modules(__name__, __path__)

__all__ = ["Objective", "Targets"]
