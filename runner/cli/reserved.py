"""Settings for the command line only, as they decide what is read, written or run."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from runner.errors import ConfigError

CACHE, DOWNLOAD, RESUME = "compilation_cache", "dataset.download", "resume"
# What a resumed run uses in place of the recorded values.
DEFAULTS = {CACHE: True, DOWNLOAD: False}


def reserved(settings: Mapping[str, Any], given: Collection[str]) -> Iterator[ConfigError]:
    """An error for each such setting that is set, but not ``given`` on the command line."""
    dataset = settings.get("dataset")
    downloads = dataset.get("download") if isinstance(dataset, Mapping) else None
    found = {
        CACHE: (isinstance(settings.get(CACHE), str), "may not name its folder", "FOLDER"),
        DOWNLOAD: (downloads not in (None, False), "may not start a download", "true"),
        RESUME: (bool(settings.get(RESUME)), "cannot resume a run", "RUN_FOLDER"),
    }
    for key, (is_set, problem, value) in found.items():
        if is_set and key not in given:
            remedy = f"give it on the command line: {key}={value}"
            yield ConfigError(key, f"a configuration file {problem}", remedy)
