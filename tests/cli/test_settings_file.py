"""Files beside a run's settings, and folders of settings."""

import os

import pytest

from runner.cli.settings_file import read_record, read_settings_file
from runner.cli.sources import named_folder
from runner.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- seed=1\n- a\n", ["seed=1", "a"]),
        ("", None),
        ("a: [", None),
        ("a: !!timestamp x\n", None),
        ("a: !!python/name:os.system\n", None),
        ("a: &a [*a]\n", None),
        ("[" * 2000, None),
    ],
)
def test_a_record_is_plain_and_small_or_not_read(tmp_path, text, found):
    path = tmp_path / "record.yaml"
    path.write_text(text)
    assert read_record(path) == found


def test_a_record_has_at_most_5000_nodes(tmp_path):
    path = tmp_path / "record.yaml"
    path.write_text(f"[{'1,' * 4999}]")  # and the list itself
    assert read_record(path) == [1] * 4999
    path.write_text(f"[{'1,' * 5000}]")
    assert read_record(path) is None


def test_what_is_not_a_small_file_of_text_is_not_a_record(tmp_path):
    assert read_record(tmp_path / "none.yaml") is None
    assert read_record(tmp_path) is None
    os.mkfifo(tmp_path / "pipe")
    assert read_record(tmp_path / "pipe") is None
    (tmp_path / "bytes").write_bytes(b"a: \xff\n")
    assert read_record(tmp_path / "bytes") is None
    text = "# " + "x" * (32 * 1024 - 7) + "\na: 1"
    (tmp_path / "large").write_text(text)
    assert read_record(tmp_path / "large") == {"a": 1}
    (tmp_path / "large").write_text(f"{text}2")
    assert read_record(tmp_path / "large") is None


def test_a_file_of_settings_has_at_most_32_kib(tmp_path):
    path, text = tmp_path / "mine.yaml", "# " + "x" * (32 * 1024 - 7) + "\na: 1"
    path.write_text(text)
    assert read_settings_file(path) == text
    path.write_text(f"{text}2")
    with pytest.raises(ConfigError, match="is larger than 32 KiB"):
        read_settings_file(path)


def test_a_folder_of_settings_is_a_folder_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "file").touch()
    for name in ("conf", f"{tmp_path}/conf", f"file://{tmp_path}/conf", "file://conf"):
        assert named_folder("--config-dir", name) == tmp_path / "conf"
    for name in ("nope", "file", "pkg://conf", "file://nope", "x" * 300, "a\0b"):
        with pytest.raises(ConfigError, match=r"^--config-dir: .* is not a folder; name one"):
            named_folder("--config-dir", name)
