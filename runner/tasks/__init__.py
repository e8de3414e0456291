"""Tasks: what a run does. One per file."""

from runner.registry import import_modules

import_modules(__name__, __path__)
