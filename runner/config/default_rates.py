"""The default rates of a scheduler for the chosen optimizer."""

from collections.abc import Iterator, Mapping
from typing import Any

from runner.config.by_name import Parts, PerGroup
from runner.config.markers import Series
from runner.config.signature import markers
from runner.errors import ConfigError
from runner.registry import rate_scale_of, schedulers

Path = tuple[str, ...]


def default_rates(settings: Mapping[str, Any]) -> dict[Path, Any]:
    """The rates of the section ``scheduler``, by path, for the optimizer of ``settings``.

    Schedulers' defaults suit sgd; each is multiplied by the scale that the optimizer declares. Only
    rates that change are returned, and none of an invalid section.

    Args:
      settings: plain containers of default values, interpolations as written.
    """
    optimizer = settings.get("optimizer")
    name = optimizer.get("name") if isinstance(optimizer, Mapping) else None
    scale = rate_scale_of(name) if isinstance(name, str) else 1.0
    if scale == 1:
        return {}
    return {
        path: scaled(value, scale)
        for path, value in rate_settings(settings.get("scheduler"), ("scheduler",))
        if value is not None
    }


def rate_settings(section: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The path and the value of every rate in a scheduler's section, its parts included."""
    name = section.get("name") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        return
    try:
        factory = schedulers.get(name)
    except ConfigError:  # no such scheduler: reported when the section is read
        return
    rates = [key for key, marker in markers(factory, PerGroup).items() if marker.noun == "rates"]
    rates += [key for key, m in markers(factory, Series).items() if isinstance(m.item, PerGroup)]
    yield from (((*path, key), section[key]) for key in rates if key in section)
    for key in markers(factory, Parts):
        parts = section.get(key)
        for part, inner in parts.items() if isinstance(parts, Mapping) else ():
            yield from rate_settings(inner, (*path, key, str(part)))


def scaled(value: Any, scale: float) -> Any:
    """``value`` times ``scale``, to 12 digits: a number, or every number of a list or mapping."""
    if isinstance(value, Mapping):
        return {key: scaled(item, scale) for key, item in value.items()}
    if isinstance(value, list):
        return [scaled(item, scale) for item in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(f"{value * scale:.12g}") if is_number else value
