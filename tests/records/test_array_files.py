"""Arrays in Orbax's format; Orbax itself is the oracle."""

import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp

from runner.records.array_files import read_arrays, write_arrays


def test_orbax_reads_the_arrays_as_a_tree(tmp_path):
    arrays = {
        "params/Dense_0/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "params/Dense_0/bias": np.asarray([0.5, -2], ml_dtypes.bfloat16),
        "step": np.asarray(7, np.uint32),
    }
    write_arrays(tmp_path / "state", arrays)
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.restore(tmp_path / "state")
    assert {*tree} == {"params", "step"}
    assert {*tree["params"]["Dense_0"]} == {"kernel", "bias"}
    for name, array in arrays.items():
        found = tree
        for part in name.split("/"):
            found = found[part]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_arrays_that_orbax_has_written_are_read_by_name(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", {"params": {"kernel": kernel}, "step": np.asarray(3)})
    arrays = read_arrays(tmp_path / "state")
    assert {*arrays} == {"params/kernel", "step"}
    np.testing.assert_array_equal(arrays["params/kernel"], kernel)
    assert arrays["step"] == 3
