"""The accelerator a run uses, and the compilation cache that spares it the second compile."""

import logging
import os
import warnings
from tempfile import TemporaryFile

import jax
from platformdirs import user_cache_path

from runner.errors import ConfigError

_log = logging.getLogger("runner")


def select_device(accelerator: str) -> jax.Device:
    """The first device of the wanted kind (cpu, gpu, tpu); ``auto`` is the best that JAX finds.

    Raises:
      ConfigError: there is none of that kind, and what was found instead is named; or JAX cannot
        start the platforms that ``JAX_PLATFORMS`` names.
    """
    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise _no_platform(error) from error
    if accelerator == "auto":
        return devices[0]
    try:
        return jax.devices(accelerator)[0]
    except RuntimeError as error:
        found = ", ".join(sorted({device.platform for device in devices}))
        raise ConfigError(
            "accelerator",
            f"no {accelerator} is there; JAX found {found}",
            f"use accelerator=auto, or install JAX for the {accelerator}",
        ) from error


def _no_platform(error: RuntimeError) -> ConfigError:
    said = str(error).partition(" (set ")[0]  # what follows is advice on JAX_PLATFORMS
    if platforms := os.environ.get("JAX_PLATFORMS"):
        remedy = "unset it, or install JAX for what it names"
        return ConfigError("JAX_PLATFORMS", f"JAX cannot use {platforms!r} ({said})", remedy)
    return ConfigError("accelerator", f"JAX finds none ({said})", "check the installation of JAX")


def describe_device(device: jax.Device) -> str:
    """For a person: ``cpu · 2 cores · jax 0.10.2``, ``gpu · NVIDIA H200 (0 of 1) · jax 0.10.2``."""
    if device.platform == "cpu":
        return f"cpu · {os.cpu_count()} cores · jax {jax.__version__}"
    count = len(jax.devices(device.platform))
    return (
        f"{device.platform} · {device.device_kind} ({device.id} of {count}) · jax {jax.__version__}"
    )


def use_compilation_cache(setting: bool | str) -> None:
    """Keeps compiled programs between processes: True in the user's cache folder, or in a folder.

    A folder that JAX's own configuration or environment names is left as it is.
    """
    if setting is False:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    folder = jax.config.values["jax_compilation_cache_dir"]
    if isinstance(setting, str):
        folder = os.path.abspath(os.path.expanduser(setting))
    elif folder is None:
        folder = str(user_cache_path("cyclic-runner", appauthor=False) / "xla")
    usable = "://" in folder or _is_writable(folder)
    jax.config.update("jax_enable_compilation_cache", usable)
    jax.config.update("jax_compilation_cache_dir", folder)
    # A damaged entry, or one that does not fit, is compiled again; a warning for each helps no one.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation")
    # Small programs are most of what runs here; by default JAX keeps only slow ones.
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _is_writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError as error:
        _log.warning(
            "compilation_cache: %s cannot be written (%s); every program is compiled again",
            folder,
            error.strerror or error,
        )
        return False


class CompileClock:
    """Seconds XLA's compiler has taken in this process, cache look-ups included."""

    seconds = 0.0

    def __init__(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs


# JAX keeps its listeners for the life of the process, so there is one clock for all jobs.
compile_clock = CompileClock()
