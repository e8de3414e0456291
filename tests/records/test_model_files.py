"""The files of an exported model keep its arrays as they are."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from runner.records.model_files import SAFETENSORS, write_model


def test_arrays_keep_their_shapes_and_values(tmp_path: Path) -> None:
    arrays = {
        "count": np.array(7, np.int32),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    }
    write_model(tmp_path, stablehlo=b"", arrays=arrays, description={})
    stored = load_file(tmp_path / SAFETENSORS)
    assert stored["count"].shape == ()
    assert stored["count"] == 7
    np.testing.assert_array_equal(stored["transposed"], [[0, 3], [1, 4], [2, 5]])
