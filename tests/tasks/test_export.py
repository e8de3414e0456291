"""``task=export``: files that JAX and safetensors read alone, with the logits of evaluation."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from safetensors import safe_open
from safetensors.numpy import load_file
from sampling import slow_except

from runner import load
from runner.cli import main
from runner.data.sources.digits import digits
from runner.errors import ConfigError
from runner.experiment.export import exported_model

MEAN, STD = digits().train.inputs.mean(), digits().train.inputs.std()
RUNS = {
    "mlp": ("model.hidden=[16]",),
    "cnn": ("model=cnn", "model.features=[4,8]", "model.dense=8"),
    "average in bfloat16": ("training.ema_decay=0.9", "training.compute_dtype=bfloat16"),
}

# Run where importing this package fails.
ALONE = """
import sys
sys.modules["runner"] = None
import numpy as np
from jax import export

with open("export/model.stablehlo", "rb") as file:
    exported = export.deserialize(bytearray(file.read()))
images = np.load("images.npy")
assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
np.save("logits.npy", exported.call(images))
np.save("first.npy", exported.call(images[:1]))
"""


@pytest.fixture(scope="module", params=slow_except(["mlp"], RUNS))
def saved(request, tmp_path_factory):
    """A run, its export and its predictions, next to each other in a folder."""
    folder = tmp_path_factory.mktemp("saved")

    def run(name, *overrides):
        assert main([f"hydra.run.dir={folder / name}", *overrides]) == 0

    run("trained", "training.steps=44", *RUNS[request.param])
    of = f"resume={folder / 'trained'}"
    run("evaluation", "task=evaluate", "task.predictions=true", of)
    run("export", "task=export", of)
    return folder


def test_stablehlo_gives_the_logits_of_evaluation_without_this_package(saved):
    np.save(saved / "images.npy", digits().test.inputs.astype(np.float32))
    subprocess.run([sys.executable, "-c", ALONE], cwd=saved, check=True, timeout=180)
    with np.load(saved / "evaluation" / "predictions.npz") as file:
        expected = file["predictions"]
    logits, first = np.load(saved / "logits.npy"), np.load(saved / "first.npy")
    assert (logits.dtype, logits.shape, first.shape) == (np.float32, (180, 10), (1, 10))
    assert np.abs(logits - expected).max() <= 1e-5
    assert np.abs(first - expected[:1]).max() <= 1e-5


def test_safetensors_holds_the_variables_of_the_module(saved):
    path = saved / "export" / "model.safetensors"
    variables = unflatten_dict(load_file(path), sep="/")
    run, images = load(saved / "trained"), digits().test.inputs.astype(np.float32)
    assert jax.tree.structure(variables) == jax.tree.structure(run.variables)
    equal = jax.tree.map(np.array_equal, variables, run.variables)
    assert all(jax.tree.leaves(equal))
    with safe_open(path, "np") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
    steps = metadata["preprocessing"]
    assert (steps["mean"], steps["std"]) == pytest.approx((MEAN, STD))
    assert metadata["classes"] == list("0123456789")
    if run.static.compute_dtype == "float32":
        normalised = (images - steps["mean"]) / steps["std"]
        logits = run.model.apply(variables, normalised, train=False)
        assert np.abs(logits - run.predict(images)).max() <= 1e-5


def test_the_description_names_shapes_settings_and_hashes(saved):
    folder = saved / "export"
    found = json.loads((folder / "model.json").read_text())
    assert found["inputs"] == {"dtype": "float32", "shape": ["batch", 8, 8, 1]}
    assert found["outputs"] == {"dtype": "float32", "shape": ["batch", 10]}
    assert found["platforms"] == ["cpu", "cuda", "tpu"]
    assert found["parent"] == {"folder": str(saved / "trained"), "step": 44}
    assert found["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.stablehlo", "model.safetensors")
    }


class Callback(nn.Module):
    """Calls back to Python, which no exported program can."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(10)(x.reshape(len(x), -1))
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(np.asarray, shape, x, vmap_method="sequential")


@pytest.mark.slow
def test_a_model_that_cannot_be_exported_is_named(saved):
    run = load(saved / "trained")
    module = Callback()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)
    changed = replace(run, static=replace(run.static, model=module), variables=variables)
    with pytest.raises(ConfigError, match=r"^model \w+: cannot be exported \(.+\); use load"):
        exported_model(changed)


def test_an_export_needs_a_run(run, capsys):
    code, folder = run("task=export")
    assert code == 2
    assert (
        "error: resume: is null, but the task needs a run; add resume=" in capsys.readouterr().err
    )
    assert not folder.exists()
