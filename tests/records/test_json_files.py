"""Reading JSON that the runner has not written."""

import os

import pytest

from runner.records.json_files import read_json


def test_values_are_read_as_python_reads_them(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"é": [1, -2, 1.5, null, true, 123456789012345678901]}', encoding="utf-8")
    assert read_json(file) == {"é": [1, -2, 1.5, None, True, 123456789012345678901]}


@pytest.mark.parametrize("digits", [309, 400, 5000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_that_no_float_can_hold_is_refused(tmp_path, sign, digits):
    """Any comparison with a float, or a check that it is finite, would raise OverflowError."""
    file = tmp_path / "a.json"
    file.write_text(f'{{"time": {sign}{digits * "9"}}}')
    with pytest.raises(ValueError, match="out of range"):
        read_json(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "property name"), (b"\xff", "decode"), (100_000 * b"[", "nested too deeply")],
)
def test_a_file_without_json_is_refused(tmp_path, content, said):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_json(file)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(ValueError, match="is not a file"):
            read_json(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")
