"""Configuration files: what could run code or hang is refused, with file and line."""

import re
from pathlib import Path

import pytest

from runner.cli import main
from runner.cli.commands import configure

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{this}: &{this} [{','.join(['*' + last] * 10)}]\n"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)
DOUBLINGS = "name: cyclic\na0: x\n" + "".join(
    f"a{n + 1}: '${{.a{n}}}${{.a{n}}}'\n" for n in range(40)
)

# (text of scheduler/mine.yaml, line or None, what the answer says)
REFUSED = {
    "a repeated key": ("name: cyclic\nbase_lr: 1\nbase_lr: 2\n", 3, "'base_lr' appears twice"),
    "a nested repeated key": ("name: cyclic\nx:\n  y: 1\n  y: 2\n", 4, "'y' appears twice"),
    "invalid YAML": ("name: cyclic\n  base_lr: [1,\n", 2, "is not valid YAML"),
    "a tab": ("name: cyclic\nx:\n\t- 1\n", 3, "is not valid YAML"),
    "two documents": ("name: cyclic\n---\nname: cyclic\n", 2, "is not valid YAML"),
    "a control character": ("name: \0\n", None, "is not valid YAML"),
    "octal": ("name: cyclic\nbase_lr: 010\n", 2, "010 would be read as 8"),
    "sexagesimal": ("name: cyclic\nlast_epoch: 12:30\n", 2, "12:30 would be read as 750"),
    "a target": ("name: cyclic\n_target_: os.system\n", 2, "_target_ is not allowed"),
    "a nested target": ("x:\n- y: {_target_: os.system}\n", 2, "_target_ is not allowed"),
    "an escaped target": ('x: {"\\x5ftarget_": os.system}\n', 1, "_target_ is not allowed"),
    "a target in a text": ("x: '${oc.create:{_target_: os.system}}'\n", 1, "_target_ is not"),
    "a Python object": ("name: !!python/object/apply:os.system [ls]\n", 1, "python/object"),
    "a Python path": ("name: !!python/object/apply:pathlib.Path [x]\n", 1, "python/object"),
    "a tag that does not suit the value": (
        "seed: !!timestamp x\n",
        1,
        "!!timestamp is not allowed",
    ),
    "a mapping as a set": ("x: !!set {a}\n", 1, "!!set is not allowed"),
    "a tag of one's own": ("name: !mine x\n", 1, "!mine"),
    "an empty group": ("defaults:\n- '': x\n", 2, "'' in the defaults list is not the name of"),
    "a number for a group": ("defaults: [1: x]\n", 1, "'1' in the defaults list is not the name"),
    "a list": ("- a\n- b\n", 1, "holds no settings"),
    "a text": ("hello\n", 1, "holds no settings"),
    "an alias bomb": (BOMB, None, "expands to more than"),
    "an alias of itself": ("a: &a [*a]\n", None, "expands to more than"),
    "deep brackets": ("a: " + "[" * 30_000 + "\n", None, "nested too deeply"),
    "deep lists": ("- " * 10_000 + "x\n", None, "nested too deeply"),
    "a large file": ("a: " + "x" * 100_000, None, "larger than 32 KiB"),
    "a package to search": (
        "hydra:\n  searchpath: ['pkg://antigravity']\n",
        None,
        "a file may not set hydra.searchpath",
    ),
}


def refuse(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["--config-dir", "conf", *args]) == 2
    line = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+: [^\n]+; [^\n]+\n", line)
    return line.removeprefix("error: ")


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/scheduler").mkdir(parents=True)
    return tmp_path / "conf"


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_not_plain_settings_is_refused(
    case: str, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, says = REFUSED[case]
    (conf / "scheduler/mine.yaml").write_text(text, encoding="utf-8")

    said = refuse(capsys, "scheduler=mine")
    place = "scheduler/mine.yaml" + (f":{line}: " if line else ": ")
    assert place in said
    assert says in said


def test_a_file_must_be_utf8(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "scheduler/mine.yaml").write_bytes(b"name: \xff\xfe\n")
    assert "is not UTF-8" in refuse(capsys, "scheduler=mine")


def test_interpolations_cannot_grow_without_bounds(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (conf / "scheduler/mine.yaml").write_text(DOUBLINGS)
    says = "expands to more than 1,000,000 characters"
    assert says in refuse(capsys, "scheduler=mine")
    assert says in refuse(capsys, "scheduler=mine", "--cfg", "job", "--resolve")


@pytest.mark.parametrize(
    "hydra",
    [
        "callbacks: {x: '${oc.create:\"{${u}target${u}: os.system, command: touch PWNED}\"}'}",
        "callbacks: {x: '${oc.decode:\"{${u}target${u}: os.system, command: touch PWNED}\"}'}",
        "launcher: {x: '${oc.decode:\"[{${u}target${u}: os.system, command: touch PWNED}]\"}'}",
        "job_logging: {handlers: {x: {(): os.system, command: touch PWNED}}}",
        "job_logging: {handlers: {x: {class: logging.handlers.SocketHandler}}}",
        "job_logging: {handlers: '${x}'}",
        "hydra_logging: {handlers: {x: {class: logging.StreamHandler, stream: 'ext://os.system'}}}",
    ],
)
@pytest.mark.parametrize("flags", [[], ["-m", "seed=0,1"]])
def test_hydras_section_cannot_run_code(
    hydra: str, flags: list[str], conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"defaults: [config, _self_]\nu: _\nhydra:\n  {hydra}\n"
    text = text.replace("${u}", "${compilation_cache}").replace("u: _", "compilation_cache: _")
    (conf / "mine.yaml").write_text(text)

    assert "hydra." in refuse(capsys, "--config-name", "mine", *flags)
    assert not Path("PWNED").exists()


@pytest.mark.parametrize(
    "override",
    [
        "hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks={x: {_target_: os.system}}",
        "hydra.launcher._target_=os.system",
        "+model._target_=os.system",
        "+model={_target_: os.system}",
    ],
)
def test_a_target_on_the_command_line_is_refused(
    override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "_target_ is not allowed" in refuse(capsys, override)


def test_a_file_may_not_name_plugins(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("evil.py").write_text("open('PWNED', 'w')\n")
    (conf / "mine.yaml").write_text("defaults: [config, _self_]\nplugins: [evil]\n")

    assert "command line only" in refuse(capsys, "--config-name", "mine")
    assert not Path("PWNED").exists()


@pytest.mark.parametrize("text", ["step_size_up: 10ep\n", "", "defaults: [_self_]\n"])
def test_an_option_that_names_nothing_is_told_what_its_file_lacks(
    text: str, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = conf / "scheduler/slow.yaml"
    file.write_text(text)

    said = refuse(capsys, "scheduler=slow")
    assert said == (
        "scheduler.name: has no value with the option 'slow'; begin scheduler/slow.yaml with "
        "defaults: [triangular, _self_] to build on an option, or with name: ...\n"
    )
    file.write_text(f"defaults: [triangular, _self_]\n{text if 'defaults' not in text else ''}")
    assert configure("--config-dir", "conf", "scheduler=slow").scheduler.option == "slow"


@pytest.mark.parametrize("group", ["optimizer", "model", "dataset", "task"])
def test_the_option_that_a_file_is_told_to_build_upon_is_there(
    group: str, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (conf / group).mkdir()
    file = conf / group / "mine.yaml"
    file.touch()

    example = re.search(r"with (defaults: .*\]) to", refuse(capsys, f"{group}=mine"))
    assert example
    file.write_text(example[1])
    assert vars(configure("--config-dir", "conf", f"{group}=mine"))[group].option == "mine"


def test_options_of_ones_own_are_found(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "scheduler/mine.yaml").write_text(
        "defaults: [cyclic, _self_]\nscale_fn: 1 / (1 + 0.1 * x)\n"
    )

    assert main(["-cd", "conf", "scheduler=mine", "--cfg", "job", "-p", "scheduler"]) == 0
    shown = capsys.readouterr().out
    assert "name: cyclic" in shown
    assert "scale_fn: 1 / (1 + 0.1 * x)" in shown
    assert main(["-cd", "conf", "--help"]) == 0
    assert "linear, mine, multistep" in " ".join(capsys.readouterr().out.split())
