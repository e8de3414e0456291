"""``load``: the model of a saved run in Python, without the data set it was trained on."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from runner import load
from runner.cli import main
from runner.cli.commands import configure
from runner.data.sources.digits import digits
from runner.errors import ConfigError, DataError, RunnerError, StorageError
from runner.records.checkpoints import Checkpoints
from runner.registry import models

MEAN, STD = digits().train.inputs.mean(), digits().train.inputs.std()

SHORT = ("training.steps=44", "training.eval_every=11", "model.hidden=[16]")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    assert main([f"hydra.run.dir={folder}", *SHORT]) == 0
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return load(saved)


@pytest.fixture(scope="module")
def images():
    return digits().test.inputs


def by_hand(run, images):
    """The logits of an MLP with one hidden layer, in float64."""
    layers = run.variables["params"]
    x = (images.astype(np.float64).reshape(-1, 64) - MEAN) / STD
    hidden = np.maximum(x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
    return hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"]


def test_predictions_are_those_of_the_network_computed_by_hand(loaded, images):
    found = loaded.predict(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(loaded, images), atol=1e-5)


def test_the_flax_module_and_its_variables_give_the_same_logits(loaded, images):
    normalised = (images.astype(np.float32) - loaded.mean) / loaded.std
    logits = loaded.model.apply(loaded.variables, normalised, train=False)
    np.testing.assert_allclose(loaded.predict(images), logits, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 1024, 1025])
def test_any_number_of_inputs_is_predicted(loaded, images, count):
    inputs = np.resize(images, (count, *images.shape[1:]))
    found = loaded.predict(inputs)
    assert (found.shape, found.dtype) == ((count, 10), np.float32)
    np.testing.assert_allclose(found, by_hand(loaded, inputs), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "bfloat16"])
def test_inputs_of_any_number_type_are_the_same_numbers(loaded, images, dtype):
    converted = images[:8].astype(np.dtype(dtype))
    assert np.array_equal(loaded.predict(converted), loaded.predict(images[:8]))


def test_inputs_between_the_stored_numbers_are_not_rounded(loaded, images):
    between, of_bytes = images[:8] + 0.5, replace(loaded, dtype="uint8")
    np.testing.assert_allclose(of_bytes.predict(between), by_hand(loaded, between), atol=1e-5)


def test_numbers_of_inputs_up_to_a_power_of_two_share_a_program(loaded, images, compilations):
    loaded.predict(images[:5])
    before = compilations()
    for count in (6, 7, 8):
        loaded.predict(images[:count])
    assert compilations() == before


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (np.zeros((3, 8, 8)), r"have the shape \[3, 8, 8\], the run's have \[n, 8, 8, 1\]"),
        (np.zeros((3, 9, 8, 1)), r"have the shape \[3, 9, 8, 1\]"),
        (np.float32(3), r"have the shape \[\]"),
        ([], r"have the shape \[0\]"),
        (["a"], "have the type <U1"),
        ([[1], [2, 3]], "are not an array"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(loaded, inputs, said):
    with pytest.raises(DataError, match=f"^inputs: {said}") as caught:
        loaded.predict(inputs)
    assert "\n" not in str(caught.value)


def test_preprocessing_classes_and_settings_come_with_the_model(loaded):
    assert (loaded.shape, loaded.mean, loaded.std) == ((8, 8, 1), MEAN, STD)
    assert loaded.classes == tuple("0123456789")
    assert loaded.step == 44
    assert loaded.config.model.settings.hidden == (16,)


def test_a_model_is_shown_in_a_line_without_its_parameters(loaded):
    assert "shape=(8, 8, 1)" in repr(loaded)
    assert "\n" not in repr(loaded)
    assert "array" not in repr(loaded)


def test_a_step_or_the_best_evaluation_chooses_the_checkpoint(saved, summary):
    best = summary(saved)["best"]["step"]
    assert load(saved, best=True).step == best
    assert load(saved, step=44).step == 44
    with pytest.raises(StorageError, match=r"holds no checkpoint of step 5; known: .*44$"):
        load(saved, step=5)
    with pytest.raises(ConfigError, match=r"^best: true, but step is 44; give one"):
        load(saved, step=44, best=True)


def test_one_of_a_checkpoint_and_a_snapshot_is_chosen(saved):
    for chosen in ({"best": True}, {"step": 44}):
        with pytest.raises(ConfigError, match=r"^snapshot: 5, but step or best chooses a ch"):
            load(saved, **chosen, snapshot=5)
    with pytest.raises(StorageError, match=r"5\.safetensors: there is no such snapshot"):
        load(saved, snapshot=5)


def test_the_plugins_of_a_run_are_asked_for(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    checkpoints = Checkpoints(folder)
    found = checkpoints.load(44)
    checkpoints.save(45, found.arrays, {**found.record, "plugins": ["json"]})
    with pytest.raises(ConfigError, match=r"^plugins: the run was started with \['json'\]; write"):
        load(folder)
    assert load(folder, plugins=["json"]).step == 45


@pytest.mark.slow
def test_neither_the_data_set_nor_the_original_place_of_the_folder_is_needed(
    run, digits_as_idx, images
):
    own = ("dataset=fashion_mnist", f"dataset.root={digits_as_idx}")
    code, folder = run(*SHORT, *own, "dataset.mean=72.94", "dataset.std=90.02")
    assert code == 0
    shutil.rmtree(digits_as_idx)
    moved = folder.rename(folder.with_name("it's a, b=c"))
    found = load(moved)
    assert found.predict(images).shape == (180, 10)
    assert found.classes[:2] == ("T-shirt/top", "Trouser")
    assert (found.mean, found.std) == (72.94, 90.02)


def test_a_hydra_application_keeps_its_own_settings(saved):
    from hydra.core.hydra_config import HydraConfig

    before = HydraConfig.instance().cfg
    load(saved)
    assert HydraConfig.instance().cfg is before
    configure("seed=1")
    assert HydraConfig.instance().cfg is before


def test_a_folder_without_a_run_or_a_checkpoint_is_named(run, tmp_path):
    with pytest.raises(StorageError, match=r"nowhere: is not a run folder: it has no \.hydra/conf"):
        load(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="is not a run folder"):
        load(tmp_path / (300 * "x"))
    code, folder = run(*SHORT, "checkpoint.every=null")
    assert code == 0
    with pytest.raises(StorageError, match="run/checkpoints: holds no checkpoint; name a run"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".hydra/config.yaml", b"\x00\xff"),
        (".hydra/config.yaml", b"model: ["),
        (".hydra/config.yaml", b""),
        (".hydra/config.yaml", b"- 1"),
        ("checkpoints/44/record.json", b"{}"),
        ("checkpoints/44/manifest.json", b""),
    ],
)
def test_a_damaged_file_is_one_line(saved, tmp_path, name, content):
    folder = shutil.copytree(saved, tmp_path / "copy")
    for step in folder.glob("checkpoints/*"):
        if step.name != "44":
            shutil.rmtree(step)
    (folder / name).write_bytes(content)
    with pytest.raises(RunnerError) as caught:
        load(folder)
    assert str(folder) in str(caught.value) or ".hydra" in str(caught.value)


def test_a_model_computes_as_it_did_in_the_run(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    config = folder / ".hydra" / "config.yaml"
    text = config.read_text().replace("compute_dtype: float32", "compute_dtype: bfloat16")
    config.write_text(text)
    assert load(folder).static.compute_dtype == "bfloat16"
    assert load(saved).static.compute_dtype == "float32"


def test_a_model_that_has_changed_since_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    config = folder / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("- 16", "- 17"))
    said = r"params/Dense_0/bias is float32\[16\], not float32\[17\]; use the version of the model"
    with pytest.raises(StorageError, match=said):
        load(folder)


PLUGIN = """
import flax.linen as nn
from runner.registry import register_model

class Normed(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)

@register_model("normed")
def normed(*, num_outputs):
    return Normed(num_outputs)
"""


@pytest.mark.slow
def test_a_run_with_plugins_is_loaded_with_them(run, plugin, summary):
    plugin("normed_model", PLUGIN)
    code, folder = run("plugins=[normed_model]", "model=normed", "training.steps=66")
    assert code == 0
    models._factories.pop("normed")  # as in a process that has not imported the plugin
    del sys.modules["normed_model"]
    with pytest.raises(ConfigError) as caught:
        load("run")
    assert str(caught.value) == (
        "plugins: the run was started with ['normed_model']; "
        "write load('run', plugins=['normed_model'])"
    )
    found, test = load("run", plugins=["normed_model"]), digits().test
    correct = int((found.predict(test.inputs).argmax(-1) == test.targets).sum())
    assert correct == round(summary(folder)["metrics"]["test/accuracy"] * 180)
    assert sorted(found.variables) == ["batch_stats", "params"]


def test_importing_the_package_imports_no_library(environment):
    script = "import runner, sys; print([m for m in ('jax', 'hydra', 'numpy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
