"""The settings that a run shows in TensorBoard's HParams tab."""

import jax
import numpy as np
import pytest
from sampling import slow_except

from runner.cli.commands import configure
from runner.experiment.build import build
from runner.experiment.hparams import flat_settings
from runner.records.events import EventWriter

STEPS_PER_EPOCH = 1437 // 64


def shown(*overrides):
    return flat_settings(build(configure(*overrides), jax.devices("cpu")[0]))


def test_settings_are_flat_and_say_what_is_trained():
    found = shown("model.hidden=[32,16]", "seed=7", "optimizer.nesterov=true")
    assert found["scheduler"] == "triangular"
    assert found["scheduler.max_lr"] == 0.2
    assert found["optimizer.momentum"] == 0.9
    assert found["optimizer.nesterov"] is True
    assert found["optimizer.lookahead.slow_step_size"] == 0.5
    assert found["model.hidden"] == "[32, 16]"
    assert found["dataset"] == "digits"
    assert found["seed"] == 7
    assert found["training.batch_size"] == 64
    assert all(isinstance(value, (str, int, float, bool)) for value in found.values())
    left_out = ("accelerator", "compilation_cache", "plugins", "task", "hydra", "training.chunk")
    assert not [key for key in found if key.startswith(left_out)]


def test_null_is_left_out():
    found = shown("optimizer.weight_decay=null")
    assert "optimizer.weight_decay" not in found
    assert "optimizer.clip_norm" not in found
    assert "None" not in found.values()


@pytest.mark.parametrize(
    ("overrides", "key", "steps"),
    [
        (["scheduler.step_size_up=110"], "scheduler.step_size_up", 110),
        (["scheduler.step_size_up=5ep"], "scheduler.step_size_up", 5 * STEPS_PER_EPOCH),
        (["training.steps=2ep"], "training.steps", 2 * STEPS_PER_EPOCH),
        (["training.epochs=2"], "training.steps", 2 * STEPS_PER_EPOCH),
        (["scheduler=sequence", "scheduler.lengths.warmup=25%"], "scheduler.lengths.warmup", 220),
        (
            ["scheduler=sequence", "scheduler.parts.cycles.T_0=50%", "scheduler.lengths.warmup=80"],
            "scheduler.parts.cycles.T_0",
            (880 - 80) // 2,
        ),
        (["scheduler=multistep", "scheduler.milestones=[30,2ep]"], "scheduler.milestones", None),
    ],
    ids=str,
)
def test_a_length_is_a_number_of_steps(overrides, key, steps):
    assert shown(*overrides)[key] == ("[30, 44]" if steps is None else steps)


def test_the_epochs_are_left_out_if_the_steps_decide():
    assert shown("training.epochs=2")["training.epochs"] == 2
    assert "training.epochs" not in shown("training.steps=30")


@pytest.mark.parametrize("rates", ["[0.1,0.3,0.2]", "{body: 0.1, head: 0.3, default: 0.2}"])
def test_a_number_per_group_has_a_key_of_its_own(rates):
    found = shown(
        "optimizer.groups={body: Dense_0/*, head: [Dense_1/*]}",
        "optimizer.frozen=[head]",
        "optimizer.multiplier={body: 2}",
        f"scheduler.max_lr={rates}",
    )
    of_groups = ("scheduler.max_lr", "optimizer.multiplier", "optimizer.groups")
    assert {key: value for key, value in found.items() if key.startswith(of_groups)} == {
        "scheduler.max_lr.body": 0.1,
        "scheduler.max_lr.default": 0.2,
        "optimizer.multiplier.body": 2.0,
        "optimizer.groups.body": "[Dense_0/*]",
        "optimizer.groups.head": "[Dense_1/*]",
    }


def test_a_reference_is_shown_as_its_value():
    found = shown("scheduler.base_lr=${.max_lr}", "scheduler.step_size_up=${training.batch_size}")
    assert found["scheduler.base_lr"] == 0.2
    assert found["scheduler.step_size_up"] == 64


def test_no_value_of_the_environment_is_shown(monkeypatch):
    monkeypatch.setenv("MY_RATE", "0.125")
    monkeypatch.setenv("MY_WIDTH", "77")
    monkeypatch.setenv("MY_TYPE", "bfloat16")
    found = shown(
        'scheduler.max_lr="${oc.decode:${oc.env:MY_RATE}}"',
        "scheduler.base_lr=${scheduler.max_lr}",
        "model.hidden=[16,'${oc.decode:${oc.env:MY_WIDTH}}']",
        "training.compute_dtype=${oc.env:MY_TYPE}",
    )
    assert found["training.compute_dtype"] == "${oc.env:MY_TYPE}"
    assert not {"scheduler.max_lr", "scheduler.base_lr"} & set(found)
    assert not {"0.125", "77", "bfloat16"} & set(" ".join(map(str, found.values())).split())
    assert "77" not in found["model.hidden"]


@pytest.fixture
def tab(tmp_path):
    """Answers of TensorBoard's HParams tab about runs with the given overrides."""
    tensorboard = pytest.importorskip("tensorboard.plugins.hparams.hparams_plugin")
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from werkzeug.test import Client

    def ask(runs):
        for name, overrides in runs.items():
            (tmp_path / name).mkdir()
            writer = EventWriter(tmp_path / name)
            writer.hparams(shown(*overrides))
            writer.scalars(np.array([1]), {"eval/accuracy": np.array([0.5])}, np.array([1.7e9]))
            writer.close()
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
        apps = tensorboard.HParamsPlugin(TBContext(data_provider=provider)).get_plugin_apps()

        def post(route, **request):
            answer = Client(apps[route]).post(json=request)
            assert answer.status_code == 200
            return answer.json

        return post

    return ask


TABS = [
    (["scheduler=triangular2", "scheduler=one_cycle"], ["mode", "pct_start", "step_size_up"]),
    (["optimizer=sgd", "optimizer=adam"], ["b1", "momentum", "nesterov"]),
    (["scheduler.step_size_up=110", "scheduler.step_size_up=5ep"], ["step_size_up"]),
    (["optimizer.clip_norm=null", "optimizer.clip_norm=1"], ["clip_norm"]),
]


@pytest.mark.parametrize("shown_runs", slow_except(TABS[:1], TABS), ids=str)
def test_the_tab_has_a_column_for_every_setting_of_any_run_and_sorts_by_each(tab, shown_runs):
    runs, present = shown_runs
    post = tab({str(number): [override] for number, override in enumerate(runs)})

    infos = post("/experiment")["hparamInfos"]

    names = [info["name"] for info in infos]
    assert set(names) == {key for override in runs for key in shown(override)}
    assert set(present) <= {name.rpartition(".")[2] for name in names}
    statuses = ["STATUS_SUCCESS"]
    for name in names:
        column = {"hparam": name, "order": "ORDER_ASC"}
        answer = post("/session_groups", colParams=[column], allowedStatuses=statuses, sliceSize=9)
        assert len(answer["sessionGroups"]) == 2


def test_the_tab_begins_with_what_is_swept(tab):
    post = tab({seed: [f"seed={seed}", "scheduler.max_lr=0.1"] for seed in "12"})
    first = post("/experiment")["hparamInfos"][0]
    assert (first["name"], first["differs"]) == ("seed", True)


def test_what_differs_between_runs_comes_first_in_the_tab(tab):
    post = tab(
        {
            "a": ["scheduler=triangular", "seed=1", "scheduler.max_lr=0.1"],
            "b": ["scheduler=triangular2", "seed=2", "scheduler.max_lr=0.2"],
        }
    )
    infos = post("/experiment")["hparamInfos"]
    differing = ["scheduler", "scheduler.max_lr", "scheduler.mode", "seed"]
    assert sorted(info["name"] for info in infos if info["differs"]) == differing
    assert sorted(info["name"] for info in infos[: len(differing)]) == differing
