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

# Names of folders that contain nothing but job numbers, overrides and plain characters.
_NUMBERED = re.compile(r"(\$\{hydra[.:]job\.(num|id|override_dirname)\}|[\w=,+-]+|/)*")
# Control characters, which would act on a terminal, and bytes that are not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# The longest name of a folder that is built from overrides, in characters.
_LONGEST_NAME = 80


class Answering(Protocol):
    """Converts Hydra's exceptions to errors; see ``runner.cli.composition.Composer``."""

    def answered(self) -> AbstractContextManager[None]: ...


def new_folder(
    composer: Answering, cfg: DictConfig, key: str, *, marks: tuple[str, ...], empty: bool = True
) -> tuple[Path, bool]:
    """The folder at ``key``, and whether its name is explicit rather than built from the time.

    Args:
      marks: files that show that a folder already holds a run; the new run then takes another name.
      empty: whether a folder with anything else in it is refused.

    Raises:
      ConfigError: the value is not the name of a folder, or that of Hydra's record is not a plain
        name; or the folder is refused.
    """
    folder, record = read_folder(composer, cfg, key), cfg.hydra.output_subdir
    if record is not None and (Path(record).name != record or record in ("", ".", "..")):
        raise ConfigError("hydra.output_subdir", f"{record!r} is not a name", "write .hydra")
    try:
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError:
        names = set()  # claiming the folder reports the error
    if empty and names and not names & {*marks}:
        raise ConfigError(key, f"{folder} is not empty", "name a new folder")
    section, _, name = key.rpartition(".")
    return folder, "${now:" not in plain(OmegaConf.select(cfg, section))[name]


def read_folder(composer: Answering, cfg: DictConfig, key: str) -> Path:
    """The folder at ``key``, with the interpolations in its name resolved.

    Each ``..`` is removed together with the name before it. Otherwise ``new/../victim``, which does
    not exist before ``new`` is created, would seem to be a new folder.

    Raises:
      ConfigError: the value is not the name of a folder.
    """
    with composer.answered():
        folder = OmegaConf.select(cfg, key)
    if not isinstance(folder, str) or not folder.strip() or _UNPRINTABLE.search(folder):
        raise ConfigError(key, f"{folder!r} is not a folder", "name one")
    return Path(os.path.normpath(folder))


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
      overrides: those that distinguish the job from the others.
      settings: ``hydra.job.config.override_dirname``: separators, and keys to leave out.
    """
    pairs = [
        f"{override.key_or_group.rpartition('.')[2]}{settings.kv_sep}{_short(override)}"
        for override in overrides
        if override.key_or_group not in settings.exclude_keys
    ]
    # Only characters that need no quoting in a shell, a path or a URL.
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
    """Checks a sweep whose members a sweeper of another package chooses later.

    Raises:
      ConfigError: a folder name depends on more than job numbers and overrides, or a swept value
        has an interpolation, which could copy an environment variable into the records.
    """
    subfolder = plain(cfg.hydra.sweep)["subdir"]
    if not _NUMBERED.fullmatch(str(subfolder)):
        problem = f"{subfolder!r} depends on more than job numbers and overrides"
        raise ConfigError(SUBFOLDER, problem, "write ${hydra.job.num}")
    for key, value in (plain(cfg.hydra.sweeper).get("params") or {}).items():
        if "${" in str(value):
            problem = f"{value!r} holds an interpolation"
            raise ConfigError(f"hydra.sweeper.params.{key}", problem, "write the values themselves")
