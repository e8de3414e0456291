"""The files of an exported model keep its arrays as they are."""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
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


def test_the_description_is_beside_the_files_with_their_sums_and_in_the_metadata(
    tmp_path: Path,
) -> None:
    description = {"classes": ["é", "b"], "mean": [0.5], "step": 20}
    arrays = {"a": np.ones(2, np.float32)}
    names = write_model(tmp_path, stablehlo=b"program", arrays=arrays, description=description)
    assert names == ["model.stablehlo", "model.safetensors", "model.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert (tmp_path / "model.stablehlo").read_bytes() == b"program"
    sums = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names[:2]}
    text = (tmp_path / "model.json").read_text(encoding="utf-8")
    assert json.loads(text) == {**description, "sha256": sums}
    assert "é" in text
    with safe_open(tmp_path / SAFETENSORS, "np") as file:
        metadata = file.metadata()
    assert metadata == {"classes": '["é", "b"]', "mean": "[0.5]", "step": "20"}
