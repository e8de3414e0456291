"""The command line as a user meets it: help, answers to bad input, run folders, exit codes."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from sampling import slow_except

from runner.cli import commands, main
from runner.cli.sources import CONF
from runner.config import Config
from runner.errors import (
    DataError,
    DivergedError,
    InterruptedRunError,
    StorageError,
    TerminatedRunError,
)
from runner.records.ending import Ending
from runner.records.results import JobResult
from runner.registry import tasks
from runner.signals import EndAtOnceError

Completed = subprocess.CompletedProcess[str]
Called = list[tuple[Config, Path]]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)


@pytest.fixture
def fake_task(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Replaces the task ``train`` by one that runs ``action`` and records its calls."""

    def install(action: Callable[[Config], None] = lambda config: None) -> Called:
        calls: Called = []

        def run(config: Config, folder: Path, ending: Ending) -> None:
            calls.append((config, folder))
            action(config)

        assert "train" in tasks.names()
        monkeypatch.setitem(tasks._factories, "train", run)
        return calls

    return install


@pytest.fixture
def while_importing(environment: dict[str, str], tmp_path: Path) -> Callable[..., Completed]:
    """Runs the runner in ``run``, but does ``action`` as ``module`` is about to be imported."""

    def run(module: str, action: str, *args: str) -> Completed:
        program = (
            "import os, sys, runner.cli\n"
            "class Finder:\n"
            "    def find_spec(self, name, path, target=None):\n"
            f"        if name == {module!r}: exec({action!r}, {{'os': os}})\n"
            "sys.meta_path.insert(0, Finder())\n"
            f"sys.exit(runner.cli.main({['hydra.run.dir=run', 'seed=5', *args]}))"
        )
        return subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def refuse(capsys: pytest.CaptureFixture[str], *args: str, code: int = 2) -> str:
    """Runs ``args``, which must end in one line of error and leave nothing behind."""
    assert main(list(args)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"error: [^\n]+: [^\n]+; [^\n]+\n", captured.err)
    assert not list(Path.cwd().glob("outputs*"))
    return captured.err.removeprefix("error: ")


def _subject(case: tuple[str, str, str]) -> tuple[str, bool]:
    line, key, _ = case
    return key, line.startswith("-m ")


# (command line, key, what the line says)
REFUSED = [
    ("seed=abc", "seed", "'abc' is not a whole number; write one such as"),
    ("seed=1.5", "seed", "1.5 is not a whole number"),
    ("seed=010", "seed", "'010'"),
    ("seed=12:30", "seed", "'12:30'"),
    ("seed=-1", "seed", "from 0 to 2147483647"),
    ("seed=2147483648", "seed", "from 0 to 2147483647"),
    ("seed=true", "seed", "true is not a whole number"),
    ("seed=null", "seed", "null is not a whole number"),
    ("seed=", "seed", "''"),
    ("seed=[1,2]", "seed", "[1, 2]"),
    ("seed={a:1}", "seed", "{'a': 1}"),
    ("seed=" + "9" * 5000, "seed", "4300 digits"),
    ('seed="ü 漢"', "seed", "'ü 漢'"),
    ("++seed=x", "seed", "'x'"),
    ("+seed=4", "seed", "leave out the +"),
    ("~seed", "seed", "has no value"),
    ("~sed", "~sed", "did you mean seed"),
    ("training.batch_size=abc", "training.batch_size", "'abc' is not a whole number"),
    ("training.batch_size=0", "training.batch_size", "0 is not an integer from 1"),
    ("training.batchsize=8", "training.batchsize", "did you mean batch_size?"),
    ("+training.batchsize=8", "training.batchsize", "did you mean batch_size?"),
    ("training=5", "training", "5 is not a mapping"),
    ("training.epochs=no", "training.epochs", "'no' is not a number"),
    ("training.epochs=inf", "training.epochs", "inf is not finite"),
    ("training.epochs=1e400", "training.epochs", "not finite"),
    ("training.epochs=.nan", "training.epochs", "'.nan'"),
    ("training.epochs=nan", "training.epochs", "nan is not finite"),
    ("training.epochs=0", "training.epochs", "above 0"),
    ("training.epochs=null", "training.epochs", "training.steps"),
    ("training.steps=0", "training.steps", "0 is not a length"),
    ("training.steps=0ep", "training.steps", "'0ep' is not a length"),
    ("training.steps=25%", "training.steps", "which this setting defines"),
    ("training.steps=3000000000", "training.steps", "2147483647"),
    ("training.eval_every=5epochs", "training.eval_every", "'5epochs' is not a length"),
    ("training.log_every=null", "training.log_every", "null is not a length"),
    ("training.chunk=big", "training.chunk", "auto or a whole number"),
    ("training.dispatch=scam", "training.dispatch", "did you mean scan?"),
    ("accelerator=gup", "accelerator", "did you mean gpu?"),
    ("compilation_cache=5", "compilation_cache", "5 is not true or false or a string"),
    ("+training." + "x" * 5000 + "=1", "configuration", "File name too long"),
    ("scheduler=" + "x" * 5000, "configuration", "File name too long"),
    ("+typo=1", "typo", "there is no such setting; python -m runner --help lists"),
    ("shceduler=constant", "shceduler", "did you mean scheduler"),
    (
        "scheduler=triangulr",
        "scheduler",
        "did you mean triangular or triangular2 or triangular_lr?",
    ),
    (
        "scheduler=foo",
        "scheduler",
        "known: auto, chained, constant, cosine, cosine_restarts, cyclic, exp",
    ),
    ("scheduler=", "scheduler", "known: auto, chained"),
    ("scheduler=null", "scheduler", "null is not the name of an option"),
    ("scheduler=[triangular,constant]", "scheduler", "is not the name of an option"),
    ("~scheduler", "scheduler", "has no value"),
    ("+scheduler@x=constant", "x", "there is no such setting"),
    ("scheduler.base_lr=9 scheduler.max_lr=8", "scheduler.base_lr", "9.0 is above max_lr (8.0)"),
    ("scheduler.step_size_up=0", "scheduler.step_size_up", "0 is not a length"),
    ("scheduler.step_size_up=4294967296", "scheduler.step_size_up", "2147483647"),
    ("scheduler.gamma=nan", "scheduler.gamma", "nan is not finite"),
    ("scheduler.mode=triangle", "scheduler.mode", "did you mean triangular"),
    ("scheduler.cycle_momentum=yes", "scheduler.cycle_momentum", "'yes' is not true or false"),
    ("scheduler.scale_fn=__import__('os')", "scheduler.scale_fn", "cannot be parsed"),
    ("scheduler.scale_fn=nonesuch", "scheduler.scale_fn", "'nonesuch' is neither an expression"),
    ("scheduler.scale_fn=9**9**9", "scheduler.scale_fn", "exponent"),
    ("scheduler.scale_fn=" + "-" * 100_000 + "x", "scheduler.scale_fn", "characters"),
    ("scheduler=constant scheduler.max_lr=1", "scheduler.max_lr", "did you mean base_lr?"),
    ("optimizer.momentum=1", "optimizer.momentum", "below 1"),
    ("optimizer.nesterov=true optimizer.momentum=null", "optimizer.nesterov", "momentum"),
    (
        "scheduler.cycle_momentum=true optimizer.momentum=null",
        "scheduler.cycle_momentum",
        "optimizer.momentum is null",
    ),
    ("model.hidden=[]", "model.hidden", "not a list of whole numbers"),
    ("model.hidden=128", "model.hidden", "not a list of whole numbers"),
    ("model.hidden=[64,0]", "model.hidden[1]", "0 is not an integer from 1"),
    ("model.name=mpl", "model.name", "did you mean mlp?"),
    ("task=chekc", "task", "did you mean check?"),
    ("task.compare=[cosine]", "task.compare", "no such setting; task takes no settings here"),
    ("+task.compare=[cosine]", "task.compare", "no such setting; task takes no settings here"),
    ("task=check task.compare=[one_cylce]", "task.compare", "'one_cylce'; did you mean one_cycle?"),
    (
        "task=check task.compare=[cosine,x]",
        "task.compare",
        "no scheduler 'x'; known: auto, chained",
    ),
    ("task=check task.compare=[../optimizer/sgd]", "task.compare", "there is no scheduler '../opt"),
    (
        "task=check task.compare=cosine",
        "task.compare",
        "'cosine' is not a list of strings; write one such as [",
    ),
    ("task=check task.compare=[1]", "task.compare", "[1] is not a list of strings"),
    ("task=check task.compare=null", "task.compare", "null is not a list of strings"),
    ("task=check task.compare=cosine,linear", "task.compare", "add -m"),
    (
        "task=check scheduler=cosine scheduler.base_lr=9 task.compare=[triangular]",
        "task.compare triangular: scheduler.base_lr",
        "9.0 is above max_lr (0.2)",
    ),
    (
        "task=check optimizer=adagrad task.compare=[one_cycle]",
        "task.compare one_cycle: scheduler.cycle_momentum",
        "the optimizer adagrad has no momentum",
    ),
    (
        "task=check scheduler.max_lr=${scheduler.gamma} task.compare=[one_cycle]",
        "task.compare one_cycle: scheduler.max_lr",
        "Interpolation key 'scheduler.gamma' not found; name a setting",
    ),
    ("-m task=check task.compare=[x],[y]", "task.compare", "there is no scheduler 'x'"),
    ("dataset=mnist", "dataset.root", "train-images-idx3-ubyte"),
    ("plugins=my_models", "plugins", "write one such as plugins=[my_models]"),
    ("plugins=[no_such_package]", "plugins", "'no_such_package' cannot be imported"),
    ("seed=${nope}", "seed", "Interpolation key 'nope' not found; name a setting"),
    ("seed=${seed}", "seed", "Recursive"),
    ("seed=${no_resolver:1}", "seed", "no_resolver"),
    ("seed=${oc.env:NO_SUCH_VARIABLE}", "seed", "NO_SUCH_VARIABLE is not set"),
    ("hydra.job.env_copy=[NO_SUCH_VARIABLE]", "NO_SUCH_VARIABLE", "variable is not set"),
    ("seed=0,1", "seed", "add -m"),
    ("foo", "foo", "neither key=value nor a flag"),
    ("=", "command line", "there is no such setting"),
    ("seed=[[[", "seed", "cannot be parsed"),
    ("--bogus", "command line", "unrecognized arguments: --bogus"),
    ("--cfg everything", "command line", "invalid choice"),
    ("--resolve", "--resolve", "--cfg or --help"),
    ("-m --cfg job", "command line", "exclude each other"),
    ("--cfg job --package nope", "--package", "'nope'"),
    ("--config-name nope", "--config-name", "'nope'"),
    ("--config-dir nope", "--config-dir", "'nope' is not a folder"),
    ("--experimental-rerun x", "--experimental-rerun", "pickle"),
    ("hydra/launcher=nope", "hydra/launcher", "known: basic"),
    ("hydra.run.dri=x", "hydra.run.dri", "did you mean dir?"),
    ("hydra.run.dir=", "hydra.run.dir", "'' is not a folder"),
    ("hydra.searchpath=[file:///nope]", "hydra.searchpath", "'/nope' is not a folder"),
    ("-m seed=a,b", "seed", "'a' is not a whole number"),
    ("-m typo=1,2", "typo", "there is no such setting"),
    ("-m scheduler=triangular,nope", "scheduler", "there is no option 'nope'"),
    (
        "-m scheduler=triangular,constant scheduler.max_lr=1",
        "scheduler.max_lr",
        "scheduler=constant has no setting max_lr; did you mean base_lr?",
    ),
    ("-m seed=range(0)", "seed", "gives no value"),
    ("-m seed=range(1000000000)", "seed", "at most 10,000"),
    ("-m seed=interval(0,1)", "seed", "is not a list of values"),
    ("-m seed=0,1 hydra.sweep.subdir=x", "hydra.sweep.subdir", "two jobs would write to 'x'"),
    ("-m plugins=a,b", "plugins", "is not a list of packages"),
    ("-m hydra.run.dir=a,b", "hydra.run.dir", "write one for all jobs"),
]


# Of each key the first three, where a multirun counts as a key of its own; and what no other tells.
UNLIKE_OTHERS = [
    "+seed=4",
    "seed=[[[",
    "seed=0,1",
    "seed=${nope}",
    "seed=${seed}",
    "seed=${no_resolver:1}",
    "seed=${oc.env:NO_SUCH_VARIABLE}",
    "scheduler=null",
    "~scheduler",
    "-m seed=interval(0,1)",
]
QUICK = [
    case
    for place, case in enumerate(REFUSED)
    if [_subject(earlier) for earlier in REFUSED[:place]].count(_subject(case)) < 3
    or case[0] in UNLIKE_OTHERS
]


@pytest.mark.parametrize(
    "case", slow_except(QUICK, REFUSED), ids=[line[:40] for line, *_ in REFUSED]
)
def test_bad_input_is_answered_in_one_line(
    case: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    line, key, says = case
    said = refuse(capsys, *(line.split(" ") if '"' not in line else [line]))

    assert said.startswith(f"{key}: ")
    assert says in said


def test_an_environment_variable_is_named_and_its_value_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    for line in (
        "seed=${oc.env:MY_SECRET}",
        "scheduler=${oc.env:MY_SECRET}",
        "accelerator=${training.dispatch} training.dispatch=${oc.env:MY_SECRET}",
    ):
        said = refuse(capsys, *line.split(" "))
        assert "hunter2" not in said
        assert "MY_SECRET" in said


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--cfg", "job"],
        ["seed=x"],
        ["-m", "seed=x,y"],
        ["task=check", "task.compare=[one_cycle,one_cylce]"],
        ["task=check", "scheduler.max_lr=-1", "task.compare=[one_cycle]"],
    ],
)
def test_help_and_errors_do_without_jax_which_takes_a_second_to_import(
    args: list[str], run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    imports = run_cli(*args, env={"PYTHONPROFILEIMPORTTIME": "1"}).stderr

    assert re.search(r"\| +hydra$", imports, re.MULTILINE)
    assert not re.search(r"\| +(jax|jaxlib|flax|optax|numpy|matplotlib)$", imports, re.MULTILINE)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).iterdir())


def test_help_is_written_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    said = capsys.readouterr().out
    listed = " ".join(said.split())
    for group in ("scheduler", "optimizer"):
        names = listed.split(f" {group}: ")[1].split(": ")[0].replace(",", "").split()
        # Other tests may have registered more.
        assert [name for name in names if name in options(group)] == options(group)
    assert "objective: classification, next_token, regression" in said
    assert said.split("Examples:")[1].split("Results:")[0].count("python -m runner") == 5
    assert len(said.splitlines()) <= 60
    assert max(map(len, said.splitlines())) <= 100


def test_what_is_printed_of_a_file_does_not_act_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf/scheduler").mkdir(parents=True)
    (tmp_path / "conf/scheduler/\x1b[2Jx.yaml").write_text("name: constant\n")

    for flag in (["--help"], ["--info", "defaults-tree", "scheduler=\x1b[2Jx"]):
        main(["--config-dir", "conf", *flag])
        said = "".join(capsys.readouterr())
        assert "[2Jx" in said
        assert "\x1b" not in said


@pytest.mark.slow
def test_the_examples_of_the_help_are_good_command_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    examples = re.findall(r"^  +python -m runner(.*)$", capsys.readouterr().out, re.MULTILINE)

    assert len(examples) == 5
    for example in examples:
        shown = [word for word in example.split() if word != "-m"]
        assert main(["--cfg", "job", *[w for w in shown if "," not in w]]) == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--cfg", "job", "seed=3"], "seed: 3"),
        (["--cfg", "job", "--package", "scheduler"], "step_size_down: null"),
        (["--cfg", "job", "--resolve", "seed=${training.chunk}", "training.chunk=9"], "seed: 9"),
        (["--cfg", "hydra"], "outputs/multirun"),
        (["--info", "searchpath"], "conf"),
        (["--info", "defaults"], "scheduler/triangular"),
        (["--hydra-help"], "--multirun"),
        (["--help", "--resolve"], "scheduler: "),
        (["-sc", "install=bash"], "hydra_bash_completion runner"),
    ],
)
def test_hydras_own_flags_work(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(args)

    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert says in captured.out


def test_completion_offers_options_and_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "runner scheduler=tri")

    assert main(["-sc", "query=bash"]) == 0
    assert "scheduler=triangular2" in capsys.readouterr().out


def test_version_names_the_runner(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("runner ")


def test_a_run_is_told_its_settings_and_a_folder_with_hydras_record(
    fake_task: Callable[..., Called],
) -> None:
    calls = fake_task()

    assert main(["seed=7", "scheduler.step_size_up=25%", "model.hidden=[32,16]"]) == 0

    [(config, folder)] = calls
    assert (config.seed, config.task.name, config.accelerator) == (7, "train", "auto")
    assert config.scheduler.name == "cyclic"
    assert config.scheduler.settings.step_size_up == "25%"
    assert config.model.settings.hidden == (32, 16)
    assert config.hparams["model.hidden"] == "[32, 16]"
    assert folder.is_absolute()
    assert re.fullmatch(
        r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d", str(folder.relative_to(Path.cwd()))
    )
    assert yaml.safe_load((folder / ".hydra/config.yaml").read_text())["seed"] == 7
    assert yaml.safe_load((folder / ".hydra/overrides.yaml").read_text())[0] == "seed=7"


def test_what_the_environment_holds_is_not_recorded(
    fake_task: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_task()
    monkeypatch.setenv("MY_CACHE", "/hunter2")

    assert main(["compilation_cache=${oc.env:MY_CACHE}"]) == 0

    [(config, folder)] = calls
    assert config.compilation_cache == "/hunter2"
    assert config.hparams["compilation_cache"] == "${oc.env:MY_CACHE}"
    assert not [path for path in folder.rglob("*.yaml") if "hunter2" in path.read_text()]


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_record_is_complete_once_it_has_the_settings_that_a_run_resumes_with(
    written: int, fake_task: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed between two files must not be resumed without its overrides."""
    calls, files = fake_task(), []

    def replace_file(path: Path, text: str) -> None:
        if len(files) == written:
            raise KeyboardInterrupt
        files.append(path.name)
        path.write_text(text)

    monkeypatch.setattr(commands, "replace_file", replace_file)
    assert main(["hydra.run.dir=mine", "seed=3"]) == 130
    assert calls == []
    assert len(files) == written
    assert not Path("mine/.hydra/config.yaml").exists()


def test_whole_numbers_from_the_environment_are_decoded(
    fake_task: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_task()
    monkeypatch.setenv("MY_SEED", "11")

    assert main(["seed=${oc.decode:${oc.env:MY_SEED}}"]) == 2  # the shell's grammar, not YAML's
    assert main(["seed='${oc.decode:${oc.env:MY_SEED}}'"]) == 0
    assert calls[0][0].seed == 11


def test_runs_of_the_same_second_get_folders_of_their_own(
    fake_task: Callable[..., Called],
) -> None:
    calls = fake_task()
    for _ in range(4):
        assert main([]) == 0
    assert len({folder for _, folder in calls}) == 4


def test_a_folder_that_holds_a_run_is_not_written_to(
    fake_task: Callable[..., Called], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_task()
    assert main(["hydra.run.dir=mine", "seed=1"]) == 0
    before = {path: path.read_bytes() for path in Path("mine").rglob("*.yaml")}

    assert "mine" in refuse(capsys, "hydra.run.dir=mine", "seed=2")
    assert len(calls) == 1
    assert before == {path: path.read_bytes() for path in Path("mine").rglob("*.yaml")}


def test_of_two_folders_with_an_option_of_one_name_the_first_counts() -> None:
    for folder, rate in (("a", 0.3), ("b", 0.5)):
        (Path(folder) / "scheduler").mkdir(parents=True)
        text = f"defaults: [constant, _self_]\nbase_lr: {rate}\n"
        (Path(folder) / "scheduler/mine.yaml").write_text(text)

    def rate(*flags: str) -> float:
        return commands.configure(*flags, "scheduler=mine").scheduler.settings.base_lr

    assert rate("hydra.searchpath=[a,b]") == rate("-cd", "a", "hydra.searchpath=[b]") == 0.3
    assert rate("hydra.searchpath=[b,a]") == rate("hydra.searchpath=[a]", "-cd", "b") == 0.5


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/a"])
def test_the_record_of_a_run_lies_in_its_folder(
    name: str, capsys: pytest.CaptureFixture[str], fake_task: Callable[..., Called]
) -> None:
    calls = fake_task()
    run = ("hydra.run.dir=here/mine", f"hydra.output_subdir='{name}'")
    assert refuse(capsys, *run).startswith(f"hydra.output_subdir: {name!r} is not a name; ")
    assert calls == []
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("flag", [["hydra.run.dir=file/x"], ["-m", "hydra.sweep.dir=file/x"]])
def test_a_folder_that_cannot_be_written_exits_4(
    flag: list[str], capsys: pytest.CaptureFixture[str], fake_task: Callable[..., Called]
) -> None:
    calls = fake_task()
    Path("file").touch()

    assert "file/x" in refuse(capsys, *flag, code=4)
    assert calls == []


class JaxRuntimeError(RuntimeError):
    """As jax's, whose name and message are all there is to tell it by."""


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (DataError("train.gz", "is truncated", "fetch it again"), 3, "train.gz: is truncated;"),
        (StorageError("x", "cannot be written", "free some space"), 4, "x: cannot be written;"),
        (OSError(28, "No space left on device", "/x"), 4, "/x: .*No space left"),
        (BrokenPipeError(32, "Broken pipe"), 4, "standard output"),
        (DivergedError("train/loss", "nan at step 3", "lower max_lr"), 5, "nan at step 3"),
        (MemoryError(), 6, "memory: .*lower training.batch_size"),
        (
            JaxRuntimeError("RESOURCE_EXHAUSTED: trying to allocate 1099511627776 bytes."),
            6,
            "asked for 1099511627776 bytes",
        ),
        (InterruptedRunError("run", "stopped at step 3", "start it again"), 130, "step 3"),
        (EndAtOnceError(signal.SIGINT), 130, "a second SIGINT"),
        (EndAtOnceError(signal.SIGTERM), 143, "a second SIGTERM"),
        (TerminatedRunError("run", "stopped at step 3", "start it again"), 143, "step 3"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (EndAtOnceError(signal.SIGHUP), 143, "a second SIGHUP"),
        (
            FloatingPointError("invalid value (nan) encountered in scan\nas the traceback shows"),
            5,
            "training: invalid value .* in scan; lower",
        ),
        (ImportError("libjax_common.so: failed to map segment from shared object"), 6, "memory: "),
    ],
)
def test_a_failing_run_ends_in_its_exit_code(
    raised: BaseException,
    code: int,
    says: str,
    fake_task: Callable[..., Called],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: Config) -> None:
        raise raised

    fake_task(fail)

    assert main([]) == code
    line = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", line)
    assert re.search(says, line)


def test_a_failed_search_for_nans_ends_in_5(
    fake_task: Callable[..., Called], capsys: pytest.CaptureFixture[str]
) -> None:
    class InternalFloatingPointError(Exception):
        """As jax's own."""

    def fail(_: Config) -> None:
        try:
            raise InternalFloatingPointError("jit(scan_chunk)", "nan")
        except InternalFloatingPointError:
            raise RuntimeError("Array has been deleted with shape=int32[].")  # noqa: B904

    fake_task(fail)

    assert main([]) == 5
    said = "error: training: invalid value (nan) encountered in jit(scan_chunk); lower "
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("model.name=" + "x" * 5000, "known: "),
        ("accelerator=" + "x" * 5000, "is not one of|must be one of|did you mean|known: "),
        ("plugins=[" + "x" * 5000 + "]", "cannot be imported"),
        ("scheduler.scale_fn='" + "x + " * 400 + "y'", "; "),
    ],
)
def test_an_error_is_no_longer_than_a_person_reads(
    line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(says, said := refuse(capsys, line))
    assert len(said) <= 820


@pytest.mark.slow
def test_a_backend_that_matplotlib_does_not_have_exits_2(run_cli: Callable[..., Completed]) -> None:
    done = run_cli("task=check", "training.steps=20", env={"MPLBACKEND": "nope"})
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "error: MPLBACKEND: matplotlib cannot use 'nope'; unset it" in done.stderr


@pytest.mark.slow
def test_a_jax_platform_that_is_not_there_exits_2(run_cli: Callable[..., Completed]) -> None:
    done = run_cli("hydra.run.dir=run", env={"JAX_PLATFORMS": "nope"})

    assert done.returncode == 2
    assert re.fullmatch("error: JAX_PLATFORMS: JAX cannot use 'nope' [^\n]+\n", done.stderr)
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("XLA_FLAGS", "--nope", r"XLA cannot use '--nope' \(Unknown flag in XLA_FLAGS: --nope\)"),
        (
            "XLA_FLAGS",
            "--xla_backend_optimization_level=x",
            r".* \(Couldn't interpret value x for flag xla_backend_optimization_level\)",
        ),
        ("JAX_ENABLE_X64", "nope", "JAX refuses its value .*'nope'.*"),
    ],
)
def test_a_variable_that_xla_or_jax_cannot_use_exits_2(
    run_cli: Callable[..., Completed], name: str, value: str, says: str
) -> None:
    done = run_cli("hydra.run.dir=run", env={name: value})

    assert done.returncode == 2
    assert re.fullmatch(f"error: {name}: {says}; correct it, or unset it\n", done.stderr)
    assert not Path("run").exists()


def test_a_variable_that_jax_names_in_lower_case_exits_2(
    fake_task: Callable[..., Called],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: Config) -> None:
        raise ValueError('Invalid value "x" for JAX flag jax_num_cpu_devices')

    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "x")
    fake_task(fail)

    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: JAX_NUM_CPU_DEVICES: JAX refuses its value (")


def test_a_memory_limit_that_libraries_cannot_load_under_exits_6(
    environment: dict[str, str],
) -> None:
    command = f"ulimit -v 400000; exec {sys.executable} -m runner hydra.run.dir=run"
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 6
    assert re.fullmatch("error: ulimit -v: 400000 KiB [^\n]+\n", done.stderr)
    assert not Path("run").exists()


def test_a_bug_shows_its_traceback(
    fake_task: Callable[..., Called], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_task(lambda _: print(1 / 0))

    assert main([]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_user_may_ask_for_the_traceback(
    fake_task: Callable[..., Called],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    assert main(["seed=x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("error: seed: ")


def test_a_multirun_gives_every_combination_a_folder(fake_task: Callable[..., Called]) -> None:
    calls = fake_task()

    assert main(["-m", "scheduler=triangular,triangular2,exp_range", "seed=0,1"]) == 0

    found = [(config.scheduler.settings.mode, config.seed) for config, _ in calls]
    modes = ("triangular", "triangular2", "exp_range")
    assert found == [(mode, seed) for mode in modes for seed in (0, 1)]
    [sweep] = {folder.parent for _, folder in calls}
    assert sweep.relative_to(Path.cwd()).parts[:2] == ("outputs", "multirun")
    assert sorted(path.name[:2] for path in sweep.iterdir()) == [*(f"{n}_" for n in range(6)), "mu"]
    assert all((folder / ".hydra/config.yaml").is_file() for _, folder in calls)


@pytest.mark.slow
def test_multiruns_of_the_same_second_get_folders_of_their_own(
    fake_task: Callable[..., Called],
) -> None:
    calls = fake_task()
    for _ in range(3):
        assert main(["-m", "seed=0,1"]) == 0
    assert len({folder for _, folder in calls}) == 6


@pytest.mark.parametrize("seeds", ["0", "0,1"])
def test_only_several_jobs_are_ranked(
    seeds: str,
    fake_task: Callable[..., Called],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls, best = fake_task(), {"metric": "eval/accuracy", "value": 0.5, "step": 5}

    def read_results(folder: Path) -> list[JobResult]:
        return [JobResult(Path(path.name), (), "finished", 9, best, 1.5) for _, path in calls]

    monkeypatch.setattr("runner.records.results.read_results", read_results)
    assert main(["-m", f"seed={seeds}"]) == 0
    assert ("jobs by best eval/accuracy" in capsys.readouterr().out) == (seeds == "0,1")


@pytest.mark.slow
def test_a_failing_member_stops_no_other(
    fake_task: Callable[..., Called], capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(config: Config) -> None:
        if config.seed == 1:
            raise DivergedError("train/loss", "nan at step 3", "lower max_lr")

    calls = fake_task(diverge)

    assert main(["-m", "seed=0,1,x,3"]) == 5
    assert [config.seed for config, _ in calls] == [0, 1, 3]
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "error: job 1 (seed=1): train/loss: nan at step 3; lower max_lr",
        "error: job 2 (seed=x): seed: 'x' is not a whole number; write one such as 64",
    ]
    assert "#3 : seed=3" in captured.out


def test_a_signal_ends_the_whole_multirun(fake_task: Callable[..., Called]) -> None:
    def stop(config: Config) -> None:
        raise TerminatedRunError("run", f"stopped at step {config.seed}", "start it again")

    calls = fake_task(stop)

    assert main(["-m", "seed=0,1,2"]) == 143
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_too_late_for_its_own_job_ends_the_multirun_all_the_same(
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def run(config: Config, folder: Path, ending: Ending) -> None:
        calls.append(config.seed)
        ending.begin(SimpleNamespace(seconds=0.0))
        if config.seed == 1:
            os.kill(os.getpid(), number)

    assert "train" in tasks.names()
    monkeypatch.setitem(tasks._factories, "train", run)

    assert main(["-m", "seed=0,1,2"]) == 128 + number
    assert calls == [0, 1]
    said = f"error: {number.name}: arrived as job 1 ended; the remaining jobs were not run\n"
    assert capsys.readouterr().err == said
    assert main(["seed=1"]) == 0  # alone, it is done


def test_a_sweep_folder_that_holds_something_is_not_written_to(
    fake_task: Callable[..., Called], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_task()
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()

    assert "mine is not empty" in refuse(capsys, "-m", "seed=0,1", "hydra.sweep.dir=mine")
    assert calls == []


def test_a_request_to_save_outside_of_a_run_does_nothing(environment: dict[str, str]) -> None:
    code = (
        "import os, signal, sys\n"
        "from runner import cli\n"
        "from runner.cli import commands\n"
        "commands.execute = lambda argv: os.kill(os.getpid(), signal.SIGUSR1) or 0\n"
        "sys.exit(cli.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
BEGINNINGS = [(module, number) for module in ("hydra", "runner.cli.sweep") for number in STOPS]


@pytest.mark.parametrize(
    "beginning",
    slow_except([("hydra", signal.SIGINT), ("runner.cli.sweep", signal.SIGTERM)], BEGINNINGS),
)
def test_a_signal_before_the_run_begins_ends_it_at_once(
    beginning: tuple[str, signal.Signals], while_importing: Callable[..., Completed]
) -> None:
    module, number = beginning
    done = while_importing(module, f"os.kill(os.getpid(), {int(number)})")

    assert done.returncode == STOPS[number]
    assert re.fullmatch("error: run: ended by SIG[^\n]+\n", done.stderr)
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    "module",
    slow_except(["jax"], ["runner.tasks.train", "jax", "numpy", "jax._src.xla_bridge"]),
)
def test_a_signal_while_jax_is_imported_ends_before_there_is_a_folder(
    module: str, while_importing: Callable[..., Completed]
) -> None:
    done = while_importing(module, f"os.kill(os.getpid(), {int(signal.SIGTERM)})")

    assert done.returncode == 143
    assert re.fullmatch("error: run: ended by SIGTERM[^\n]+\n", done.stderr)
    assert not Path("run").exists()


# Of what is imported once the folder is claimed.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "multirun"),
    [
        pytest.param("runner.experiment", False, marks=pytest.mark.slow),
        ("runner.experiment", True),
        ("runner.experiment.device", False),
        pytest.param("runner.experiment.device", True, marks=pytest.mark.slow),
    ],
)
def test_a_signal_while_the_training_is_imported_leaves_a_summary(
    module: str, multirun: bool, while_importing: Callable[..., Completed]
) -> None:
    signals = f"os.kill(os.getpid(), {int(signal.SIGTERM)})"
    done = while_importing(module, signals, "hydra.sweep.dir=.", *["-m"] * multirun)

    assert done.returncode == 143
    assert re.fullmatch("error: run: ended by SIGTERM[^\n]+\n", done.stderr)
    folder = Path("0_seed=5" if multirun else "run")
    assert sorted(path.name for path in folder.iterdir()) == [".hydra", "summary.json"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["seed"]) == ("stopped", 0, 5)
    assert summary["params_sha256"] is None
    assert summary["versions"]["jax"] == version("jax")


@pytest.mark.slow
def test_two_signals_at_once_leave_a_summary_as_well(
    while_importing: Callable[..., Completed],
) -> None:
    both = f"[os.kill(os.getpid(), n) for n in ({int(signal.SIGTERM)}, {int(signal.SIGINT)})]"
    done = while_importing("runner.experiment.device", both)

    assert done.returncode in (130, 143)
    assert re.fullmatch("error: run: ended by SIG[^\n]+\n", done.stderr)
    assert json.loads(Path("run/summary.json").read_text())["status"] == "stopped"


@pytest.mark.slow
def test_a_disk_that_hangs_does_not_outlast_a_second_signal(
    while_importing: Callable[..., Completed],
) -> None:
    done = while_importing(
        "runner.experiment.device",
        "import threading, time, runner.records.ending\n"
        "runner.records.ending.write_summary = lambda *_: time.sleep(100)\n"
        "threading.Timer(1, os.kill, (os.getpid(), 15)).start()\n"
        "os.kill(os.getpid(), 2)",
    )

    assert done.returncode == 143


@pytest.mark.slow
def test_a_module_that_cannot_be_imported_leaves_a_summary(
    while_importing: Callable[..., Completed],
) -> None:
    done = while_importing("runner.experiment.device", "[][0]")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("IndexError")
    assert json.loads(Path("run/summary.json").read_text())["status"] == "failed"


SHUT_DOWN, LAST = "libraries shut down", "Python's last steps"
MOMENTS = [(moment, number) for moment in (SHUT_DOWN, LAST) for number in STOPS]


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", slow_except([(SHUT_DOWN, signal.SIGINT), (LAST, signal.SIGTERM)], MOMENTS)
)
def test_a_signal_after_the_last_line_changes_nothing(
    moment: tuple[str, signal.Signals], environment: dict[str, str]
) -> None:
    place, number = moment
    # --cfg imports the module after the first line of main; a library registers there, too.
    registers = {
        SHUT_DOWN: "atexit.register(send)",
        LAST: "sys.modules['late'] = type('', (), {'__del__': send})()",
    }
    program = (
        "import atexit, os, sys, time, runner.cli\n"
        f"def send(*_, kill=os.kill, pid=os.getpid(), sleep=time.sleep):\n"
        f"    kill(pid, {int(number)})\n"
        "    sleep(0.5)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'runner.cli.commands': {registers[place]}\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['runner', '--cfg', 'job']\n"
        "raise SystemExit(runner.cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "seed: 0" in done.stdout


def test_a_library_that_hangs_as_it_shuts_down_is_ended_by_a_signal(
    environment: dict[str, str],
) -> None:
    program = (
        "import atexit, hashlib, sys, runner.cli\n"
        "def hang():\n"
        "    print('hangs', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)  # minutes, all of them in C\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'runner.cli.commands': atexit.register(hang)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['runner', 'seed=x']\n"
        "raise SystemExit(runner.cli.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hangs\n"
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=20)

    assert process.returncode == 2
    assert re.fullmatch("error: seed: [^\n]+\n", error)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
def test_an_error_begins_on_a_line_of_its_own_where_a_terminal_shows_the_interruption(
    environment: dict[str, str], tmp_path: Path
) -> None:
    program = (
        "import os, sys, runner.cli\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'hydra': os.write(2, b'^C'); os.kill(os.getpid(), 2)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.exit(runner.cli.main([]))"
    )
    reading, writing = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        stderr=writing,
        check=False,
        timeout=60,
    )
    os.close(writing)
    shown = os.read(reading, 1000)
    os.close(reading)

    assert done.returncode == 130
    assert shown == b"^C\r\nerror: run: ended by SIGINT; start it again\r\n"


@pytest.mark.parametrize(("number", "start"), [(signal.SIGINT, "\n"), (signal.SIGTERM, "")])
def test_only_an_interruption_is_shown_by_a_terminal(
    number: int,
    start: str,
    fake_task: Callable[..., Called],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Config) -> None:
        raise EndAtOnceError(number)

    fake_task(fail)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main([])
    assert re.fullmatch(f"{start}error: run: ended at once[^\n]+\n", capsys.readouterr().err)


@pytest.mark.slow
def test_a_check_that_is_ended_has_no_summary(while_importing: Callable[..., Completed]) -> None:
    done = while_importing("runner.experiment.device", "os.kill(os.getpid(), 15)", "task=check")

    assert done.returncode == 143
    assert [path.name for path in Path("run").iterdir()] == [".hydra"]


@pytest.mark.slow
def test_a_second_signal_takes_no_library_down_in_the_middle_of_its_work(
    environment: dict[str, str], tmp_path: Path
) -> None:
    program = (
        "import atexit, os, sys, runner.cli\n"
        "from runner.registry import tasks\n"
        "from runner.signals import EndAtOnceError\n"
        "def run(config, folder, ending): raise EndAtOnceError(2)\n"
        "tasks.names()\n"
        "tasks._factories['train'] = run\n"
        "atexit.register(os.abort)\n"
        "sys.argv = ['runner']\n"
        "sys.exit(runner.cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (130, "")
    assert re.fullmatch("error: run: ended at once by a second SIGINT[^\n]+\n", done.stderr)


def test_a_closed_pipe_is_no_failure_of_the_help(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m runner --help | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--cfg job >&-", 0),
        ("--cfg job 2>/dev/full >/dev/full", 4),
        ("seed=-1 >/dev/full 2>/dev/full", 2),
        ("seed=-1 >&- 2>&-", 2),
    ],
)
def test_the_exit_code_is_right_where_nothing_can_be_printed(
    line: str, code: int, environment: dict[str, str]
) -> None:
    command = f"{sys.executable} -m runner {line}"
    assert subprocess.run(command, shell=True, env=environment, check=False).returncode == code


def test_a_terminal_without_our_characters_gets_others(
    fake_task: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "printed").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        fake_task(lambda config: print("cpu · 2 cores"))
        assert main([]) == 0
    assert (tmp_path / "printed").read_text() == "cpu ? 2 cores\n"


def test_a_current_folder_that_is_gone_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert main([]) == 4
    assert capsys.readouterr().err.startswith("error: current folder: cannot be used (No such file")


def test_a_record_that_cannot_be_written_names_the_folder(
    fake_task: Callable[..., Called],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fake_task()
    monkeypatch.setattr(os, "fsync", full)
    assert main(["hydra.run.dir=run"]) == 4
    assert "error: run/.hydra/overrides.yaml: cannot be written (No" in capsys.readouterr().err
