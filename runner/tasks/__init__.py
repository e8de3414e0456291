"""What a run can be asked to do; one file each, and each reads like a recipe."""

from runner.registry import import_modules

import_modules(__name__, __path__)
