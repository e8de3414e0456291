"""The device of a run, and the cache of compiled programs that runs share."""

import logging
import os
import re
import subprocess
import sys
import warnings
from functools import lru_cache
from tempfile import TemporaryFile

import jax
from platformdirs import user_cache_path

from runner.config import Config
from runner.errors import ConfigError, shown

_log = logging.getLogger("runner")


def prepare_device(config: Config) -> jax.Device:
    """The device of a run, with the compilation cache in use; see ``select_device``."""
    use_compilation_cache(config.compilation_cache)
    return select_device(config.accelerator)


def select_device(accelerator: str) -> jax.Device:
    """The first device of a platform (cpu, gpu, tpu); ``auto`` is the best that JAX finds.

    Raises:
      ConfigError: there is no such device, JAX cannot start the platforms that ``JAX_PLATFORMS``
        names, or XLA cannot read ``XLA_FLAGS``.
    """
    if flags := os.environ.get("XLA_FLAGS"):
        _check_xla_flags(flags)
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
            f"no {accelerator} is available; JAX found {found}",
            f"use accelerator=auto, or install JAX for the {accelerator}",
        ) from error


def _no_platform(error: RuntimeError) -> ConfigError:
    message = str(error).partition(" (set ")[0]  # what follows is advice on JAX_PLATFORMS
    if platforms := os.environ.get("JAX_PLATFORMS"):
        remedy = "unset it, or install JAX for the platforms that it names"
        return ConfigError("JAX_PLATFORMS", f"JAX cannot use {platforms!r} ({message})", remedy)
    problem = f"JAX finds none ({message})"
    return ConfigError("accelerator", problem, "check the installation of JAX")


@lru_cache
def _check_xla_flags(flags: str) -> None:
    """Lets XLA read its flags in another process, as it ends the process if it cannot.

    Raises:
      ConfigError: XLA cannot read them.
    """
    reading = "import jaxlib.xla_client as xla; xla.CompileOptions()"
    command = [sys.executable, "-P", "-c", reading]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    # The first line says what is wrong, after the time and the place in XLA's source.
    message, *_ = re.findall(r"^[EF]\d{4} .*?\] (.*)", done.stderr, re.MULTILINE) or [""]
    if done.returncode and message:
        problem = f"XLA cannot use {shown(flags)} ({message.strip().removesuffix('.')})"
        raise ConfigError("XLA_FLAGS", problem, "correct it, or unset it")


def describe_device(device: jax.Device) -> str:
    """``cpu · 2 cores · jax 0.10.2``, ``gpu · NVIDIA H200 (0 of 1) · jax 0.10.2``."""
    if device.platform == "cpu":
        return f"cpu · {os.cpu_count()} cores · jax {jax.__version__}"
    count = len(jax.devices(device.platform))
    return (
        f"{device.platform} · {device.device_kind} ({device.id} of {count}) · jax {jax.__version__}"
    )


def use_compilation_cache(setting: bool | str) -> None:
    """Keeps compiled programs between processes, in ``setting`` or (True) the user's cache folder.

    A folder that JAX's own configuration or environment names takes precedence over True.
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
    # A program is compiled again if its entry is damaged or does not fit on the disk; a warning for
    # each would not help.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation")
    # Most programs here are small; by default JAX keeps only those that are slow to compile.
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _is_writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError as error:
        _log.warning(
            "compilation_cache: %s cannot be written (%s); compiled programs are not kept",
            folder,
            error.strerror or error,
        )
        return False


class CompileClock:
    """The seconds spent compiling in this process, including cache look-ups."""

    seconds = 0.0

    def __init__(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs


# JAX never removes a listener, so all jobs of a process share one clock.
compile_clock = CompileClock()
