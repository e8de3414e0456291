"""Composes the configuration of a command line with Hydra's loader; no file is trusted."""

import errno
import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Hydra's public loader is an interface only. Every composition goes through load_configuration,
# those of launchers and sweepers included.
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from runner import registry
from runner.cli.allow_list import check_allowed, dotted, plain
from runner.cli.faults import find
from runner.cli.folders import job_name
from runner.cli.interpolation import check_expansion
from runner.cli.overrides import EXPERIMENT, named_plugins, parse, sign_of, without_swept
from runner.cli.reserved import reserved
from runner.cli.sources import CONF, USERS, named_folder, search_path
from runner.config.default_rates import default_rates
from runner.config.plugins import registered_options
from runner.errors import ConfigError, RunnerError, nearest, shown
from runner.registry import GROUPS

# How many times defaults lists may include the same file.
MAX_INCLUDED = 100
# How many times they may include files in all.
MAX_INCLUSIONS = 500
_LOADS_PER_INCLUSION = 3  # twice for Hydra's tree of defaults, then to be merged
SEARCH_PATH = "hydra.searchpath"
# Hydra raises these around a job, such as ValueError for a wrong configuration of logging.
_AROUND_JOB = (HydraException, OmegaConfBaseException, ValueError)


class Composer(ConfigLoaderImpl):
    """Composes configurations for one command line.

    Attributes:
      config_name: the name of the primary configuration.
      parsed: the overrides of the command line, without ``hydra.searchpath``.
      folders: those of the user's own options.
      plugins: the packages that the command line names; they are imported.
      resumes: whether the command line resumes or reads a saved run (``resume=...``).
      resumes_auto: whether the command line has ``resume=auto`` and there is nothing to resume.
    """

    resumes = resumes_auto = False

    def __init__(self, flags: Namespace) -> None:
        """Finds the folders of settings and imports the plugins that the command line names.

        Raises:
          ConfigError: an override or a folder is not allowed, or a plugin cannot be imported.
        """
        self.config_name: str = flags.config_name
        self._complete = False  # whether installed plugins have been loaded
        self._known: dict[tuple[str, ...], dict[str, Any]] = {}
        # Set by users' files and recipes, in the last composition.
        self._user_keys: set[str] = set()
        searches = [o for o in flags.overrides if o.lstrip("+").startswith(f"{SEARCH_PATH}=")]
        folders = [named_folder("--config-dir", flags.config_dir)] if flags.config_dir else []
        for override in parse(searches):
            paths: Any = override.value()
            for path in paths if isinstance(paths, list) else [paths]:
                folders.append(named_folder(SEARCH_PATH, str(path)))
        self.folders = tuple(folders)
        main = named_folder("--config-path", flags.config_path) if flags.config_path else CONF
        ConfigLoaderImpl.__init__(self, search_path(main, folders))
        self.parsed = parse([line for line in flags.overrides if line not in searches])
        for override in self.parsed:
            override.config_loader = self  # for glob(...)
            self._check_option(override)
        self.plugins = named_plugins(self.parsed)
        registry.import_plugins(self.plugins)
        self._offer_registered()

    @property
    def lines(self) -> list[str]:
        return [str(override.input_line) for override in self.parsed]

    def compose(self, lines: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """The configuration of a run, or the common one of a multirun's jobs.

        Raises:
          ConfigError: Hydra cannot compose it.
        """
        return self.load_configuration(self.config_name, [*lines], mode, True, False)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed = parse(overrides)
        applied = without_swept(parsed) if run_mode is RunMode.MULTIRUN else parsed
        lines = [f"{sign_of(o)}{o.input_line}" for o in applied]
        arguments = (lines, run_mode, from_shell, validate_sweep_overrides)
        with self.answered(overrides), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a missing _self_, for one
            try:
                cfg = ConfigLoaderImpl.load_configuration(self, config_name, *arguments)
            except MissingConfigException:
                if not self._load_installed():
                    raise
                cfg = ConfigLoaderImpl.load_configuration(self, config_name, *arguments)
        typed = [override.input_line for override in parsed if not override.is_hydra_override()]
        cfg.hydra.overrides.task = typed
        for error in reserved(plain(cfg), {override.key_or_group for override in parsed}):
            self._refuse(error, cfg)
        with self.answered(overrides):
            check_expansion(plain(cfg))
        return cfg

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """The configuration of a job; its ``override_dirname`` is short, and safe in a path."""
        cfg = ConfigLoaderImpl.load_sweep_config(self, master_config, sweep_overrides)
        swept = {o.get_key_element() for o in self.parsed if o.is_sweep_override()}
        swept |= (plain(master_config.hydra.sweeper).get("params") or {}).keys()
        overrides = parse(sweep_overrides)
        chosen = [o for o in overrides if o.get_key_element() in swept] or overrides
        with read_write(cfg.hydra):
            name = job_name(chosen, cfg.hydra.job.config.override_dirname)
            cfg.hydra.job.override_dirname = name
        return cfg

    @contextmanager
    def answered(
        self, lines: Sequence[str] | None = None, *, job_folder: Path | None = None
    ) -> Iterator[None]:
        """Converts an exception to an error that names a key or file and what is wrong with it.

        Args:
          lines: the overrides to look for a mistake in; by default those that were typed.
          job_folder: the folder of the job, while one runs: only Hydra's exceptions are converted.

        Raises:
          ConfigError: a mistake in an override or a file.
          OSError: the original one; if it names no file (a full disk), it names ``job_folder``.
        """
        try:
            yield
        except RunnerError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, MissingConfigException):
                error.filename = error.filename or job_folder
                if error.errno != errno.ENAMETOOLONG:
                    raise
            elif job_folder is not None and not isinstance(error, _AROUND_JOB):
                raise
            raise find(error, self.parsed if lines is None else parse(lines), self) from error

    def refuse_sweeps(self, remedy: str, *, of_hydra: bool = False) -> None:
        """Raises ConfigError if an override sweeps values; ``of_hydra`` checks only Hydra's own."""
        for override in self.parsed:
            if override.is_sweep_override() and (override.is_hydra_override() or not of_hydra):
                problem = f"{override.get_value_string()!r} lists several values"
                raise ConfigError(override.key_or_group or "command line", problem, remedy)

    def chooses(self, line: str) -> bool:
        """Whether the override ``line`` chooses an option of a group."""
        group = line.lstrip("+~").partition("=")[0].partition("@")[0]
        return bool(group) and any(source.is_group(group) for source in self.get_sources())

    def settings(self, lines: Sequence[str]) -> dict[str, Any]:
        """Dotted key → setting, with the options that ``lines`` choose if those are valid."""
        for chosen in (tuple(filter(self.chooses, lines)), ()):
            with suppress(Exception):  # an invalid option is reported elsewhere
                if chosen not in self._known:
                    load = ConfigLoaderImpl.load_configuration
                    cfg = load(self, self.config_name, [*chosen], RunMode.MULTIRUN, True, False)
                    self._known[chosen] = dict(dotted(plain(cfg)))
                return self._known[chosen]
        return {}

    def choices(self) -> dict[str, str | None]:
        """Group, or group@package → the option that the files choose."""
        found = self.compute_defaults_list(self.config_name, [], RunMode.MULTIRUN)
        return found.overrides.known_choices

    def options(self, group: str, *, wanted: str = "") -> list[str]:
        """The options of ``group``; loads installed plugins if ``wanted`` is not among them."""
        if wanted and wanted not in self.get_group_options(group):
            self._load_installed()
        return self.get_group_options(group)

    def _refuse(self, error: ConfigError, cfg: DictConfig) -> None:
        """Raises ``error``, about a setting of ``cfg`` that only the command line may give."""
        raise error

    def _check_option(self, override: Override) -> None:
        group = override.key_or_group
        if group not in GROUPS or override.is_delete() or override.is_sweep_override():
            return
        value = override.value()
        if not isinstance(value, str):
            problem = f"{shown(value)} is not the name of an option"
            raise ConfigError(group, problem, nearest("", self.options(group)))

    def _load_installed(self) -> bool:
        """Adds the options of installed plugins; returns whether there are new ones."""
        if self._complete or not registry.load_entry_points():
            return False
        self._complete = True
        self._offer_registered()
        return True

    def _offer_registered(self) -> None:
        """Adds an option for each registered factory that no YAML file configures."""
        options = registered_options()
        known = {group: self.options(group) for group in {group for group, _ in options}}
        for (group, name), settings in options.items():
            if name not in known[group]:
                ConfigStore.instance().store(group=group, name=name, node=settings)

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> Any:
        # Unlike Hydra's, this ignores a hydra.searchpath in a file.
        return OverridesParser.create().parse_overrides(overrides), _Files(self.repository)

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
        """Merges the files; scales rates for the optimizer unless a user or a recipe sets them."""
        self._user_keys.clear()
        cfg = ConfigLoaderImpl._compose_config_from_defaults_list(self, defaults, repo)
        for path, value in default_rates(plain(cfg)).items():
            if ".".join(path) not in self._user_keys:
                OmegaConf.update(cfg, ".".join(path), value, merge=False)
        return cfg

    def _embed_result_config(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ret: ConfigResult, package_override: str | None
    ) -> ConfigResult:
        """Checks a file's settings, as written and in their package, before they are merged."""
        placed = ConfigLoaderImpl._embed_result_config(ret, package_override)
        if placed.provider == USERS:
            for config in (ret.config, placed.config):
                check_allowed(plain(config), ret.path)
        # The rates of a recipe are chosen for its optimizer.
        if placed.provider == USERS or Path(ret.path).parent.name == EXPERIMENT:
            self._user_keys.update(key for key, _ in dotted(plain(placed.config)))
        return placed


class _Files(CachingConfigRepository):
    """Loads each file once; raises ConfigError for defaults lists that include each other."""

    def __init__(self, delegate: IConfigRepository) -> None:
        CachingConfigRepository.__init__(self, delegate)
        self.loads: Counter[str] = Counter()

    def get_schema_source(self) -> ConfigSource:
        raise ConfigLoadError("options are not merged into schemas of the same name")

    def load_config(self, config_path: str) -> ConfigResult | None:
        found = CachingConfigRepository.load_config(self, config_path)
        self.loads[config_path] += 1
        if found and self.loads[config_path] > MAX_INCLUDED * _LOADS_PER_INCLUSION:
            problem = f"refers to itself, or is included more than {MAX_INCLUDED} times"
            raise ConfigError(found.path, problem, "shorten the defaults lists that include it")
        if self.loads.total() > MAX_INCLUSIONS * _LOADS_PER_INCLUSION:
            problem = f"include files more than {MAX_INCLUSIONS} times"
            raise ConfigError("defaults lists", problem, "shorten them")
        return found
