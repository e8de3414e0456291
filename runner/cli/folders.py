"""The folders that Hydra's settings name for a run, a multirun and its members."""

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf

from runner.cli.allow_list import plain
from runner.errors import ConfigError

SUBFOLDER = "hydra.sweep.subdir"

# What names a member's folder without a text that a file could choose.
_NUMBERED = re.compile(r"(\$\{hydra[.:]job\.(num|id|override_dirname)\}|[\w=,+-]+|/)*")
# The longest name of a folder that is made of overrides.
_LONGEST_NAME = 80


class Answering(Protocol):
    """Converts Hydra's exceptions to errors; see ``runner.cli.composition.Composer``."""

    def answered(self) -> AbstractContextManager[None]: ...


def new_folder(
    composer: Answering, cfg: DictConfig, key: str, *, marks: tuple[str, ...], empty: bool = True
) -> tuple[Path, bool]:
    """The folder at ``key``, and whether it was asked for by name, not as one of the moment.

    Raises:
      ConfigError: it names none, or Hydra's record would lie elsewhere; or it must be ``empty`` and
        holds anything but a run, whose ``marks`` have another name be taken.
    """
    folder, record = read_folder(composer, cfg, key), cfg.hydra.output_subdir
    if record is not None and (Path(record).name != record or record in ("", ".", "..")):
        raise ConfigError("hydra.output_subdir", f"{record!r} is not a name", "write .hydra")
    try:
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError:
        names = set()  # claiming it says what is wrong
    if empty and names and not names & {*marks}:
        raise ConfigError(key, f"{folder} is not empty", "name a new folder")
    section, _, name = key.rpartition(".")
    return folder, "${now:" not in plain(OmegaConf.select(cfg, section))[name]


def read_folder(composer: Answering, cfg: DictConfig, key: str) -> Path:
    """The folder at ``key``, with the interpolations in its name resolved.

    Raises:
      ConfigError: it names none.
    """
    with composer.answered():
        folder = OmegaConf.select(cfg, key)
    if not isinstance(folder, str) or not folder.strip() or "\0" in folder:
        raise ConfigError(key, f"{folder!r} is not a folder", "name one")
    return Path(folder)


def member_folder(composer: Answering, member: DictConfig, sweep: Path) -> Path:
    """The folder of a member, which must lie within the one of its sweep.

    Raises:
      ConfigError: it does not.
    """
    subfolder = read_folder(composer, member, SUBFOLDER)
    folder = os.path.normpath(sweep / subfolder)
    if not Path(folder).is_relative_to(os.path.normpath(sweep)):
        problem = f"{str(subfolder)!r} is not inside the folder of the sweep"
        raise ConfigError(SUBFOLDER, problem, "name a folder inside it")
    return sweep / subfolder


def job_name(overrides: Sequence[Override], settings: Any) -> str:
    """A short name for a job's folder that says what the job is: ``mode=triangular2,seed=1``.

    Args:
      overrides: those that tell the job from others.
      settings: ``hydra.job.config.override_dirname``: separators, and keys to leave out.
    """
    pairs = [
        f"{override.key_or_group.rpartition('.')[2]}{settings.kv_sep}{_short(override)}"
        for override in overrides
        if override.key_or_group not in settings.exclude_keys
    ]
    # Letters, digits and signs that neither a shell, a path nor an address has to quote.
    name = re.sub(r"[^\w.,=+%@-]+", "_", settings.item_sep.join(pairs), flags=re.ASCII)
    return name[:_LONGEST_NAME].strip("_.,") or "default"


def _short(override: Override) -> str:
    value = override.value()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return str(value).lower()
    return value.text if isinstance(value, QuotedString) else override.get_value_string()


def check_unseen(cfg: DictConfig) -> None:
    """Checks a sweep whose members only a sweeper of another package will know.

    Raises:
      ConfigError: something else than their number names their folders, or a value comes from the
        environment, which would stand in their records.
    """
    subfolder = plain(cfg.hydra.sweep)["subdir"]
    if not _NUMBERED.fullmatch(str(subfolder)):
        problem = f"{subfolder!r} is not a name with ${{hydra.job.num}} in it"
        raise ConfigError(SUBFOLDER, problem, "write ${hydra.job.num}")
    for key, value in (plain(cfg.hydra.sweeper).get("params") or {}).items():
        if "${" in str(value):
            problem = f"{value!r} holds an interpolation"
            raise ConfigError(f"hydra.sweeper.params.{key}", problem, "write the values themselves")
