"""The overrides of a command line: parsing with Hydra's grammar, and queries."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString

from runner.cli.faults import of_grammar
from runner.cli.settings_file import NO_TARGET, TARGET
from runner.errors import ConfigError
from runner.registry import GROUPS

MAX_OVERRIDE = 8_000
# Groups that have mappings whose keys the user chooses.
OPEN_GROUPS = ("scheduler", "optimizer")
# The group of whole recipes.
EXPERIMENT = "experiment"


def parse(lines: Sequence[str]) -> list[Override]:
    """Parses override ``lines`` with Hydra's grammar.

    Raises:
      ConfigError: one does not follow the grammar, is too long, or contains a ``_target_``.
    """
    parser = OverridesParser.create()
    parsed = []
    for line in lines:
        key = line.partition("=")[0]
        if len(line) > MAX_OVERRIDE:
            problem = f"the value has {len(line):,} characters"
            raise ConfigError(key, problem, f"write at most {MAX_OVERRIDE:,}")
        if TARGET in line:
            raise ConfigError(key, f"{TARGET} is not allowed", NO_TARGET)
        try:
            parsed += parser.parse_overrides([line])
        except Exception as error:
            raise of_grammar(error, line) from error
    return parsed


def quoted(text: str) -> str:
    """``text`` as a value of an override, whatever characters it has."""
    return QuotedString(text, Quote.single).with_quotes()


def named_plugins(overrides: list[Override]) -> tuple[str, ...]:
    """The packages in the last override of ``plugins``."""
    named = [o for o in overrides if o.key_or_group == "plugins" and not o.is_delete()]
    if not named:
        return ()
    names: Any = named[-1].value()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problem = f"{named[-1].get_value_string()!r} is not a list of packages"
        raise ConfigError("plugins", problem, "write one such as plugins=[my_models]")
    return tuple(names)


def without_swept(overrides: list[Override]) -> list[Override]:
    """Leaves out settings of groups whose option is swept: not every option may have them."""
    swept = {o.key_or_group for o in overrides if o.is_sweep_override()} & {*GROUPS}
    return [o for o in overrides if o.key_or_group.partition(".")[0] not in swept]


def sign_of(override: Override) -> str:
    """The prefix that Hydra needs for an override: ``+`` or ``++`` if it adds a setting."""
    if override.type is OverrideType.CHANGE and override.key_or_group == EXPERIMENT:
        return "+"  # it is not in the list of defaults, as there is no default experiment
    return "++" if _may_add(override) else ""


def _may_add(override: Override) -> bool:
    """Whether the override may add a name to a setting that is a mapping."""
    section, *names = override.key_or_group.split(".")
    is_mapping = isinstance(override.value(), dict)
    is_change = override.type is OverrideType.CHANGE and section in OPEN_GROUPS
    return is_change and len(names) + is_mapping > 1
