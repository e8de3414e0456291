"""A configuration file must not run code, write outside a new folder, hang, or tell a secret."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import indent
from time import perf_counter
from typing import Any

import pytest
import yaml

from runner.cli import main
from runner.cli.commands import configure

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

LOAD = "# @package _global_\nhydra:\n  callbacks: {x: {y: z}}\n"
BOMB = "hydra:\n  job:\n    config:\n      override_dirname:\n" + "".join(
    f"        a{n}: ${{.a{n - 1}}}${{.a{n - 2}}}${{.a{n - 3}}}\n" for n in range(3, 30)
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("conf/scheduler", "elsewhere", "pk"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pk/__init__.py").write_text("open('PWNED', 'w')\n")
    (tmp_path / "elsewhere/evil.yaml").write_text(LOAD)
    return tmp_path


def refuse(capsys: pytest.CaptureFixture[str], *args: str, code: int = 2) -> str:
    """Runs ``args``, which must end in one line of error at once and leave nothing behind."""
    started = perf_counter()
    assert main(list(args)) == code
    line = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+: [^\n]+; [^\n]+\n", line), line
    assert perf_counter() - started < 30
    assert not Path("PWNED").exists()
    assert not Path("outputs").exists()
    return line


@pytest.mark.parametrize(
    "path",
    [
        "/../../../{}/elsewhere/evil@_global_",
        "../../elsewhere/evil@_global_",
        "//{}/elsewhere/evil",
    ],
)
def test_an_option_lies_in_a_folder_that_is_searched(
    path: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"defaults: [triangular, '{path.format(folder)}', _self_]\n"
    (folder / "conf/scheduler/mine.yaml").write_text(text)

    refuse(capsys, "--config-dir", "conf", "scheduler=mine")
    refuse(capsys, "--config-dir", "conf", "scheduler=mine", "--cfg", "job")


def test_the_command_line_does_not_leave_the_folders_either(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    up = "../" * len(folder.parts)
    for args in (["-cd", "conf"], []):
        for path in ("../../elsewhere/evil", f"{up}{folder}/elsewhere/evil"):
            assert "outside" in refuse(capsys, *args, f"+scheduler@_global_={path}")


def test_a_link_out_of_the_folder_is_not_followed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf/scheduler/mine.yaml").symlink_to(folder / "elsewhere/evil.yaml")
    assert "outside" in refuse(capsys, "-cd", "conf", "scheduler=mine")


@pytest.mark.parametrize(
    "text",
    [
        'hydra: {searchpath: ["pkg://pk"]}',
        'hydra: {<<: {searchpath: ["pkg://pk"]}}',
        'zz: {searchpath: ["pkg://pk"]}\nhydra: ${zz}',
        'zz: ["pkg://pk"]\nhydra: {searchpath: "${zz}"}',
        "hydra: {searchpath: ['structured://pk']}",
        "hydra: {searchpath: [elsewhere]}",
    ],
)
@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-m", "seed=0,1"]])
def test_a_file_names_no_place_to_search(
    text: str, flags: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf/mine.yaml").write_text(f"defaults: [config, _self_]\n{text}\n")
    assert "mine" in refuse(capsys, "-cd", "conf", "-cn", "mine", *flags)


@pytest.mark.parametrize("again", ["f{}@again", "f{}"])
def test_files_that_include_each_other_twice_a_level_are_refused_at_once(
    again: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for level in range(40):
        defaults = f"[f{level + 1}, {again.format(level + 1)}]"
        (folder / f"conf/scheduler/f{level}.yaml").write_text(f"defaults: {defaults}\n")
    (folder / "conf/scheduler/f40.yaml").write_text("name: constant\n")

    for flags in ([], ["--cfg", "job"], ["-m", "seed=0,1"]):
        said = refuse(capsys, "-cd", "conf", "scheduler=f0", *flags)
        assert re.search(r"/conf/scheduler/f\d+\.yaml: .* included more than 100 times", said)


def test_many_files_that_include_many_files_are_refused_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(60):
        parts = [f"l{m}@p{n}_{m}" for m in range(60)]
        (folder / f"conf/scheduler/m{n}.yaml").write_text(f"defaults: [{', '.join(parts)}]\n")
        (folder / f"conf/scheduler/l{n}.yaml").write_text("a: 1\n")
    inner = ", ".join(f"m{n}@q{n}" for n in range(60))
    (folder / "conf/scheduler/mine.yaml").write_text(f"defaults: [{inner}]\n")
    said = refuse(capsys, "-cd", "conf", "scheduler=mine")
    assert said.startswith("error: defaults lists: include files more than 500 times; ")


def test_one_file_may_configure_many_parts(folder: Path) -> None:
    parts = "".join(f"  - scheduler@parts.p{n}: constant\n" for n in range(90))
    (folder / "conf/many.yaml").write_text(f"defaults:\n  - config\n{parts}  - _self_\n")
    assert main(["-cd", "conf", "-cn", "many", "--cfg", "job"]) == 0


def test_the_command_line_names_folders_and_no_packages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "hydra.searchpath: 'pkg://pk' is not a folder" in refuse(
        capsys, "hydra.searchpath=[pkg://pk]"
    )
    assert "--config-path: 'pkg://pk' is not a folder" in refuse(capsys, "-cp", "pkg://pk")


@pytest.mark.parametrize(
    "hydra",
    [
        'job: {name: "ext://pk.x"}',
        'job: {name: "ext://pk.x"}\njob_logging: {root: {level: "${hydra.job.name}"}}',
        'job_logging: {handlers: {console: {filename: "ext://pk.x"}}}',
        'job_logging: {formatters: {plain: {format: "ext://pk.x"}}}',
        'hydra_logging: {root: {level: "ext://pk.x"}}',
        "job: {env_set: {PJRT_NAMES_AND_LIBRARY_PATHS: 'x:/evil.so'}}",
        "job_logging: {handlers: {f: {class: logging.FileHandler, filename: precious, mode: w}}}",
        "output_subdir: ../victim/.hydra",
        "callbacks: {x: {y: z}}",
        "launcher: {_x: 1}",
        "launcher: {command: touch PWNED}",
        "sweeper: {params: {hydra.job.name: 'a,b'}}",
        "sweeper: {params: {+hydra.callbacks.x: 'a,b'}}",
        "sweeper: {params: {scheduler@hydra.callbacks: 'triangular'}}",
        "sweeper: {params: {scheduler@_global_: 'triangular'}}",
        "sweeper: {params: {hydra/launcher: 'basic'}}",
        "run: ${training}",
        "job: {chdir: true}",
    ],
)
def test_a_file_sets_nothing_else_of_hydras(
    hydra: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("precious").write_text("kept")
    section = indent(hydra, "  ")
    (folder / "conf/mine.yaml").write_text(f"defaults: [config, _self_]\nhydra:\n{section}\n")
    (folder / "conf/scheduler/mine.yaml").write_text(f"# @package hydra\n{hydra}\n")

    assert "hydra" in refuse(capsys, "-cd", "conf", "-cn", "mine", "--cfg", "job")
    assert "hydra" in refuse(capsys, "-cd", "conf", "scheduler=mine", "-m", "seed=0,1")
    assert Path("precious").read_text() == "kept"


def test_a_file_is_no_option_of_hydras(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "conf/hydra/launcher").mkdir(parents=True)
    (folder / "conf/hydra/launcher/basic.yaml").write_text("n_jobs: {_x: 1}\n")
    assert "hydra.launcher" in refuse(capsys, "-cd", "conf")


def test_the_members_that_a_file_thinks_of_are_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf/scheduler/mine.yaml").write_text(LOAD)
    (folder / "conf/mine.yaml").write_text(
        "defaults: [config, _self_]\nhydra: {sweeper: {params: {scheduler: 'mine,triangular'}}}\n"
    )
    assert "hydra.callbacks" in refuse(capsys, "-cd", "conf", "-cn", "mine", "-m")


def test_a_file_may_say_where_to_run_and_what_to_sweep(folder: Path) -> None:
    (folder / "conf/mine.yaml").write_text(
        "defaults: [config, {override task: check}, _self_]\n"
        "hydra:\n  mode: MULTIRUN\n  verbose: false\n"
        "  sweep: {dir: here/x, subdir: 'job-${hydra.job.num}'}\n"
        "  sweeper: {max_batch_size: 1, params: {optimizer.momentum: '0.5,0.6', seed: 3}}\n"
    )
    assert main(["-cd", "conf", "-cn", "mine", "training.epochs=1"]) == 0

    recorded = folder / "here/x/job-1/.hydra/overrides.yaml"
    told = ["optimizer.momentum=0.6", "seed=3", "training.epochs=1"]
    assert yaml.safe_load(recorded.read_text()) == told


def test_a_file_may_choose_an_installed_launcher_and_sweeper(folder: Path) -> None:
    chosen = "{override hydra/launcher: basic}, {override hydra/sweeper: basic}"
    (folder / "conf/mine.yaml").write_text(
        f"defaults: [config, {chosen}, {{override task: check}}, _self_]\n"
        "hydra: {verbose: true, sweep: {dir: s, subdir: '${hydra.job.num}'}}\n"
    )
    assert configure("-cd", "conf", "-cn", "mine").task.name == "check"
    assert main(["-cd", "conf", "-cn", "mine", "-m", "seed=1,2", "training.steps=20"]) == 0
    assert (folder / "s/1/schedule.csv").exists()


def test_a_file_may_decode_the_environment_and_name_a_new_folder_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf/mine.yaml").write_text(
        "defaults: [config, {override task: check}, _self_]\n"
        "seed: ${oc.decode:${oc.env:N}}\n"
        "hydra: {run: {dir: '../new/${now:%Y}/${hydra:runtime.choices.scheduler}'}}\n"
    )
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    monkeypatch.setenv("N", "734190")
    args = "-cd", "../conf", "-cn", "mine", "training.steps=20"
    assert configure(*args).seed == 734190
    assert main([*args]) == 0

    (run,) = (folder / "new").glob("*/*")
    assert re.fullmatch("new/20[0-9]{2}/triangular", str(run.relative_to(folder)))
    recorded = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    assert recorded["seed"] == "${oc.decode:${oc.env:N}}"

    taken = run.with_name("cosine")
    taken.mkdir()
    (taken / "notes.txt").write_text("kept")
    assert "new" in refuse(capsys, *args, "scheduler=cosine")
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("hydra", "flags"),
    [
        ("run: {dir: victim}", []),
        ("run: {dir: \"victim/${now:'.'}\"}", []),
        ("run: {dir: new/../victim}", []),
        ("run: {dir: 'new/${now:%Y}/../../victim'}", []),
        ('run: {dir: "new\\e[2J"}', []),
        ('run: {dir: "new\\uD800"}', []),
        ("sweep: {dir: new/../victim}", ["-m", "seed=0,1"]),
        ("sweep: {dir: victim}", ["-m", "seed=0,1"]),
        ("sweep: {dir: \"victim/${now:'.'}\"}", ["-m", "seed=0,1"]),
        ("sweep: {subdir: '../victim/${hydra.job.num}'}", ["-m", "seed=0,1"]),
        ("sweep: {subdir: '${compilation_cache}/${hydra.job.num}'}", ["-m", "seed=0,1"]),
    ],
)
def test_a_file_names_new_folders_only(
    hydra: str, flags: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "victim").mkdir()
    (folder / "victim/notes.txt").write_text("kept")
    (folder / "conf/mine.yaml").write_text(
        f"defaults: [config, _self_]\ncompilation_cache: {folder}/victim\nhydra: {{{hydra}}}\n"
    )
    refuse(capsys, "-cd", "conf", "-cn", "mine", *flags)
    assert [path.name for path in (folder / "victim").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        BOMB.replace("a29", "kv_sep"),
        "hydra:\n  searchpath: ${..a}\n" + "a: b\n",
        "a0: [1,2,3,4,5,6,7,8,9,10]\n"
        + "".join(f"a{n}: [{','.join([f'${{a{n - 1}}}'] * 10)}]\n" for n in range(1, 8)),
        "x: {a: 1}\n"
        + "".join(f"x{n}: {{a: '${{x{n + 1}}}', b: '${{x{n + 1}}}'}}\n" for n in range(40)),
    ],
    ids=["hydra", "while composed", "search path", "lists", "sections"],
)
def test_what_a_file_refers_to_stays_small(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf/mine.yaml").write_text(f"defaults: [config, _self_]\n{text}")
    refuse(capsys, "-cd", "conf", "-cn", "mine")
    refuse(capsys, "-cd", "conf", "-cn", "mine", "-m", "seed=0,1")


@pytest.mark.parametrize("resolver", ["oc.create", "oc.select", "oc.dict.values", "oc.deprecated"])
def test_resolvers_that_create_are_gone(
    resolver: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"defaults: [triangular, _self_]\nmode: '${{{resolver}:scheduler}}'\n"
    (folder / "conf/scheduler/mine.yaml").write_text(text)
    said = refuse(capsys, "-cd", "conf", "scheduler=mine")
    assert "resolvers are oc.env, oc.decode, hydra, now" in said


def test_a_text_from_the_environment_is_decoded_into_plain_values_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("{a: 1}", "[{a: 1}]", "${seed}"):
        monkeypatch.setenv("TEXT", text)
        assert "oc.decode" in refuse(capsys, "seed=${oc.decode:${oc.env:TEXT}}".join("''"))


def test_a_secret_of_a_sweep_stays_out_of_every_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S", "x ** -0.73190456")
    (folder / "conf/mine.yaml").write_text(
        "defaults: [config, {override task: check}, {override scheduler: cyclic}, _self_]\n"
        "hydra: {sweep: {dir: out}, sweeper: {params: {scheduler.scale_fn: '${oc.env:S}'}}}\n"
    )
    assert main(["-cd", "conf", "-cn", "mine", "-m", "training.epochs=1"]) == 0

    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert folder / "out/0_scale_fn=_oc.env_S/.hydra/overrides.yaml" in files
    assert not [path for path in files if b"73190456" in path.read_bytes() + bytes(path)]


@pytest.mark.parametrize(
    "line", ["dataset=mnist dataset.root=/x/${oc.env:S}y", "accelerator=a${oc.env:S}b"]
)
def test_a_secret_within_a_longer_text_is_not_shown(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("S", "hunter2")
    main(line.split())
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "${oc.env:S}" in said


@pytest.mark.parametrize(
    "line",
    ["optimizer.frozen=['${oc.env:S}']", "seed='1${oc.env:S}'", "model.hidden=['${oc.env:S}']"],
)
def test_the_beginning_of_a_long_secret_is_not_shown(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("S", "hunter2-" + "".join(f"{n:03d}q" for n in range(100)))
    main([line])
    said = capsys.readouterr().err
    assert "hunt" not in said
    assert "${oc.env:S}" in said


def test_a_key_keeps_its_name_whatever_the_environment_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("S", "root")
    main(["dataset=mnist", "dataset.root=${oc.env:S}"])
    assert not capsys.readouterr().err.startswith("error: dataset.$")


def test_a_number_from_the_environment_is_told_how_to_be_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_LR", "0.25")
    said = refuse(capsys, "scheduler.max_lr=${oc.env:MY_LR}")
    assert "0.25" not in said
    remedy = re.search(r"write (\S+)", said)
    assert remedy
    assert configure(f"scheduler.max_lr='{remedy[1]}'").scheduler.settings.max_lr == 0.25


def test_plugins_of_hydras_in_the_current_folder_are_not_imported(
    folder: Path, run_cli: CommandLine
) -> None:
    (folder / "hydra_plugins").mkdir()
    (folder / "hydra_plugins/evil.py").write_text("open('PWNED', 'w')\n")
    assert run_cli("--cfg", "job").returncode == 0
    assert not Path("PWNED").exists()


CACHE = "# @package _global_\nseed: 1\ncompilation_cache: {}\n"
SWEPT = "# @package _global_\nhydra: {{mode: MULTIRUN, sweeper: {{params: {{{}: ../x}}}}}}\n"


@pytest.mark.parametrize("name", ["../cache", "${oc.env:HOME}", "cache"])
def test_a_file_does_not_choose_the_folder_of_compiled_programs(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # jax runs what it finds there.
    (folder / "conf/scheduler/cache.yaml").write_text(CACHE.format(name))
    line = refuse(capsys, "--config-dir", "conf", "+scheduler@_global_=cache")
    assert line.startswith("error: compilation_cache: a configuration file may not name its folder")


def test_a_run_is_resumed_with_the_cache_of_the_user(folder: Path) -> None:
    (folder / "run/.hydra").mkdir(parents=True)
    recorded = show("compilation_cache=elsewhere")
    assert recorded["compilation_cache"] == "elsewhere"
    (folder / "run/.hydra/config.yaml").write_text(yaml.safe_dump(recorded))
    assert configure("resume=run").compilation_cache is True
    assert configure("resume=run", "compilation_cache=mine").compilation_cache == "mine"


@pytest.mark.parametrize("key", ["compilation_cache", "resume", "dataset.download"])
def test_a_file_does_not_sweep_what_only_the_command_line_may_set(
    key: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf/scheduler/swept.yaml").write_text(SWEPT.format(key))
    line = refuse(capsys, "--config-dir", "conf", "+scheduler@_global_=swept")
    assert f"a file may not set hydra.sweeper.params.{key}" in line


@pytest.mark.parametrize("value", ["true", "${checkpoint.best}", "${oc.decode:${oc.env:NO}}"])
def test_a_file_does_not_start_a_download(
    value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"# @package _global_\nseed: 1\ndataset: {{root: ../victim, download: '{value}'}}\n"
    text = text.replace("'true'", "true")
    (folder / "conf/scheduler/downloads.yaml").write_text(text)
    chosen = "--config-dir", "conf", "+scheduler@_global_=downloads", "dataset=mnist"
    line = refuse(capsys, *chosen, "--cfg", "job")
    assert line.startswith("error: dataset.download: a configuration file may not start a download")


def test_a_resumed_run_downloads_nothing_by_itself(folder: Path) -> None:
    (folder / "run/.hydra").mkdir(parents=True)
    recorded = show("dataset=mnist", "dataset.root=data", "dataset.download=true")
    (folder / "run/.hydra/config.yaml").write_text(yaml.safe_dump(recorded))
    assert configure("resume=run").dataset.settings.download is False
    assert configure("resume=run", "dataset.download=true").dataset.settings.download is True


def test_a_file_does_not_resume_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "# @package _global_\nseed: 1\nresume: somewhere\n"
    (folder / "conf/scheduler/resumes.yaml").write_text(text)
    line = refuse(capsys, "--config-dir", "conf", "+scheduler@_global_=resumes")
    assert line.startswith("error: resume: a configuration file cannot resume a run; give it on")


@pytest.mark.parametrize("name", ["overrides.yaml", "hydra.yaml"])
def test_a_pipe_in_the_record_of_a_run_is_not_read(folder: Path, name: str) -> None:
    (folder / "run/.hydra").mkdir(parents=True)
    (folder / "run/.hydra/config.yaml").write_text(yaml.safe_dump(show()))
    os.mkfifo(folder / "run/.hydra" / name)
    assert configure("resume=run").seed == 0


@pytest.mark.parametrize(
    "damage", ["seed: !!timestamp x", "[!!bool x]", "[!!int x]", "- !!python/x y"]
)
def test_a_damaged_record_of_overrides_is_not_read(folder: Path, damage: str) -> None:
    (folder / "run/.hydra").mkdir(parents=True)
    (folder / "run/.hydra/config.yaml").write_text(yaml.safe_dump(show()))
    (folder / "run/.hydra/overrides.yaml").write_text(damage)
    assert configure("resume=run").seed == 0


MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize("name", ["overrides.yaml", "hydra.yaml"])
def test_a_record_whose_references_multiply_is_not_read(folder: Path, name: str) -> None:
    (folder / "run/.hydra").mkdir(parents=True)
    (folder / "run/.hydra/config.yaml").write_text(yaml.safe_dump(show()))
    (folder / "run/.hydra" / name).write_text(MERGES)
    assert configure("resume=run").seed == 0


def test_a_long_chain_of_references_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = "".join(f"a{n}: ${{a{n + 1}}}\n" for n in range(1500))
    (folder / "conf/mine.yaml").write_text(f"defaults: [config, _self_]\n{links}a1500: 1\n")
    assert "less deeply" in refuse(capsys, "-cd", "conf", "-cn", "mine")


def show(*overrides: str) -> Any:
    """The settings that ``--cfg job`` prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        assert main([*overrides, "--cfg", "job"]) == 0
    return yaml.safe_load(printed.getvalue())
