"""Folders that Hydra's settings name, and sweeps whose members are chosen later."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from omegaconf import OmegaConf

from runner.cli.folders import check_unseen, job_name, member_folder, new_folder, read_folder
from runner.errors import ConfigError

COMPOSER = SimpleNamespace(answered=nullcontext)


def run_folder(value, subdir=".hydra"):
    return OmegaConf.create({"hydra": {"run": {"dir": value}, "output_subdir": subdir}})


@pytest.mark.parametrize(
    ("name", "folder"), [("a/b", "a/b"), ("new/../victim", "victim"), ("./a/", "a"), ("a b", "a b")]
)
def test_a_folder_is_named_without_detours(name, folder):
    assert read_folder(COMPOSER, run_folder(name), "hydra.run.dir") == Path(folder)


@pytest.mark.parametrize("name", ["", "  ", 5, None, "a\nb", "a\x1b[31m", "\x9b", "\ud800"])
def test_what_is_not_the_name_of_a_folder_is_refused(name):
    with pytest.raises(ConfigError, match=r"^hydra\.run\.dir: .* is not a folder; name one"):
        read_folder(COMPOSER, run_folder(name), "hydra.run.dir")


@pytest.mark.parametrize(
    ("name", "explicit"), [("{}/x", True), ("{}/${{now:%Y}}", False), ("{}/${{y}}", True)]
)
def test_a_folder_named_by_the_time_is_not_explicit(tmp_path, name, explicit):
    setup_globals()  # the resolver now
    cfg = run_folder(name.format(tmp_path))
    cfg.y = "z"
    assert new_folder(COMPOSER, cfg, "hydra.run.dir", marks=())[1] == explicit


def test_a_folder_that_holds_something_else_than_a_run_is_refused(tmp_path):
    cfg = run_folder(str(tmp_path))

    def told(**options):
        return new_folder(COMPOSER, cfg, "hydra.run.dir", marks=("a", "b"), **options)

    assert told() == (tmp_path, True)
    (tmp_path / "c").touch()
    with pytest.raises(ConfigError, match="is not empty; name a new folder"):
        told()
    assert told(empty=False) == (tmp_path, True)
    (tmp_path / "b").touch()
    assert told() == (tmp_path, True)


@pytest.mark.parametrize("record", ["", ".", "..", "../x", "a/b", "/a"])
def test_hydras_record_has_a_plain_name(tmp_path, record):
    new_folder(COMPOSER, run_folder(str(tmp_path), None), "hydra.run.dir", marks=())
    with pytest.raises(ConfigError, match=r"^hydra\.output_subdir: .* is not a name"):
        new_folder(COMPOSER, run_folder(str(tmp_path), record), "hydra.run.dir", marks=())


@pytest.mark.parametrize(("name", "inside"), [("0", True), ("a/../b", True), ("../s2", False)])
def test_a_member_lies_within_its_sweep(name, inside):
    cfg = OmegaConf.create({"hydra": {"sweep": {"subdir": name}}})
    if inside:
        assert member_folder(COMPOSER, cfg, Path("s")).is_relative_to("s")
    else:
        with pytest.raises(ConfigError, match="is not inside the folder of the sweep"):
            member_folder(COMPOSER, cfg, Path("s"))


def sweep(subdir, **params):
    return OmegaConf.create({"hydra": {"sweep": {"subdir": subdir}, "sweeper": {"params": params}}})


def test_a_job_without_an_override_in_its_name_is_the_default():
    settings = SimpleNamespace(kv_sep="=", item_sep=",", exclude_keys=["seed"])
    parser = OverridesParser.create()
    seed, steps = parser.parse_overrides(["seed=3", "training.steps=5"])
    assert job_name([seed], settings) == "default"
    assert job_name([seed, steps], settings) == "steps=5"


def test_members_that_are_chosen_later_depend_on_numbers_and_overrides_alone():
    for name in ("${hydra.job.num}", "a/${hydra:job.id}_${hydra.job.override_dirname}", "x=1,y+-"):
        check_unseen(sweep(name, seed="1,2"))
    check_unseen(OmegaConf.create({"hydra": {"sweep": {"subdir": "x"}, "sweeper": {}}}))
    for name in ("${oc.env:HOME}", "${seed}", "a b", "${hydra.job.name}", "..", 5.5):
        with pytest.raises(ConfigError, match=r"^hydra\.sweep\.subdir: "):
            check_unseen(sweep(name))
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.params\.seed: .*an interpolation"):
        check_unseen(sweep("x", seed="${oc.env:S}"))
