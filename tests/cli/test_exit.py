"""What is printed of an error, and limits of memory, without a run."""

import resource
from types import SimpleNamespace

import pytest

from runner.cli import exit as module
from runner.cli.exit import check_memory_limit, explain, report
from runner.errors import ConfigError, OutOfMemoryError


@pytest.mark.parametrize(
    ("limit", "fits"), [(2**31 - 1, False), (2**31, True), (resource.RLIM_INFINITY, True)]
)
def test_jax_needs_two_gibibytes_of_address_space(monkeypatch, limit, fits):
    limits = SimpleNamespace(
        RLIMIT_AS="address space",
        RLIM_INFINITY=resource.RLIM_INFINITY,
        getrlimit={"address space": (limit, resource.RLIM_INFINITY)}.get,
    )
    monkeypatch.setattr(module, "resource", limits)
    if fits:
        check_memory_limit()
    else:
        with pytest.raises(OutOfMemoryError, match=r"2097151 KiB .*; allow at least 2097152"):
            check_memory_limit()


def test_words_and_lines_that_are_too_long_are_shortened_in_the_middle(capsys):
    report(ConfigError("seed", f"is {'a' * 100}{'b' * 101}", "change it"))
    shown = f"{'a' * 100}{'b' * 34}...{'b' * 65};"  # 200 characters, the semicolon included
    assert capsys.readouterr().err == f"error: seed: is {shown} change it\n"
    report(ConfigError("seed", f"is {'a' * 199}", "change it"))
    assert "..." not in capsys.readouterr().err
    report(ConfigError("seed", " ".join(["ab"] * 400), "change it"))
    said = capsys.readouterr().err
    assert len(said) == len("error: ") + 800 + len("...") + 1
    assert said.endswith("ab ab; change it\n")


class XlaRuntimeError(RuntimeError):
    """As jaxlib's, known by its name."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "the memory of this machine is exhausted"),
        (
            MemoryError("Unable to allocate 1.50 TiB for an array"),
            "the memory of this machine is exhausted (asked for 1.50 TiB)",
        ),
        (
            XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12,000 bytes."),
            "the memory of the device is exhausted (asked for 12,000 bytes)",
        ),
        (XlaRuntimeError("INTERNAL: no"), None),
        (RuntimeError("RESOURCE_EXHAUSTED"), None),
        (ImportError("no module"), None),
    ],
)
def test_exhausted_memory_is_told_from_other_failures(error, says):
    found = explain(error)
    assert (found and found.problem) == says
    assert found is None or (found.key, found.exit_code) == ("memory", 6)


@pytest.mark.parametrize(
    ("error", "key", "problem"),
    [
        (OSError(13, "Permission denied", "/x"), "/x", "cannot be read or written (Permission "),
        (OSError("odd"), "output", "cannot be read or written (OSError)"),
        (BrokenPipeError(32, "Broken pipe"), "standard output", "was closed by its reader"),
    ],
)
def test_a_file_that_fails_is_named(error, key, problem):
    found = explain(error)
    assert (found.key, found.exit_code) == (key, 4)
    assert found.problem.startswith(problem)


def test_only_a_value_error_that_names_a_variable_of_jaxs_is_about_the_environment(monkeypatch):
    monkeypatch.setenv("JAX_NUM_THINGS", "x")
    assert explain(ValueError("bad jax_num_things")).key == "JAX_NUM_THINGS"
    assert explain(ValueError("bad jax_num_things_more")) is None
    assert explain(KeyError("JAX_NUM_THINGS")) is None
    assert explain(type("Own", (ValueError,), {})("JAX_NUM_THINGS")) is None
