"""Bulk encoding: byte for byte what tensorboardX's own record writer makes of the same events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from runner.records.encoding import SLICE, record, scalar_records


def by_tensorboardx(path, steps, columns, wall_times) -> bytes:
    writer = RecordWriter(str(path))
    for i, step in enumerate(steps):
        event = Event(wall_time=wall_times[i], step=int(step))
        for tag, column in columns.items():
            event.summary.value.add(tag=tag, simple_value=column[i])
        writer.write(event.SerializeToString())
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "by_tensorboardx"


floats = st.floats(width=32, allow_nan=False)
boundaries = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21, 2**28, 2**31 - 1]


@given(
    steps=st.lists(st.sampled_from(boundaries) | st.integers(0, 2**31 - 1), min_size=1, max_size=8),
    tags=st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_records_equal_tensorboardx_byte_for_byte(scratch, steps, tags, data):
    column = arrays(np.float32, len(steps), elements=floats)
    columns = {tag: data.draw(column) for tag in tags}
    wall_times = data.draw(arrays(np.float64, len(steps), elements=st.floats(1, 2e9)))
    expected = by_tensorboardx(scratch, steps, columns, wall_times)
    assert b"".join(scalar_records(np.array(steps), columns, wall_times)) == expected


def test_a_long_chunk_comes_in_slices_and_none_is_lost(scratch):
    n = 3 * SLICE + 7
    steps = np.arange(n) + 2**14 - SLICE // 2
    columns = {"a": np.linspace(-1, 1, n, dtype=np.float32), "b": np.arange(n, dtype=np.int32)}
    wall_times = 1.7e9 + np.arange(n) / 64
    blocks = list(scalar_records(steps, columns, wall_times))
    assert len(blocks) > 3
    assert b"".join(blocks) == by_tensorboardx(scratch, steps, columns, wall_times)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-45])
def test_unusual_values_keep_their_bits(scratch, value):
    columns = {"train/loss": np.array([value], np.float32)}
    blocks = scalar_records(np.array([5]), columns, np.array([1.7e9]))
    assert b"".join(blocks) == by_tensorboardx(scratch, [5], columns, [1.7e9])


def test_strided_columns_are_read_as_they_are(scratch):
    wide = np.arange(20, dtype=np.float32).reshape(10, 2)
    columns, steps, wall_times = {"a": wide[:, 1]}, np.arange(20)[::2], np.linspace(1, 2, 20)[::2]
    expected = by_tensorboardx(scratch, steps, columns, wall_times)
    assert b"".join(scalar_records(steps, columns, wall_times)) == expected


def test_no_steps_give_no_records():
    assert list(scalar_records(np.arange(0), {"a": np.zeros(0)}, np.zeros(0))) == []


def test_a_single_record_is_framed_as_tensorboardx_frames_it(scratch):
    writer = RecordWriter(str(scratch))
    writer.write(b"payload")
    writer.close()
    assert record(b"payload") == scratch.read_bytes()
