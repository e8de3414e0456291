"""The commands that ``task=range_test`` prints train with what it found, whatever it ran with."""

import shlex

import pytest
import yaml

from runner.cli import main
from runner.cli.commands import configure

SHORT = ("training.epochs=6", "task.seeds=1", "task.verify=false")


@pytest.fixture
def printed_command(tmp_path, capsys):
    """Runs a range test and returns the command that trains, without ``python -m runner``."""

    def run(*args):
        folder = tmp_path / "run"
        assert main([*args, "task=range_test", f"hydra.run.dir={folder}", *SHORT]) == 0
        _, command, _ = capsys.readouterr().out.split("python -m runner ")
        words = shlex.split(command)
        found = yaml.safe_load((folder / "scheduler" / "suggested.yaml").read_text())
        return words, found

    return run


def test_a_recipe_does_not_replace_what_was_found(tmp_path, printed_command):
    """The recipe's 0.33 would win over the option's rate."""
    recipes = tmp_path / "own folder" / "experiment"
    recipes.mkdir(parents=True)
    recipe = "# @package _global_\ndefaults:\n  - override /scheduler: one_cycle\n  - _self_\n"
    (recipes / "mine.yaml").write_text(recipe + "scheduler:\n  max_lr: 0.33\n")
    words, found = printed_command(
        "--config-dir", str(recipes.parent), "experiment=mine", "model=linear"
    )
    scheduler = configure(*words).scheduler
    assert scheduler.name == "one_cycle"
    assert scheduler.settings.max_lr == found["max_lr"] != 0.33


def test_an_option_of_the_users_own_folder_is_found(tmp_path, printed_command):
    models = tmp_path / "own" / "model"
    models.mkdir(parents=True)
    (models / "mine.yaml").write_text("name: linear\n")
    words, found = printed_command("--config-dir", str(models.parent), "model=mine")
    config = configure(*words)
    assert config.scheduler.settings.max_lr == found["max_lr"]
    assert config.model.option == "mine"
