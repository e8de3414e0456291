"""What a resumed run may change, and how a run that continues another one is composed."""

import shutil

import pytest
from omegaconf import OmegaConf

from runner.cli.continuation import Continuation, composer_of
from runner.cli.flags import read_flags
from runner.errors import ConfigError

# Everything that a resumed run may change.
ALLOWED = [
    "accelerator=cpu",
    "checkpoint.every=5",
    "checkpoint.keep=7",
    "checkpoint.best=false",
    "checkpoint.cycle_ends=true",
    "compilation_cache=false",
    "dataset.placement=host",
    "plugins=[]",
    "training.chunk=3",
    "training.epochs=3",
    "training.eval_at_cycle_end=true",
    "training.eval_every=2",
    "training.log_every=2",
    "training.snapshots=true",
    "training.steps=7",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run folder with the record of ``seed=3 training.batch_size=16``, and no state."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    (folder / ".hydra").mkdir(parents=True)
    lines = ["seed=3", "training.batch_size=16", "resume_changes=true"]
    composer = composer_of(read_flags(lines))
    cfg = composer.compose(composer.lines)
    settings = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(settings))
    record = {"hydra": {"runtime": {"choices": dict(cfg.hydra.runtime.choices)}}}
    (folder / ".hydra" / "hydra.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(record)))
    (folder / ".hydra" / "overrides.yaml").write_text(OmegaConf.to_yaml([*lines[:2], 5]))
    return folder


def resumed(saved, *changes):
    composer = composer_of(read_flags([f"resume={saved}", *changes]))
    return composer, composer.compose(composer.lines)


def test_what_leaves_the_parameters_alone_may_change(saved):
    composer, cfg = resumed(saved, *ALLOWED)
    assert isinstance(composer, Continuation)
    composer.check_changes(cfg)
    assert (cfg.seed, cfg.training.batch_size, cfg.training.steps) == (3, 16, 7)
    assert cfg.resume_changes is False  # which an earlier attempt had allowed
    assert composer.earlier == ["seed=3", "training.batch_size=16"]
    assert composer.changes == ALLOWED


def test_every_other_change_is_named(saved):
    composer, cfg = resumed(saved, "scheduler.max_lr=0.5", "model=linear", "training.chunk=3")
    with pytest.raises(ConfigError) as caught:
        composer.check_changes(cfg)
    assert caught.value.key == "resume"
    named = caught.value.problem.removeprefix("changes ").split(", ")
    assert named[0] == "model from mlp to linear"
    assert "scheduler.max_lr from 0.2 to 0.5" in named
    assert not [line for line in named if "chunk" in line or line.startswith("model.")]
    composer, cfg = resumed(saved, "seed=4", "resume_changes=true")
    composer.check_changes(cfg)
    assert cfg.seed == 4


@pytest.mark.parametrize(
    ("lines", "key", "says"),
    [
        (["resume={saved}", "init_from={saved}"], "init_from", "contradicts resume="),
        (["resume=nowhere"], "resume", "'nowhere' is not a run folder"),
        (["init_from=nowhere"], "init_from", "'nowhere' is not a run folder"),
        (["resume=" + 300 * "x"], "resume", "is not a run folder"),
        (["init_from=" + 300 * "x" + "@4"], "init_from", "is not a run folder"),
        (["resume=[a]"], "resume", "is not a run folder"),
        (["resume=auto"], "resume", "auto needs a fixed run folder"),
        (["resume=auto", "hydra.run.dir=${{now:%Y}}"], "resume", "auto needs a fixed run folder"),
    ],
)
def test_what_is_continued_is_one_run(saved, lines, key, says):
    with pytest.raises(ConfigError, match=says) as caught:
        composer_of(read_flags([line.format(saved=saved) for line in lines]))
    assert caught.value.key == key


@pytest.mark.parametrize("step", ["", "@5"])
def test_a_fork_is_recorded_with_the_whole_path_and_the_step(saved, tmp_path, monkeypatch, step):
    folder = shutil.copytree(saved, tmp_path / "run")
    for number in (5, 9):
        (folder / "checkpoints" / str(number)).mkdir(parents=True)
        (folder / "checkpoints" / str(number) / "manifest.json").touch()
    monkeypatch.chdir(tmp_path)
    composer = composer_of(read_flags([f"init_from=run{step}"]))
    assert composer.compose(composer.lines).init_from == f"{folder}{step}"


def test_auto_starts_a_run_if_there_is_none_and_resumes_the_one_that_there_is(saved, tmp_path):
    fresh = composer_of(read_flags(["resume=auto", f"hydra.run.dir={tmp_path}/new"]))
    assert (type(fresh) is Continuation, fresh.resumes, fresh.resumes_auto) == (False, False, True)
    again = composer_of(read_flags(["resume=auto", f"hydra.run.dir={saved}"]))
    assert (type(again) is Continuation, again.resumes, again.resumes_auto) == (True, True, False)
    plain = composer_of(read_flags(["resume=null", "seed=1"]))
    assert (type(plain) is Continuation, plain.resumes, plain.resumes_auto) == (False, False, False)
