"""The examples in the README run, and do what it says."""

import re
import shlex
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from test_plugins import PACKAGE

from runner import registry
from runner.cli import main
from runner.cli.commands import configure
from runner.config import Config
from runner.config.settings import ONE_GROUP, choice
from runner.data.sources.digits import digits
from runner.errors import ConfigError
from runner.experiment.schedule import Clock, build_schedule
from runner.objectives import Targets
from runner.registry import tasks

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_package_of_ones_own_is_the_one_that_is_tested() -> None:
    assert blocks("python")[0] == PACKAGE.lstrip()


def test_the_schedule_of_optax_gets_its_length_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    factories = dict(registry.schedulers._factories)
    monkeypatch.setattr(registry.schedulers, "_factories", factories)
    exec(blocks("python")[1], {})
    section = {"name": "optax_cosine", "init_value": 0.2, "decay_steps": "50%"}
    chosen = choice("scheduler", section, None, key="scheduler", groups=ONE_GROUP)

    schedule = build_schedule(chosen, Clock(steps_per_epoch=10, total_steps=80))

    # optax's formula over 40 steps: the whole rate, half of it, none of it.
    rates = schedule(jnp.array([0, 20, 40, 79]))
    assert rates.tolist() == pytest.approx([0.2, 0.1, 0.0, 0.0], abs=1e-8)


def test_the_objective_of_ones_own_trains_by_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    factories = dict(registry.objectives._factories)
    monkeypatch.setattr(registry.objectives, "_factories", factories)
    names: dict[str, Any] = {}
    exec(blocks("python")[2], names)
    objective = names["Focal"](targets=Targets(num_classes=2), gamma=2.0)
    # Probabilities of 3/4 and 1/4 of the right class.
    logits = jnp.log(jnp.array([[0.75, 0.25], [0.75, 0.25]]))
    losses, weights = objective.training_losses(logits, jnp.array([0, 1]))
    expected = [np.log(4 / 3) / 16, 9 * np.log(4) / 16]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    assert weights is None
    assert float(objective.losses(logits, jnp.array([0, 1]))[0]) == pytest.approx(np.log(4 / 3))
    assert registry.objectives.get("focal") is names["Focal"]


def test_the_library_example_runs() -> None:
    *statements, last = blocks("python")[3].strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(statements), names)
    peak, cycle, ends = eval(last, names)
    assert (float(peak), int(cycle), list(ends)) == (0.006000000052154064, 1, [4000, 8000])
    assert f"`{names['schedule']!r}`" in README


@pytest.mark.slow
def test_the_examples_of_a_trained_model_run(
    run: Callable[..., tuple[int, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, folder = run("training.steps=44")
    assert code == 0
    for name, block in zip(("evaluation", "export"), blocks("console")[-2:], strict=True):
        arguments = block.replace("RUN_FOLDER", str(folder)).split()[3:]
        assert run(*arguments, name=name)[0] == 0
    images = digits().test.inputs
    names: dict[str, Any] = {"images": images}
    exec(blocks("python")[4].replace("RUN_FOLDER", str(folder)), names)
    predicted = names["run"].predict(images)
    assert names["names"] == [str(index) for index in predicted.argmax(-1)]
    np.testing.assert_allclose(names["logits"], predicted, atol=1e-5)
    with np.load(folder.with_name("evaluation") / "predictions.npz") as file:
        np.testing.assert_allclose(file["predictions"], predicted, atol=1e-5)

    monkeypatch.chdir(folder.with_name("export"))
    names = {"images": images.astype(np.float32)}
    exec(textwrap.dedent(blocks("python")[5]), names)
    np.testing.assert_allclose(names["logits"], predicted, atol=1e-5)


def commands(name: str) -> list[list[str]]:
    """The arguments of every command in the console blocks that begins with ``name``."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [shlex.split(line.removeprefix(name)) for line in lines if line.startswith(f"{name} ")]


RUNNER = commands("python -m runner")
# Arguments without a placeholder: FOLDER, FILE.npz, RUN_FOLDER, ...
COMPLETE = [args for args in RUNNER if not re.search("FOLDER|FILE", " ".join(args))]
MULTIRUNS = [args for args in COMPLETE if "-m" in args]
ONE_RUN = [args for args in COMPLETE if args not in MULTIRUNS]
# They need packages that README's test command does not install.
EXTRA = [args for args in MULTIRUNS if "hydra/" in " ".join(args)]


@pytest.mark.parametrize("args", ONE_RUN, ids=" ".join)
def test_every_command_of_one_run_is_a_configuration(
    args: list[str], plugin: Callable[[str, str], None]
) -> None:
    plugin("my_models", PACKAGE)
    configure(*args)


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Config]:
    """The configurations that the task ``train`` is called with; it does nothing else here."""
    monkeypatch.chdir(tmp_path)
    found: list[Config] = []

    def train(config: Config, *_: Any) -> None:
        found.append(config)

    assert "train" in tasks.names()
    monkeypatch.setitem(tasks._factories, "train", train)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("args", [each for each in MULTIRUNS if each not in EXTRA], ids=" ".join)
def test_every_command_of_a_multirun_runs_several_jobs(
    args: list[str], configs: list[Config]
) -> None:
    assert main(args) == 0
    assert len(configs) > 1


@pytest.mark.slow
@pytest.mark.parametrize("args", EXTRA, ids=" ".join)
def test_every_command_with_a_plugin_of_hydras_runs_several_jobs(
    args: list[str], run_cli: CommandLine, tmp_path: Path
) -> None:
    for plugin in ("optuna_sweeper", "joblib_launcher"):
        if plugin.partition("_")[0] in " ".join(args):
            pytest.importorskip(f"hydra_plugins.hydra_{plugin}", reason="needs an extra")
    is_search = "hydra/sweeper=optuna" in args
    fewer = "hydra.sweeper.n_trials=2" if is_search else "hydra.launcher.n_jobs=2"
    done = run_cli(*args, fewer, "training.steps=2", "model=linear")
    assert done.returncode == 0, done.stderr
    assert len([*tmp_path.glob("outputs/multirun/*/*/*/summary.json")]) > 1


def test_the_commands_about_a_run_take_its_settings(configs: list[Config], tmp_path: Path) -> None:
    chosen = ["scheduler=triangular2", "training.epochs=3", "seed=4"]
    assert main([*chosen, f"hydra.run.dir={tmp_path}/run"]) == 0

    lines = [[arg.replace("RUN_FOLDER", f"{tmp_path}/run") for arg in args] for args in RUNNER]
    (repeat,) = (args for args in lines if f"{tmp_path}/run/.hydra" in args)
    assert configure(*repeat) == configs[0]
    resumed = [configure(*args) for args in lines if f"resume={tmp_path}/run" in args]
    assert len(resumed) >= 2
    assert {(config.seed, config.scheduler.option) for config in resumed} == {(4, "triangular2")}


def test_tensorboard_is_started_with_every_step() -> None:
    """By default it keeps a thousand points of a curve."""
    core = pytest.importorskip("tensorboard.plugins.core.core_plugin")
    program = pytest.importorskip("tensorboard.program")
    (args,) = commands("tensorboard")
    server = program.TensorBoard(plugins=[core.CorePluginLoader()])
    server.configure(("tensorboard", *args))
    assert server.flags.logdir == "outputs"
    assert server.flags.samples_per_plugin == {"scalars": 1_000_000}


def test_every_option_is_listed() -> None:
    for group in (ROOT / "conf").iterdir():
        if group.is_dir() and group.name != "hydra":
            row = next(line for line in README.splitlines() if line.startswith(f"| `{group.name}`"))
            assert {path.stem for path in group.iterdir()} <= set(re.findall(r"`(\w+)`", row))


def test_the_error_shown_is_the_error_given() -> None:
    with pytest.raises(ConfigError) as caught:
        configure("scheduler.base_lr=1.0")
    assert f"error: {caught.value}\n" in blocks("text")
