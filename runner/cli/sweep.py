"""Runs every member of a multirun, in this process or by an installed launcher or sweeper."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from etils import epy
from hydra._internal.callbacks import Callbacks  # run_job requires them, though there are none
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, configure_log, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write

from runner.cli.allow_list import plain
from runner.cli.composition import Composer
from runner.cli.exit import report
from runner.cli.folders import SUBFOLDER, check_unseen, new_folder
from runner.cli.members import compose_member, list_members, try_members
from runner.cli.overrides import quoted
from runner.cli.reading import activate
from runner.config import Config
from runner.config.ranking import find_ranking
from runner.errors import ConfigError, InterruptedRunError, TerminatedRunError, shown
from runner.records.run_folder import claim_sweep

with epy.lazy_imports():
    from runner.records import results
    from runner.report import console, ranking, text

FOLDER, RECORD = "hydra.sweep.dir", "multirun.yaml"

SWEEPER, LAUNCHER, BASIC = "hydra/sweeper", "hydra/launcher", "basic"
DIRECTION = "hydra.sweeper.direction"

Tried = list[tuple[DictConfig, Config | None]]
Failures = Iterator[tuple[int, BaseException]]
# Builds Hydra's task function from a composer and, if already read, the configuration.
JobType = Callable[..., Callable[[DictConfig], float | None]]

log = logging.getLogger(__name__)


def run_many(composer: Composer, cfg: DictConfig, job: JobType, *, where_it_applies: bool) -> int:
    """Runs every member and returns the exit code of the first that failed, or 0.

    Args:
      cfg: the configuration without the swept values.
      where_it_applies: leave a setting out of the members whose options do not have it.

    Raises:
      RunnerError: no member can be composed, or the multirun was stopped.
    """
    activate(cfg)
    folder, explicit = new_folder(composer, cfg, FOLDER, marks=(RECORD,))
    composer.refuse_sweeps("write one for all jobs", of_hydra=True)
    is_basic = cfg.hydra.runtime.choices[SWEEPER] == BASIC
    members, tried = [], []
    if is_basic:
        members = list_members(composer, cfg, where_it_applies=where_it_applies)
        tried = try_members(composer, cfg, folder, members)
    else:
        check_unseen(cfg)
    context = HydraContext(composer, Callbacks())
    with composer.answered():
        if not is_basic:
            _set_direction(composer, cfg)
        plugin = _plugin(composer, cfg, job, context)
    claimed = claim_sweep(folder, explicit=explicit)
    _move(cfg, claimed)
    if not is_basic:
        failures = _swept(plugin, cfg)
    elif plugin:
        failures = _launched(plugin, cfg, members)
    else:
        tried = tried if claimed == folder else []
        failures = _run_here(composer, cfg, job, context, members, tried)
    with composer.answered(job_folder=claimed):
        OmegaConf.save(cfg, claimed / RECORD)
        codes = [_code(number, members[number], error) for number, error in failures]
    _show_ranking(claimed, cfg)
    return codes[0] if codes else 0


def _plugin(composer: Composer, cfg: DictConfig, job: JobType, context: HydraContext) -> Any:
    """The sweeper or the launcher of another package, if one is chosen."""
    plugins, choices = Plugins.instance(), cfg.hydra.runtime.choices
    made = {"config": cfg, "hydra_context": context, "task_function": job(composer)}
    if choices[SWEEPER] != BASIC:
        return plugins.instantiate_sweeper(**made)
    return plugins.instantiate_launcher(**made) if choices[LAUNCHER] != BASIC else None


def _set_direction(composer: Composer, cfg: DictConfig) -> None:
    """Sets the direction of a sweeper that has one to that of the metric.

    Raises:
      ConfigError: the command line gives it another direction, or several.
    """
    if "direction" not in cfg.hydra.sweeper:
        return
    order = find_ranking(cfg.objective.name, cfg.metric)
    wanted = "maximize" if order.highest else "minimize"
    if any(override.key_or_group == DIRECTION for override in composer.parsed):
        given = plain(cfg.hydra.sweeper)["direction"]
        if given not in (wanted, [wanted]):
            best = "highest" if order.highest else "lowest"
            problem = (
                f"{shown(given)} contradicts metric={order.metric}, whose {best} value is best"
            )
            remedy = f"write {DIRECTION}={wanted}, or leave it out, or choose another metric"
            raise ConfigError(DIRECTION, problem, remedy)
    with read_write(cfg.hydra):
        cfg.hydra.sweeper.direction = wanted


def _move(cfg: DictConfig, folder: Path) -> None:
    """Makes ``folder`` the sweep's folder, also for members composed in other processes."""
    with read_write(cfg.hydra):
        cfg.hydra.overrides.hydra.append(f"{FOLDER}={quoted(str(folder))}")
        cfg.hydra.sweep.dir = str(folder)


def _swept(sweeper: Any, cfg: DictConfig) -> Failures:
    """Runs the members that the sweeper of another package chooses."""
    sweeper.sweep(list(plain(cfg.hydra.overrides.task)))  # raises what a member raises
    yield from ()


def _launched(launcher: Any, cfg: DictConfig, members: list[list[str]]) -> Failures:
    """Runs the members with the launcher of another package."""
    size = cfg.hydra.sweeper.max_batch_size or len(members)
    for first in range(0, len(members), size):
        done = launcher.launch(members[first : first + size], initial_job_idx=first)
        for number, returned in enumerate(done, first):
            if returned.status is JobStatus.FAILED:
                yield number, returned._return_value


def _run_here(
    composer: Composer,
    cfg: DictConfig,
    job: JobType,
    context: HydraContext,
    members: list[list[str]],
    tried: Tried,
) -> Failures:
    """Runs the members one after another in this process."""
    folder = Path(cfg.hydra.sweep.dir)
    for number, lines in enumerate(members):
        configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
        log.info("#%d : %s", number, " ".join(lines))
        try:
            if number < len(tried):
                member, config = tried[number]
            else:
                member, config = compose_member(composer, cfg, folder, number, lines)[0], None
            with read_write(member.hydra):
                member.hydra.sweep.dir = str(folder)
            with composer.answered(job_folder=folder):
                done = run_job(job(composer, config), member, FOLDER, SUBFOLDER, context)
        except Exception as error:
            yield number, error
        else:
            if done.status is JobStatus.FAILED:
                yield number, done._return_value


def _show_ranking(folder: Path, cfg: DictConfig) -> None:
    """Prints the jobs that have a summary, ranked by the metric, if there are several."""
    jobs = results.read_results(folder)
    if len(jobs) > 1 and any(job.best for job in jobs):
        order = find_ranking(cfg.objective.name, cfg.metric)
        title = f"{len(jobs):,} jobs by best {order.metric} · {text.short_path(folder)}"
        ranking.print_ranking(console.open_console(), jobs, order, title=title)


def _code(number: int, lines: list[str], error: BaseException) -> int:
    """Reports the failure of a member; a signal that stopped it also ends the multirun."""
    if isinstance(error, (InterruptedRunError, TerminatedRunError)):
        raise error
    return report(error, about=f"job {number} ({' '.join(lines)}): ")
