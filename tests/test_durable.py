"""A file has its old contents or all of the new ones, which are on the disk before its name is."""

import os

import pytest

from runner.durable import sync, write_file


@pytest.fixture
def calls(monkeypatch):
    """The system calls in order: a sync with what it is of, and a rename."""
    seen, fsync, rename = [], os.fsync, os.replace

    def record_fsync(handle):
        seen.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def record_replace(source, target):
        seen.append(("replace", os.path.basename(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    return seen


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_contents_are_synced_before_the_rename_and_the_folder_after_it(tmp_path, calls):
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    prepared = f".file.{os.getpid()}"
    assert calls == [("fsync", prepared), ("replace", "file"), ("fsync", tmp_path.name)]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_file_and_nothing_else(tmp_path, monkeypatch, error):
    (tmp_path / "file").write_bytes(b"old")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        write_file(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_what_is_not_there_cannot_be_synced(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        sync(tmp_path / "none")


def test_a_link_at_the_name_of_the_prepared_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / f".file.{os.getpid()}").symlink_to("precious")
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (tmp_path / "file").is_symlink()
