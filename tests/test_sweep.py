"""Multiruns, and what Hydra's own words mean in them; files beside the packaged ones."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.cli import main
from runner.cli.commands import configure
from runner.config import Config
from runner.registry import tasks

CommandLine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, Path]]:
    """What the task ``train`` is called with; it does nothing else here."""
    monkeypatch.chdir(tmp_path)
    found: list[tuple[Config, Path]] = []
    assert "train" in tasks.names()
    task = lambda config, folder, ending: found.append((config, folder))  # noqa: E731
    monkeypatch.setitem(tasks._factories, "train", task)
    return found


def settings(calls: list[tuple[Config, Path]], name: str) -> list[Any]:
    return [getattr(config.scheduler.settings, name, None) for config, _ in calls]


def refuse(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(list(args)) == 2
    return capsys.readouterr().err.removeprefix("error: ")


def test_a_setting_may_refer_to_one_that_is_swept(calls: Any) -> None:
    args = ["scheduler.max_lr=0.3,0.4", "scheduler.base_lr=${scheduler.max_lr}"]
    assert main(["-m", *args, "hydra.sweep.dir=s"]) == 0

    assert settings(calls, "base_lr") == [0.3, 0.4]
    told = yaml.safe_load(Path("s/0_max_lr=0.3/.hydra/overrides.yaml").read_text())
    assert told == ["scheduler.max_lr=0.3", "scheduler.base_lr=${scheduler.max_lr}"]


def test_a_key_given_twice_means_in_a_multirun_what_it_means_in_a_run(calls: Any) -> None:
    args = ['optimizer.groups={body: "Dense_0/*"}', "optimizer.multiplier={body:2}"]
    args.append("optimizer.multiplier={default:3}")
    assert main(args) == 0
    assert main(["-m", *args, "seed=0,1"]) == 0

    multipliers = [config.wrappers.multiplier for config, _ in calls]
    assert multipliers == [{"body": 2.0, "default": 3.0}] * 3


def test_a_sweep_that_something_later_overrides_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refuse(capsys, "-m", "seed=0,1", "seed=2").startswith("seed: is given twice;")
    assert refuse(capsys, "-m", "seed=0,1", "seed=2,3").startswith("seed: is given twice;")


def test_the_command_line_overrides_what_a_file_sweeps(calls: Any) -> None:
    Path("conf").mkdir()
    text = (
        "defaults: [config, _self_]\nhydra: {sweeper: {params: {seed: '1,2', scheduler: cosine}}}"
    )
    Path("conf/mine.yaml").write_text(text)
    assert main(["-cd", "conf", "-cn", "mine", "-m", "seed=5,6,7"]) == 0
    assert [(config.seed, config.scheduler.option) for config, _ in calls] == [
        (seed, "cosine") for seed in (5, 6, 7)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "written", ["${hydra:runtime.choices.scheduler}", "${hydra.runtime.choices.scheduler}"]
)
def test_a_folder_may_be_named_after_an_option(written: str, calls: Any, tmp_path: Path) -> None:
    assert main([f"hydra.run.dir=runs/{written}"]) == 0
    assert main(["-m", f"hydra.sweep.dir=sweeps/{written}", "seed=0"]) == 0
    assert main([f"hydra.run.dir={tmp_path}/a", "compilation_cache=${hydra:runtime.cwd}"]) == 0
    assert calls[-1][0].compilation_cache == str(tmp_path)
    assert main(["hydra.run.dir=${hydra:runtime.cwd}/x"]) == 0
    assert main(["-m", "hydra.sweep.dir=${hydra:runtime.cwd}/y", "seed=0"]) == 0

    folders = [str(folder.relative_to(tmp_path)) for _, folder in calls]
    assert folders == ["runs/triangular", "sweeps/triangular/0_seed=0", "a", "x", "y/0_seed=0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "names"),
    [
        (
            ["scheduler=cosine,linear", "seed=0,1"],
            ["0_scheduler=cosine,seed=0", "3_scheduler=linear,seed=1"],
        ),
        (["scheduler.max_lr=0.3,0.123456789", "seed=3"], ["0_max_lr=0.3", "1_max_lr=0.1235"]),
        (
            ["model.hidden=[8],[8,16]", "hydra.job.config.override_dirname.kv_sep=-"],
            ["0_hidden-_8", "1_hidden-_8,16"],
        ),
        (
            ["compilation_cache='/a b/../c',false"],
            ["0_compilation_cache=_a_b_.._c", "1_compilation_cache=false"],
        ),
        (
            [
                "compilation_cache='ü',x",
                "seed=1,2",
                "hydra.job.config.override_dirname.exclude_keys=[seed]",
            ],
            ["0_compilation_cache=", "3_compilation_cache=x"],
        ),
        (
            ["compilation_cache=" + "a" * 200 + ",b"],
            ["0_compilation_cache=" + "a" * 62, "1_compilation_cache=b"],
        ),
        (["seed=4", "training.epochs=2"], ["0_seed=4,epochs=2"]),
        ([], ["0_default"]),
    ],
    ids=str,
)
def test_a_jobs_folder_says_what_the_job_is(args: list[str], names: list[str], calls: Any) -> None:
    assert main(["-m", *args, "hydra.sweep.dir=s"]) == 0
    folders = [folder.name for _, folder in calls]
    assert {folders[0], folders[-1]} == {*names}


def test_a_jobs_folder_shows_no_value_of_the_environment(
    calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_CACHE", "hunter2")
    assert main(["-m", "compilation_cache=${oc.env:MY_CACHE},false", "hydra.sweep.dir=s"]) == 0
    assert [folder.name for _, folder in calls] == [
        "0_compilation_cache=_oc.env_MY_CACHE",
        "1_compilation_cache=false",
    ]


def test_a_users_option_wins_over_a_packaged_one_of_its_name(calls: Any) -> None:
    Path("conf/scheduler").mkdir(parents=True)
    Path("conf/scheduler/triangular.yaml").write_text(
        "defaults: [exponential, _self_]\nbase_lr: 0.7\n"
    )
    for flag in ("--config-dir=conf", "hydra.searchpath=[conf]", "hydra.searchpath=[file://conf]"):
        assert configure(flag).scheduler.settings.base_lr == 0.7
        assert configure(flag, "scheduler=cosine").scheduler.option == "cosine"


def test_an_option_that_builds_upon_itself_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("conf/scheduler").mkdir(parents=True)
    Path("conf/scheduler/triangular.yaml").write_text("defaults: [triangular, _self_]\n")
    said = refuse(capsys, "-cd", "conf")
    assert said.partition(": ")[0].endswith("/conf/scheduler/triangular.yaml")
    assert "refers to itself" in said


def test_a_run_is_repeated_from_its_record(calls: Any, tmp_path: Path) -> None:
    args = ["scheduler=triangular2", "training.epochs=3", "seed=4", "model=linear"]
    assert main([*args, "hydra.run.dir=a"]) == 0
    assert main(["-cd", "a/.hydra", "-cn", "config"]) == 0
    assert main(["-cd", "a/.hydra", "-cn", "config", "-m", "seed=4,5"]) == 0

    (first, _), (again, folder), (member, _), (other, _) = calls
    assert first == again == member
    assert (other.seed, other.scheduler.option) == (5, "triangular2")
    assert folder.relative_to(tmp_path).parts[0] == "outputs"


def test_a_repeated_run_logs_as_the_run_did(calls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def logging(*args: str) -> Any:
        assert main([*args, "--cfg", "hydra", "-p", "hydra.job_logging"]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    assert main(["hydra.run.dir=a"]) == 0
    capsys.readouterr()
    again = logging("-cd", "a/.hydra", "-cn", "config")
    # Hydra's own would print what jax logs at the level INFO.
    assert again == logging() != logging("hydra/job_logging=default")


def test_a_setting_that_one_option_lacks_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["-m", "scheduler=constant,triangular2,one_cycle", "scheduler.step_size_up=25%"]
    said = refuse(capsys, *args)
    assert said.startswith(
        "scheduler.step_size_up: scheduler=constant has no setting step_size_up;"
    )
    assert "--where-it-applies" in said


@pytest.mark.slow
def test_a_setting_need_not_be_one_of_the_default_option(
    calls: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", "scheduler=cosine,cosine_restarts", "scheduler.eta_min=0.01"]) == 0
    assert settings(calls, "eta_min") == [0.01, 0.01]

    swept = ["-m", "scheduler=one_cycle,triangular"]
    said = refuse(capsys, *swept, "scheduler.pct_start=0.2")
    assert said.startswith("scheduler.pct_start: scheduler=triangular has no setting pct_start;")
    said = refuse(capsys, *swept, "scheduler.pct_strat=0.2")
    assert said.startswith("scheduler.pct_strat: scheduler=one_cycle has no setting pct_strat;")
    assert "did you mean pct_start?" in said

    calls.clear()
    assert main([*swept, "scheduler.pct_start=0.2", "--where-it-applies"]) == 0
    assert settings(calls, "pct_start") == [0.2, None]


@pytest.mark.slow
def test_a_setting_may_hold_where_it_applies(
    calls: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["-m", "--where-it-applies", "scheduler=constant,triangular2"]
    assert main([*flags, "scheduler.step_size_up=25%,50%", "+scheduler.max_lr.x=1"]) == 2
    assert main([*flags, "scheduler.step_size_up=25%,50%"]) == 0
    assert settings(calls, "step_size_up") == [None, "25%", "50%"]
    capsys.readouterr()
    assert refuse(capsys, *flags, "scheduler.step_size_pu=9").startswith("scheduler.step_size_pu")
    assert refuse(capsys, "--where-it-applies").startswith("--where-it-applies: works only with -m")


def test_of_two_multiruns_one_gets_the_folder(
    calls: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*args: Any) -> Any:
        if not Path("s").exists():
            Path("s").mkdir()
            Path("s/multirun.yaml").write_text("hydra: {}")
        return read_in(*args)

    from runner.cli.reading import read_in

    monkeypatch.setattr("runner.cli.members.read_in", meanwhile)
    said = refuse(capsys, "-m", "seed=0,1", "hydra.sweep.dir=s")
    assert said.startswith("hydra.sweep.dir: s already holds a multirun")
    assert calls == []


@pytest.mark.parametrize(
    ("args", "key", "says"),
    [
        (["--config-dir", "x" * 300], "--config-dir", "is not a folder"),
        (["--config-path", "x" * 300], "--config-path", "is not a folder"),
        (["=choice({a:1},[1])"], "command line", "lists several values"),
        (["-m", "=choice({a:1},[1])"], "command line", "no such setting"),
        (["seed='" + "x" * 5000 + "'"], "seed", "is not a whole number"),
        (["x" * 5000], "xxx", "neither key=value nor a flag"),
        (
            ["~scheduler.step_size_down"],
            "~scheduler.step_size_down",
            "cannot be deleted, as it is null",
        ),
        (["~scheduler=cosine"], "~scheduler", "not chosen"),
        (["+scheduler=cosine"], "scheduler", "is given twice"),
        (["++scheduler=cosine"], "scheduler", "leave out the ++"),
        (["scheduler@x=cosine"], "scheduler@x", "write +scheduler@x=... to add it"),
        (["foo@x=cosine"], "foo", "no such setting"),
        (["model.hidden={a:1}"], "model.hidden", "would merge a list with a mapping"),
        (["hydra.output_subdir=../x"], "hydra.output_subdir", "is not a name"),
        (["-m", "seed=0,1", "hydra.sweep.subdir=../${hydra.job.num}"], "hydra.sweep.subdir", "not"),
    ],
    ids=str,
)
def test_an_error_is_one_short_line(
    args: list[str], key: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refuse(capsys, *args)
    assert said.startswith(key)
    assert says in said
    assert len(said) < 1300
    assert said.count("\n") == 1


def test_configure_names_a_folder_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        configure("--config-dir", "x" * 300)


def test_a_misspelt_keyword_of_a_defaults_list_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("conf").mkdir()
    Path("conf/mine.yaml").write_text("defaults:\n  - config\n  - overide scheduler: cosine\n")
    said = refuse(capsys, "-cd", "conf", "-cn", "mine")
    assert "mine.yaml:3: 'overide' in the defaults list is not a keyword" in said
    assert "write override scheduler" in said


def test_a_closed_pipe_is_no_failure_of_the_info(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m runner --info | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
