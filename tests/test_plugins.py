"""Plugins: a package that adds a model, a data set, a schedule, an optimizer and a scale_fn."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent

import optax
import pytest

from runner.cli import main
from runner.cli.commands import configure
from runner.config.expression import scale_function
from runner.config.plugins import registered_options
from runner.config.settings import ONE_GROUP, choice
from runner.errors import ConfigError
from runner.optimizers import split
from runner.registry import (
    Registry,
    import_plugins,
    register_model,
    register_optimizer,
    register_scale_fn,
)

CommandLine = Callable[..., CompletedProcess[str]]
InProcess = Callable[..., tuple[int, Path]]

# The plugin of the README, in full.
PACKAGE = """
import flax.linen as nn
import numpy as np
import optax

from runner.config.types import PositiveRates, Rates, Steps
from runner.data.dataset import Dataset, Split
from runner.registry import (
    register_dataset,
    register_model,
    register_optimizer,
    register_scale_fn,
    register_scheduler,
)
from runner.schedules import CyclicLR


class TanhNet(nn.Module):
    width: int
    num_outputs: int

    @nn.compact
    def __call__(self, x_bhwc, *, train):
        x = nn.tanh(nn.Dense(self.width)(x_bhwc.reshape(len(x_bhwc), -1)))
        return nn.Dense(self.num_outputs)(x)


@register_model("tanh_net")
def tanh_net(*, width, num_outputs):
    return TanhNet(width, num_outputs)


@register_dataset("blobs")
def blobs(*, examples=64, distance=4.0):
    noise = np.random.default_rng(0)

    def split(count):
        targets = (np.arange(count) % 2).astype(np.int32)
        inputs = noise.normal(size=(count, 2, 2, 1)) + distance * targets[:, None, None, None]
        return Split(inputs.astype(np.float32), targets)

    return Dataset(
        train=split(examples), test=split(examples), num_classes=2, mean=distance / 2, std=1.0
    )


@register_scheduler("sawtooth")
def sawtooth(*, base_lr: Rates = 0.0, max_lr: PositiveRates, length: Steps = "2ep"):
    return CyclicLR(base_lr=base_lr, max_lr=max_lr, step_size_up=length, step_size_down=1)


@register_scale_fn("root")
def root(x):
    return x**-0.5


register_optimizer("adamaxw", rate_scale=0.01)(optax.adamaxw)
"""


@pytest.fixture
def package(tmp_path: Path, plugin: Callable[[str, str], None]) -> Path:
    plugin("my_models", PACKAGE)
    return tmp_path


@pytest.fixture
def installed(tmp_path: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment of an installed distribution whose entry point is ``ep_models``."""
    site = tmp_path / "site"
    info = site / "my_models-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[runner.plugins]\nmine = ep_models\n")
    (site / "ep_models.py").write_text(
        dedent(
            """
            from runner.registry import register_model, register_scheduler

            print("loaded")

            @register_model("from_entry_point")
            def build(*, width=8, num_outputs):
                raise NotImplementedError

            @register_scheduler("saw_of_entry_point")
            def saw(*, base_lr):
                raise NotImplementedError
            """
        )
    )
    return {"PYTHONPATH": f"{site}:{environment['PYTHONPATH']}"}


@pytest.mark.slow
def test_a_plugin_trains_with_its_own_parts(package: Path, run: InProcess) -> None:
    code, folder = run(
        "plugins=[my_models]",
        "model=tanh_net",
        "model.width=8",
        "dataset=blobs",
        "dataset.distance=6",
        "scheduler=sawtooth",
        "scheduler.max_lr=0.01",
        "optimizer=adamaxw",
        "training.epochs=4",
        "training.batch_size=16",
    )

    assert code == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    # Of 64 examples, a tenth is held out for validation.
    assert summary["steps"] == 4 * ((64 - 6) // 16)
    assert summary["params"] == (4 * 8 + 8) + (8 * 2 + 2)
    assert summary["metrics"]["eval/accuracy"] > 0.9


def test_a_plugins_scale_fn_shapes_the_schedule(package: Path, run: InProcess) -> None:
    code, folder = run(
        "plugins=[my_models]",
        "task=check",
        "scheduler=cyclic",
        "scheduler.scale_fn=root",
        "scheduler.base_lr=0",
        "scheduler.max_lr=1",
        "scheduler.step_size_up=5",
        "training.steps=40",
    )

    assert code == 0
    rows = (folder / "schedule.csv").read_text().splitlines()[1:]
    peaks = [float(rows[step].split(",")[1]) for step in (5, 15, 25, 35)]
    assert peaks == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5], rel=1e-6)


def test_registered_names_are_options(package: Path, environment: dict[str, str]) -> None:
    # In one process, as importing what the package imports takes seconds.
    program = (
        "import sys; from runner.cli import main;"
        "[main(['plugins=[my_models]', *line.split()]) for line in sys.argv[1:]]"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, "--help", "scheduler=sawtooth --cfg job"],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search("^model: .*linear, mlp, resnet, tanh_net, transformer", shown, re.MULTILINE)
    assert re.search("^dataset: arrays, blobs, cifar10", shown, re.MULTILINE)
    assert "name: sawtooth\n  base_lr: 0.0\n  max_lr: ???\n  length: 2ep" in shown


def test_a_plugins_options_are_checked(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(package)
    answers = {
        "model=tanh_net": "model.width: has no value; give one: model.width=",
        "model=tanh_net +model.widht=3": "model.widht: there is no such setting; did you",
        "model=tanh_net +model.num_outputs=3": "model.num_outputs: there is no such",
        "model=tanh_nut": "model: there is no option 'tanh_nut'; did you mean tanh_net?",
    }
    for line, says in answers.items():
        assert main(["plugins=[my_models]", *line.split()]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(f"error: {re.escape(says)}[^\n]*\n", captured.err)
    assert not (package / "outputs").exists()


FOUND = "saw_of_entry_point: scheduler.base_lr: has no value; give one"


@pytest.mark.slow
def test_a_plugins_scheduler_is_compared(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(package)
    broken = """
import jax
from runner.schedules import Schedule


@register_scheduler("broken")
class Broken(Schedule):
    def _rate(self, steps):
        raise RuntimeError("no rate today")
"""
    (package / "my_models.py").write_text(PACKAGE + broken)
    lines = [
        "hydra.run.dir=beside scheduler.max_lr=0.5 task.compare=[sawtooth]",
        "hydra.run.dir=alone scheduler.max_lr=0.5 scheduler=sawtooth",
        "scheduler=cosine task.compare=[sawtooth]",
        "hydra.run.dir=broken task.compare=[broken]",
        "task.compare=[swatooth]",
    ]
    codes = [main(["plugins=[my_models]", "task=check", *line.split()]) for line in lines]

    assert codes == [0, 0, 2, 2, 2]
    beside, alone = package / "beside/schedule_sawtooth.csv", package / "alone/schedule.csv"
    assert beside.read_bytes() == alone.read_bytes()
    assert capsys.readouterr().err.splitlines() == [
        "error: task.compare sawtooth: scheduler.max_lr: has no value; give one: "
        "scheduler.max_lr=...",
        "error: task.compare broken: scheduler: failed (RuntimeError: no rate today); fix it; "
        "HYDRA_FULL_ERROR=1 shows where it failed",
        "error: task.compare: there is no scheduler 'swatooth'; did you mean sawtooth?",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "says"),
    [
        pytest.param("saw_of_entry_point", FOUND, marks=pytest.mark.slow),
        ("one_cycle,saw_of_entry_point", FOUND),
        ("saw_of_entry_pint", "did you mean saw_of_entry_point?"),
    ],
)
def test_a_scheduler_of_an_entry_point_is_compared(
    names: str, says: str, installed: dict[str, str], run_cli: CommandLine
) -> None:
    done = run_cli("task=check", f"task.compare=[{names}]", env=installed)
    assert re.match(f"error: task.compare.*{re.escape(says)}", done.stderr)


@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        (
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module'",
            "install no_such_module, which it imports",
        ),
        ("1 / 0", "ZeroDivisionError", "fix it"),
        ("import sys; sys.exit(3)", "SystemExit", "fix it"),
        ("(", "SyntaxError", "fix it"),
        (
            "from runner.registry import register_model as r\nr('a')(len)\nr('a')(max)",
            "twice",
            "choose another name",
        ),
    ],
)
def test_a_plugin_that_fails_is_named(
    text: str,
    says: str,
    remedy: str,
    plugin: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plugin("broken", text)
    assert main(["plugins=[broken]"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch("error: [^\n]+\n", said)
    assert says in said
    assert f"; {remedy}" in said


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.module"])
def test_a_plugin_that_is_not_there_is_to_be_installed(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        import_plugins([name])
    assert raised.value.remedy == "install it, or run from the folder that holds it"


@pytest.mark.slow
def test_an_entry_point_is_loaded_only_when_it_is_needed(
    installed: dict[str, str], run_cli: CommandLine
) -> None:
    assert "loaded" not in run_cli("--cfg", "job", env=installed).stdout
    assert "loaded" not in run_cli("--help", env=installed).stdout
    shown = run_cli("model=from_entry_point", "model.width=9", "--cfg", "job", env=installed)
    assert "name: from_entry_point\n  width: 9" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        pytest.param("model=from_entry_pint", marks=pytest.mark.slow),
        "-m model=mlp,from_entry_pint",
    ],
)
def test_a_misspelt_name_is_compared_with_those_of_entry_points(
    line: str, installed: dict[str, str], run_cli: CommandLine
) -> None:
    done = run_cli(*line.split(), env=installed)
    assert "did you mean from_entry_point?" in done.stderr


def test_a_name_is_registered_once() -> None:
    registry = Registry("model")
    registry.register("a")(len)
    registry.register("a")(len)
    with pytest.raises(ConfigError, match=r"'a': is registered twice, as builtins\.len"):
        registry.register("a")(max)


def test_arguments_that_the_runner_supplies_are_not_settings() -> None:
    @register_optimizer("supplied")
    def optimizer(learning_rate: float, *, decay: float = 0.5, kind: type = int) -> None: ...

    @register_model("open_ended")
    def model(*, sizes: tuple[int, ...] = (1, 2), num_outputs: int, **more: int) -> None: ...

    options = registered_options()
    assert options["optimizer", "supplied"] == {"name": "supplied", "decay": 0.5}
    assert options["model", "open_ended"] == {"name": "open_ended", "sizes": [1, 2]}


def test_settings_have_the_type_of_the_factorys_annotation() -> None:
    @register_optimizer("typed")
    def optimizer(learning_rate: float, *, decay: float = 0.5, count: int = 1) -> None: ...

    section = {"name": "typed", "decay": 1, "count": 2}
    settings = choice("optimizer", section, None, key="optimizer", groups=ONE_GROUP).settings
    assert [type(settings.decay), type(settings.count)] == [float, int]


def test_a_whole_number_for_a_default_with_a_point_shares_the_program() -> None:
    """The type of a number decides whether it is an argument of the compiled program."""

    @register_optimizer("unannotated")
    def optimizer(learning_rate, *, beta=0.5, order=2):
        return optax.chain(optax.trace(beta), optax.sgd(learning_rate))

    (one, ones), (half, _) = (split("unannotated", {"beta": beta, "order": 2}) for beta in (1, 0.5))
    assert one == half
    assert one.static == (("order", 2),)
    assert (ones.keys(), float(ones["beta"])) == ({"beta"}, 1.0)


def test_an_optimizer_that_returns_no_transformation_is_named() -> None:
    register_optimizer("forgetful")(lambda learning_rate, *, beta=0.5: None)
    with pytest.raises(ConfigError, match=r"^optimizer forgetful: is None; return an optax\."):
        split("forgetful", {"beta": 0.5})


def test_a_scale_fn_is_known_by_its_registered_name() -> None:
    register_scale_fn("known_here")(abs)
    assert scale_function("known_here") is abs
    with pytest.raises(ConfigError, match="did you mean known_here"):
        scale_function("known_her")


def test_of_several_lists_of_plugins_the_last_counts():
    assert configure("plugins=[no_such_package]", "plugins=[]").plugins == ()
