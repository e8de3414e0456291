"""Missing devices are reported; problems with the compilation cache never stop a run."""

import warnings

import jax
import pytest

from runner.errors import ConfigError
from runner.experiment import device
from runner.experiment.device import select_device, use_compilation_cache

SETTINGS = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")


@pytest.fixture(autouse=True)
def _restored():
    before = {key: jax.config.values[key] for key in SETTINGS}
    yield
    for key, value in before.items():
        jax.config.update(key, value)


def test_a_cache_folder_that_cannot_be_written_gives_one_warning_and_no_cache(tmp_path, caplog):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        caplog.clear()
        use_compilation_cache(str(folder))
        assert not jax.config.values["jax_enable_compilation_cache"]
        (warning,) = caplog.messages
        assert warning.startswith(f"compilation_cache: {folder} cannot be written (")


def test_a_cache_folder_is_created_and_empty_until_something_is_compiled(tmp_path, caplog):
    use_compilation_cache(str(tmp_path / "a" / "b"))
    assert jax.config.values["jax_enable_compilation_cache"]
    assert list((tmp_path / "a" / "b").iterdir()) == []
    assert caplog.messages == []


def test_a_folder_that_jax_is_configured_with_is_kept_unless_another_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(device, "user_cache_path", lambda *_, **__: tmp_path / "users")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    own = str(tmp_path / "own")
    for configured, setting, folder in (
        (None, True, tmp_path / "users" / "xla"),
        (own, True, own),
        (own, "~/named", tmp_path / "named"),
        (own, "gs://bucket/xla", "gs://bucket/xla"),
    ):
        jax.config.update("jax_compilation_cache_dir", configured)
        jax.config.update("jax_enable_compilation_cache", False)
        if "://" in str(folder):
            jax.config.update("jax_compilation_cache_dir", setting)
            setting = True
        use_compilation_cache(setting)
        assert jax.config.values["jax_compilation_cache_dir"] == str(folder)
        assert jax.config.values["jax_enable_compilation_cache"]
        assert jax.config.values["jax_persistent_cache_min_entry_size_bytes"] == -1
        assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 0
    assert not (tmp_path / "gs:").exists()
    use_compilation_cache(False)
    assert not jax.config.values["jax_enable_compilation_cache"]


def test_a_damaged_cache_entry_gives_no_warning(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        use_compilation_cache(str(tmp_path))
        warnings.warn("Error reading persistent compilation cache entry for 'jit_f'", stacklevel=1)
    assert caught == []


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
@pytest.mark.parametrize(
    ("platforms", "says"),
    [
        ("gpu", "JAX_PLATFORMS: JAX cannot use 'gpu' (no 'gpu' here); unset it"),
        ("", "accelerator: JAX finds none (no 'gpu' here); check"),
    ],
)
def test_platforms_that_jax_cannot_use_are_named(monkeypatch, accelerator, platforms, says):
    def refuse(_=None):
        raise RuntimeError("no 'gpu' here (set JAX_PLATFORMS='' to ...)")

    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(jax, "devices", refuse)
    with pytest.raises(ConfigError) as caught:
        select_device(accelerator)
    assert str(caught.value).startswith(says)
