"""Models: flax.linen modules, one family per file."""

from runner.registry import import_modules

import_modules(__name__, __path__)
