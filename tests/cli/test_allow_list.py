"""What a configuration file may change of Hydra's settings, key by key."""

import pytest

from runner.cli.allow_list import check_allowed, dotted
from runner.errors import ConfigError


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("run.dir", ["runs/${now:%H}"], [5, None, ["x"]]),
        ("sweep.dir", ["sweeps"], [True]),
        ("sweep.subdir", ["${hydra.job.num}"], [3]),
        ("sweep.x", [], ["x"]),
        ("mode", ["RUN", "MULTIRUN"], ["run", None]),
        ("verbose", [True, "x"], ["${oc.env:HOME}"]),
        ("runtime.choices.scheduler", ["mine"], ["${x}"]),
        ("runtime.cwd", [], ["/"]),
        ("job.chdir", [], [True]),
        ("output_subdir", [], ["x"]),
        ("launcher.n_jobs", [2, 0.5, True, None], ["2", "${x}", ["2"]]),
        ("launcher", [], [2]),
        ("launcher._target_", [], [1]),
        ("launcher.x._y", [], [1]),
        ("sweeper.n_trials", [9], ["9"]),
        ("sweeper.max_batch_size", [3], []),
        ("callbacks.x", [], [1]),
    ],
)
def test_only_numbers_of_launchers_and_names_of_folders_may_be_set(key, good, bad):
    for value in good:
        check_allowed({"hydra": nested(key, value)}, "mine.yaml")
    for value in bad:
        with pytest.raises(ConfigError, match=rf"^mine\.yaml: a file may not set hydra\.{key};"):
            check_allowed({"hydra": nested(key, value)}, "mine.yaml")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("seed", True),
        ("scheduler", True),
        ("scheduler@scheduler.parts.x", True),
        ("+scheduler@scheduler.parts.x:optimizer", True),
        ("model.hidden[0]", True),
        ("++training.steps", True),
        ("~optimizer.groups", True),
        ("init_from", True),
        ("plugins", False),
        ("resume", False),
        ("compilation_cache", False),
        ("dataset.download", False),
        ("dataset.root", True),
        ("hydra", False),
        ("hydra/launcher", False),
        ("scheduler@hydra.job", False),
        ("scheduler@x:dataset.download", False),
        ("seeds", False),
        ("seed[0]", True),
        ("scheduler@seed.x:hydra.job", False),
    ],
)
def test_a_file_sweeps_the_runners_own_settings_alone(name, allowed):
    settings = {"hydra": {"sweeper": {"params": {name: "1,2"}}}}
    if allowed:
        check_allowed(settings, "mine.yaml")
    else:
        with pytest.raises(ConfigError, match=r"a file may not set hydra\.sweeper\.params\."):
            check_allowed(settings, "mine.yaml")


def test_settings_outside_of_hydras_section_are_not_looked_at():
    check_allowed({"job": {"chdir": True}, "seed": 1}, "mine.yaml")


def test_every_mapping_and_what_is_in_it_has_a_dotted_key():
    found = dict(dotted({"a": {"b": {"c": 1}, "d": [2]}, "e": None}))
    assert found == {
        "a": {"b": {"c": 1}, "d": [2]},
        "a.b": {"c": 1},
        "a.b.c": 1,
        "a.d": [2],
        "e": None,
    }
