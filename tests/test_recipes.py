"""Whole recipes: the packaged experiments, and those in a folder of one's own."""

from pathlib import Path

import pytest

from runner.cli import main
from runner.cli.commands import configure
from runner.cli.sources import CONF
from runner.errors import ConfigError

PACKAGED = sorted(path.stem for path in (Path(CONF) / "experiment").glob("*.yaml"))
MINE = """\
# @package _global_
defaults:
  - override /model: linear
  - override /optimizer: adam
  - _self_

training:
  epochs: 3
scheduler:
  max_lr: 0.3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(MINE)
    return tmp_path


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_recipe_is_valid(name):
    assert configure(f"experiment={name}", *_root(name)).training.epochs


def _root(name):
    text = (Path(CONF) / "experiment" / f"{name}.yaml").read_text()
    return [f"dataset.{key}=x" for key in ("root", "path", "file") if f"dataset.{key}=" in text]


@pytest.mark.parametrize("sign", ["", "+"])
def test_a_recipe_of_ones_own_sets_options_and_settings(folder, sign):
    config = configure("--config-dir", str(folder), f"{sign}experiment=mine")
    assert (config.model.option, config.training.epochs) == ("linear", 3)
    # Its rates are as written; those that it leaves out are scaled for adam, by 0.01.
    assert config.scheduler.settings.max_lr == 0.3
    assert config.scheduler.settings.base_lr == pytest.approx(0.01 * 0.01)


def test_the_command_line_overrides_a_recipe(folder):
    config = configure(
        "--config-dir", str(folder), "experiment=mine", "model=mlp", "training.epochs=2"
    )
    assert (config.model.option, config.training.epochs) == ("mlp", 2)


def test_a_recipe_does_not_name_plugins_and_is_told_where_they_go(folder):
    (folder / "experiment" / "mine.yaml").write_text(f"{MINE}plugins: [my_models]\n")
    with pytest.raises(ConfigError, match=r"^plugins: .*on the command line only: plugins=\[my"):
        configure("--config-dir", str(folder), "experiment=mine")


def test_an_unknown_recipe_is_named(capfd):
    assert main(["experiment=fashion_mnist_cmm", "--cfg", "job"]) == 2
    assert "did you mean fashion_mnist_cnn" in capfd.readouterr().err
