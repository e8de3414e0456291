"""Event files: read back with TensorBoard's own reader; a full disk never stops the training."""

import io
import logging
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from runner.records import events as events_module
from runner.records.events import EventWriter

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

KEEP_ALL = {"scalars": 0, "images": 0}


def read(folder):
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance=KEEP_ALL)
    return accumulator.Reload()


def png(width, height):
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), (255, 0, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs the oracle extra, PyTorch")
def test_pytorch_is_not_imported_and_can_be_imported_later(environment):
    checks = (
        "import sys, runner.records.events",
        "assert 'torch' not in sys.modules",
        "import torch, tensorboardX.x2num",
        "assert tensorboardX.x2num.make_np(torch.ones(2)).tolist() == [1, 1]",
    )
    subprocess.run([sys.executable, "-c", "; ".join(checks)], env=environment, check=True)


def test_every_step_is_there_with_its_exact_float32_value(tmp_path):
    n = 20_000
    rng = np.random.default_rng(0)
    columns = {
        "train/loss": rng.standard_normal(n, dtype=np.float32),
        "schedule/lr": rng.random(n, dtype=np.float32) * np.float32(1e-6),
        "schedule/cycle": np.arange(n, dtype=np.int32) // 300,
    }
    steps, wall_times = np.arange(n) + 10_000, 1.7e9 + np.arange(n) * 1e-4
    writer = EventWriter(tmp_path)
    for start in range(0, n, 777):
        part = slice(start, start + 777)
        writer.scalars(steps[part], {t: c[part] for t, c in columns.items()}, wall_times[part])
    writer.close()
    run = read(tmp_path)
    assert sorted(run.Tags()["scalars"]) == sorted(columns)
    for tag, column in columns.items():
        events = run.Scalars(tag)
        np.testing.assert_array_equal([e.step for e in events], steps)
        np.testing.assert_array_equal([e.wall_time for e in events], wall_times)
        np.testing.assert_array_equal(np.array([e.value for e in events], np.float32), column)


def test_a_reader_sees_what_was_written_before_the_file_is_closed(tmp_path):
    writer = EventWriter(tmp_path)
    writer.scalars(np.array([0]), {"train/loss": np.array([2.5])}, np.array([1.7e9]))
    assert read(tmp_path).Scalars("train/loss")[0].value == 2.5
    writer.close()


def test_hparams_are_in_the_same_run_as_the_scalars(tmp_path):
    writer = EventWriter(tmp_path)
    settings = {"seed": 3, "model.name": "mlp", "scheduler.max_lr": 0.5, "optimizer.nesterov": True}
    writer.hparams(settings)
    writer.close(succeeded=True)
    assert sorted(path.name[:19] for path in tmp_path.iterdir()) == ["events.out.tfevents"]

    plugin_data_pb2 = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    found = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(content)
        for tag, content in read(tmp_path).PluginTagToContent("hparams").items()
    }
    start = found["_hparams_/session_start_info"].session_start_info.hparams
    assert start["seed"].number_value == 3
    assert start["model.name"].string_value == "mlp"
    assert start["scheduler.max_lr"].number_value == 0.5
    assert start["optimizer.nesterov"].bool_value is True
    assert "_hparams_/experiment" not in found  # its columns would be those of every run
    status = found["_hparams_/session_end_info"].session_end_info.status
    assert status == 1  # STATUS_SUCCESS of tensorboard/plugins/hparams/api.proto


def test_a_run_that_failed_is_marked_failed(tmp_path):
    writer = EventWriter(tmp_path)
    writer.hparams({"seed": 0})
    writer.close(succeeded=False)
    plugin_data_pb2 = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    content = read(tmp_path).PluginTagToContent("hparams")["_hparams_/session_end_info"]
    end = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
    assert end.status == 2  # STATUS_FAILURE


def test_a_figure_can_be_read_back(tmp_path):
    writer = EventWriter(tmp_path)
    writer.picture("schedule", png(30, 20))
    writer.picture("schedule", png(3, 2), step=7)
    writer.close()
    image, later = read(tmp_path).Images("schedule")
    assert (image.step, image.width, image.height) == (0, 30, 20)
    assert (later.step, later.width, later.height) == (7, 3, 2)
    assert Image.open(io.BytesIO(image.encoded_image_string)).getpixel((3, 3)) == (255, 0, 0, 255)


def test_a_text_is_shown_at_its_step(tmp_path):
    writer = EventWriter(tmp_path)
    writer.text("settings", "**seed**: 0")
    writer.text("sample", "once upon a time", step=7)
    writer.close()
    run = read(tmp_path)
    found = {tag: run.Tensors(tag)[0] for tag in run.Tags()["tensors"]}
    texts = {tag: (e.step, e.tensor_proto.string_val[0].decode()) for tag, e in found.items()}
    assert texts == {
        "settings/text_summary": (0, "**seed**: 0"),
        "sample/text_summary": (7, "once upon a time"),
    }


@pytest.mark.parametrize("with_hparams", [False, True])
def test_the_end_of_a_session_is_written_once_and_only_after_its_start(tmp_path, with_hparams):
    writer = EventWriter(tmp_path)
    if with_hparams:
        writer.hparams({"seed": 0})
    writer.close()
    written = writer.path.read_bytes()
    writer.close(succeeded=False)
    writer.text("sample", "too late")
    assert writer.path.read_bytes() == written
    assert written.count(b"_hparams_/session_end_info") == with_hparams


def test_attempts_within_one_second_write_separate_files_in_order(tmp_path):
    for attempt in range(5):
        writer = EventWriter(tmp_path)
        writer.scalars(np.array([attempt]), {"a": np.array([attempt])}, np.array([1.7e9]))
        writer.close()
    assert len(list(tmp_path.iterdir())) == 5
    assert [event.step for event in read(tmp_path).Scalars("a")] == [0, 1, 2, 3, 4]


def test_the_name_of_a_file_begins_with_the_second_of_its_creation(tmp_path, monkeypatch):
    """TensorBoard reads the files of a folder in the order of their names."""
    monkeypatch.setattr(events_module.time, "time_ns", lambda: 1_700_000_000_012_345_678)
    monkeypatch.setattr(events_module.socket, "gethostname", lambda: "host")
    writer = EventWriter(tmp_path)
    writer.close()
    expected = f"events.out.tfevents.1700000000.host.012345678.{os.getpid()}"
    assert writer.path.name == expected


class FullAfter(io.FileIO):
    """A file whose disk fills up after ``capacity`` bytes: short writes first, then an error."""

    capacity = 5_000

    def write(self, data):
        if self.tell() >= self.capacity:
            raise OSError(28, "No space left on device")
        return super().write(data[: self.capacity - self.tell()])


def write_until_well_past_full(writer):
    columns = {"a": np.ones(100), "b": np.ones(100)}
    for start in range(0, 1000, 100):
        writer.scalars(start + np.arange(100), columns, np.full(100, 1.7e9))
    writer.picture("schedule", png(4, 4))
    writer.flush()
    writer.close()


def test_a_full_disk_warns_once_and_keeps_the_records_that_fitted(tmp_path, caplog):
    writer = EventWriter(tmp_path)
    writer._file.close()
    writer._file = FullAfter(writer.path, "r+b")
    writer._file.seek(0, os.SEEK_END)
    with caplog.at_level(logging.WARNING, "runner"):
        write_until_well_past_full(writer)
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert str(writer.path) in caplog.text
    steps = [event.step for event in read(tmp_path).Scalars("a")]
    assert steps == list(range(len(steps)))
    assert len(steps) >= 50
    assert writer.lost_at_step == len(steps) // 100 * 100  # of the block that failed


@pytest.mark.parametrize(
    ("purge_step", "count", "lost"), [(None, 0, 0), (40, 0, 40), (40, 3, 43), (None, 5, 5)]
)
def test_the_first_step_that_is_lost_follows_the_last_one_written(
    tmp_path, monkeypatch, purge_step, count, lost
):
    writer = EventWriter(tmp_path, purge_step=purge_step)
    steps = (purge_step or 0) + np.arange(count)
    writer.scalars(steps, {"a": np.ones(count)}, np.full(count, 1.7e9))
    assert writer.lost_at_step is None

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    writer.flush()
    assert writer.lost_at_step == lost


def test_a_folder_that_refuses_the_file_warns_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "runner"):
        write_until_well_past_full(EventWriter(tmp_path / "gone"))
    assert len(caplog.records) == 1
    assert "No such file or directory" in caplog.text


def test_a_file_size_limit_does_not_end_the_process(tmp_path):
    code = """if True:
        import resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        from pathlib import Path
        import numpy as np
        from runner.records.events import EventWriter
        writer = EventWriter(Path(sys.argv[1]))
        for start in range(0, 10_000, 50):
            steps = start + np.arange(50)
            writer.scalars(steps, {"a": np.ones(50)}, np.full(50, 1.7e9))
        writer.close()
        print("trained on")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, "trained on\n"), done.stderr
    assert done.stderr.count("can no longer be written (File too large)") == 1
    steps = [event.step for event in read(tmp_path).Scalars("a")]
    assert steps == list(range(len(steps)))
    assert len(steps) > 200


def test_a_disk_that_is_really_full_warns_once(small_disk, caplog):
    writer = EventWriter(small_disk)
    columns = {"train/loss": np.ones(200)}
    with caplog.at_level(logging.WARNING, "runner"):
        for start in range(0, 10_000, 200):
            writer.scalars(start + np.arange(200), columns, np.full(200, 1.7e9))
        writer.close()
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    steps = [event.step for event in read(small_disk).Scalars("train/loss")]
    assert steps == list(range(len(steps)))
    assert len(steps) > 500


def test_what_was_written_is_on_the_disk_before_the_file_is_closed(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    writer = EventWriter(tmp_path)
    writer.scalars(np.array([0]), {"a": np.array([1.0])}, np.array([1.7e9]))
    assert synced == []
    writer.close()
    assert synced == [writer.path.stat().st_ino]


def test_a_full_disk_leaves_no_part_of_a_record(tmp_path):
    writer = EventWriter(tmp_path)
    writer._file.close()
    writer._file = FullAfter(writer.path, "r+b")
    writer._file.seek(0, os.SEEK_END)
    write_until_well_past_full(writer)
    left, records = writer.path.read_bytes(), 0
    while left:
        length = 8 + 4 + int.from_bytes(left[:8], "little") + 4  # with two checksums
        assert len(left) >= length
        left, records = left[length:], records + 1
    assert records > 50


def test_a_file_of_the_same_name_is_left_as_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(events_module, "_file_name", lambda: "events.out.tfevents.1")
    first = EventWriter(tmp_path)
    first.scalars(np.array([0]), {"a": np.array([1.0])}, np.array([1.7e9]))
    first.close()
    written = first.path.read_bytes()
    second = EventWriter(tmp_path)
    second.scalars(np.array([0]), {"a": np.array([2.0])}, np.array([1.7e9]))
    second.close()
    assert first.path.read_bytes() == written
    assert "events.out.tfevents.1: TensorBoard events can no longer be written (Fi" in caplog.text
