"""Groups and wrappers from the command line: what is recorded, printed and refused."""

from fractions import Fraction
from pathlib import Path

import jax
import pytest
from tensorboard_reading import scalars

from runner.cli.commands import configure
from runner.experiment.build import build

GROUPS = ("optimizer.groups.body=Dense_0/*", "optimizer.groups.head=Dense_2/*")
SMALL = ("model.hidden=[16,16]", "training.steps=60", "training.eval_every=null")
CYCLE = ("scheduler.step_size_up=10", "scheduler.step_size_down=10")


def rate(step, base, top, factor=1):
    r = step % 20
    return Fraction(factor) * (
        Fraction(base) + (Fraction(top) - Fraction(base)) * Fraction(min(r, 20 - r), 10)
    )


@pytest.mark.slow
def test_each_group_has_its_rate_in_tensorboard(run):
    code, folder = run(
        *SMALL,
        *CYCLE,
        *GROUPS,
        "scheduler.base_lr={body: 0.001, head: 0.01, default: 0.002}",
        "scheduler.max_lr=[0.1,0.2,0.3]",
        "optimizer.multiplier.head=0.5",
    )
    assert code == 0
    found = scalars(folder)
    assert "schedule/lr" not in found
    bounds = {
        "body": ("0.001", "0.1", 1),
        "head": ("0.01", "0.2", Fraction(1, 2)),
        "default": ("0.002", "0.3", 1),
    }
    for group, (base, top, factor) in bounds.items():
        steps, rates = found[f"schedule/lr/{group}"]
        assert steps == list(range(60))
        for step, value in zip(steps, rates, strict=True):
            exact = rate(step, base, top, factor)
            assert abs(Fraction(value) / exact - 1) < Fraction(5, 10**7)


@pytest.mark.slow
def test_a_frozen_group_changes_the_result_and_is_not_logged(run, summary):
    _, first = run(*SMALL, *GROUPS, "optimizer.frozen=[head]", "seed=1", name="first")
    found = scalars(first)
    assert {tag for tag in found if tag.startswith("schedule/lr")} == {
        "schedule/lr/body",
        "schedule/lr/default",
    }
    _, other = run(*SMALL, *GROUPS, "seed=1", name="other")
    assert summary(first)["params_sha256"] != summary(other)["params_sha256"]


def test_the_table_has_a_column_for_each_group_in_their_order(run, read_table):
    code, folder = run(
        "task=check",
        *SMALL,
        *CYCLE,
        "optimizer.groups={tail: Dense_2/*, body: Dense_0/*}",
        "scheduler.base_lr=[0.001,0.01,0.002]",
        "optimizer.frozen=[body]",
    )
    assert code == 0
    header, *rows = read_table(folder / "schedule.csv")
    assert header == ["step", "lr/tail", "lr/default", "momentum", "cycle"]
    for step, (number, tail, default, _, cycle) in enumerate(rows):
        assert (int(number), int(cycle)) == (step, step // 20)
        for value, base in ((tail, "0.001"), (default, "0.002")):
            assert abs(Fraction(value) / rate(step, base, "0.2") - 1) < Fraction(5, 10**7)


def test_check_lists_which_parameters_are_in_which_group(run, capsys):
    code, _ = run(
        "task=check",
        "optimizer.groups={biases: '*/bias', body: Dense_0/*}",
        "optimizer.frozen=[body]",
        "optimizer.multiplier={biases: 2}",
        "optimizer.weight_decay={biases: 0, default: 0.01}",
    )
    assert code == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    start = lines.index("group biases 266 parameters, rate × 2, weight_decay 0")
    assert lines[start + 1 : start + 9] == [
        "Dense_0/bias 128",
        "Dense_1/bias 128",
        "Dense_2/bias 10",
        "group body 8,192 parameters, frozen",
        "Dense_0/kernel 64×128",
        "group default 17,664 parameters, rate × 1, weight_decay 0.01",
        "Dense_1/kernel 128×128",
        "Dense_2/kernel 128×10",
    ]


@pytest.mark.slow
def test_check_prints_the_wrappers_around_the_optimizer(run, capsys):
    around = [
        "optimizer.clip_norm=1",
        "optimizer.clip_value=0.5",
        "optimizer.lookahead.sync_period=5",
        "training.ema_decay=0.99",
        "training.accumulate=2",
        "training.compute_dtype=bfloat16",
    ]
    assert run("task=check", *around)[0] == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "440 steps, 40 epochs of 11 steps of 2 batches of 64" in text
    for told in (
        "gradients clipped to values of 0.5 and a norm of 1",
        "lookahead every 5 steps by 0.5",
        "evaluates the average of decay 0.99",
        "computed in bfloat16",
    ):
        assert told in text


def test_every_setting_of_the_wrappers_reaches_the_experiment():
    config = configure(
        *GROUPS,
        "optimizer.clip_norm=2",
        "optimizer.clip_value=0.25",
        "optimizer.lookahead={sync_period: 7, slow_step_size: 0.75}",
        "optimizer.multiplier={default: 4, head: 3}",
        "training.ema_decay=0.75",
        "training.batch_size=32",
        "training.accumulate=3",
        "training.compute_dtype=bfloat16",
    )
    experiment = build(config, jax.devices("cpu")[0])
    wrappers = experiment.hyperparams.wrappers
    assert (float(wrappers.clip_norm), float(wrappers.clip_value)) == (2.0, 0.25)
    assert int(wrappers.lookahead.sync_period) == 7
    assert float(wrappers.lookahead.slow_step_size) == 0.75
    assert wrappers.multiplier.tolist() == [1.0, 3.0, 4.0]
    assert float(wrappers.average.rest) == 0.25
    assert (experiment.static.accumulate, experiment.static.compute_dtype) == (3, "bfloat16")
    lengths = experiment.lengths
    assert (lengths.examples_per_step, lengths.steps_per_epoch) == (96, 14)  # 1437 examples


def test_one_step_may_take_all_examples():
    config = configure("training.batch_size=479", "training.accumulate=3", "training.steps=5")
    assert build(config, jax.devices("cpu")[0]).lengths.steps_per_epoch == 1  # 3 * 479 = 1437


OPTIONS = ["clip_norm: 0.5", "groups: {biases: '*/bias'}"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_users_option_is_read_as_its_keys_on_the_command_line(tmp_path, option):
    folder = tmp_path / "optimizer"
    folder.mkdir()
    (folder / "calm.yaml").write_text(f"defaults: [sgd, _self_]\n{option}\n")
    calm = configure("--config-dir", str(tmp_path), "optimizer=calm")
    same = configure("optimizer.{}={}".format(*option.split(": ", 1)))
    assert calm.wrappers == same.wrappers
    assert calm.optimizer.settings == same.optimizer.settings


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_a_users_option_may_set_wrappers_and_groups(run, tmp_path, option, summary):
    folder = Path(tmp_path) / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "calm.yaml").write_text(f"defaults: [sgd, _self_]\n{option}\n")
    small = ("model=linear", "training.steps=20", "training.eval_every=null")
    code, calm = run(*small, "--config-dir", f"{tmp_path}/mine", "optimizer=calm", name="calm")
    assert code == 0
    key, value = option.split(": ", 1)
    code, same = run(*small, f"optimizer.{key}={value}", name="same")
    assert summary(calm)["params_sha256"] == summary(same)["params_sha256"]
    _, plain = run(*small, name="plain")
    clips = key == "clip_norm"  # a group alone changes no number
    assert (summary(plain)["params_sha256"] != summary(calm)["params_sha256"]) == clips


@pytest.mark.slow
def test_everything_together_learns_the_digits(run, summary):
    code, folder = run(
        *GROUPS,
        "training.epochs=20",
        "optimizer.clip_norm=1",
        "optimizer.lookahead.sync_period=5",
        "training.ema_decay=0.95",
        "training.batch_size=32",
        "training.accumulate=2",
        "training.compute_dtype=bfloat16",
        "optimizer.weight_decay={body: 0.001, head: 0, default: 0.0001}",
        "scheduler.cycle_momentum=true",
    )
    assert code == 0
    assert summary(folder)["steps"] == 440
    assert summary(folder)["metrics"]["eval/accuracy"] >= 0.95


# Numbers alone: modes and lengths of cycles, bounds, decays, clipping, averages, ...
NUMBERS = [
    ("scheduler=triangular", "scheduler.max_lr=0.1", "seed=3"),
    ("scheduler=triangular2", "scheduler.step_size_up=7"),
    ("scheduler=exp_range", "scheduler.gamma=0.999"),
    ("scheduler.mode=triangular2", "scheduler.step_size_down=3"),
    ("scheduler.last_epoch=11", "training.steps=70"),
    ("scheduler.base_lr=0.02", "scheduler.step_size_up=25%"),
    ("optimizer.momentum=0.5", "optimizer.clip_norm=0.5"),
    ("optimizer.clip_norm=3", "optimizer.multiplier.head=3"),
    ("optimizer.multiplier=[1,2,3]", "optimizer.weight_decay=[0,0,1e-3]"),
    ("optimizer.weight_decay=[0.1,0,0]",),
    ("training.ema_decay=0.5",),
    ("training.ema_decay=0.999", "optimizer.lookahead.sync_period=7"),
    ("optimizer.lookahead.slow_step_size=0.9",),
    ("scheduler.base_lr=[0.01,0.02,0.03]", "scheduler.max_lr=[0.1,0.2,0.3]"),
    ("scheduler.base_lr={body: 0.03, head: 0.02, default: 0}", "scheduler.max_lr=[0.1,0.2,0.3]"),
    ("training.log_every=7", "training.chunk=9"),
    ("training.eval_every=13",),
    ("scheduler.max_lr=0.5", "seed=5"),
    ("scheduler.step_size_up=1", "scheduler.step_size_down=1"),
    ("scheduler=triangular2", "scheduler.max_lr=0.4", "optimizer.momentum=0.0"),
]


# One program of each: rates for all groups or for each are not the same arrays.
SHAPES = {
    "number": (),
    "lists": ("scheduler.base_lr=[0.01,0.01,0.01]", "scheduler.max_lr=[0.1,0.1,0.1]"),
    "factors": ("optimizer.multiplier=[1,1,1]",),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shapes", "changes"),
    [
        (["number"], [NUMBERS[1], NUMBERS[6], NUMBERS[11], NUMBERS[15]]),
        pytest.param(SHAPES, NUMBERS, marks=pytest.mark.slow),
    ],
    ids=["four", "twenty"],
)
def test_runs_that_differ_in_hyperparams_share_their_programs(run, compilations, shapes, changes):
    assert len(NUMBERS) == 20
    same = (
        *SMALL[:2],
        *GROUPS,
        "training.eval_every=20",
        "optimizer.clip_norm=1",
        "optimizer.weight_decay=[0.001,0.002,0.003]",
        "optimizer.lookahead.sync_period=5",
        "training.ema_decay=0.9",
    )
    for shape in shapes:
        assert run(*same, *SHAPES[shape], name=shape)[0] == 0
    before = compilations()
    for place, numbers in enumerate(changes):
        assert run(*same, *numbers, name=str(place))[0] == 0
    assert compilations() == before


def test_the_numbers_of_a_frozen_group_are_ignored(run, read_table):
    """Its place in a list or in a mapping is ignored: 9 above 0.05 would be an error."""
    code, folder = run(
        "task=check",
        *CYCLE,
        "training.steps=20",
        "optimizer.groups={a: Dense_0/*, b: Dense_1/*}",
        "optimizer.frozen=[a]",
        "scheduler.base_lr=[9,0.3,0.01]",
        "scheduler.max_lr={default: 0.05, b: 0.4}",
    )
    assert code == 0
    header, *rows = read_table(folder / "schedule.csv")
    assert header == ["step", "lr/b", "lr/default", "momentum", "cycle"]
    assert [row[1:3] for row in (rows[0], rows[10])] == [["0.3", "0.01"], ["0.4", "0.05"]]


def test_numbers_by_name_can_be_set_one_by_one_on_the_command_line(run):
    code, folder = run(
        "task=check",
        *CYCLE,
        "training.steps=20",
        "optimizer.groups.a=Dense_0/*",
        "optimizer.frozen=[default]",
        "scheduler.max_lr.a=0.5",
        "optimizer.weight_decay.a=0.1",
        "optimizer.multiplier.a=2",
    )
    assert code == 0
    assert (folder / "schedule.csv").read_text().splitlines()[11].startswith("10,1.0,")


def test_a_run_that_ends_between_synchronisations_of_lookahead_gives_a_warning(run, capsys):
    assert run("task=check", "training.steps=22", "optimizer.lookahead.sync_period=5")[0] == 0
    assert "the last 2 updates do not reach the slow parameters" in capsys.readouterr().out
    assert run("task=check", "optimizer.lookahead.sync_period=5", name="whole")[0] == 0
    assert "sync_period" not in capsys.readouterr().out


@pytest.mark.slow
def test_hundreds_of_microbatches_of_a_convolution_compile_quickly(run, summary):
    small = ("model=cnn", "model.features=[2]", "training.batch_size=2", "training.steps=2")
    code, folder = run(*small, "training.accumulate=300")
    assert code == 0
    assert summary(folder)["seconds"]["compile"] < 60  # unrolled into one program: minutes


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ("optimizer.groups.a=x scheduler.max_lr={b:1}", "scheduler.max_lr.b"),
        ("optimizer.groups.a=x scheduler.max_lr={a:-1,default:2}", "scheduler.max_lr.a"),
        ("optimizer.groups.a=x scheduler.max_lr={a:null,default:2}", "scheduler.max_lr.a"),
        ("optimizer.groups.a=x scheduler.max_lr={a:[1],default:2}", "scheduler.max_lr.a"),
        ("optimizer.groups.a=x scheduler.max_lr={default:2}", "scheduler.max_lr"),
        ("optimizer.groups.a=x scheduler.max_lr={}", "scheduler.max_lr"),
        ("optimizer.groups.a=x scheduler.max_lr=[]", "scheduler.max_lr"),
        ("optimizer.groups.a=x scheduler.max_lr=[1,2,3]", "scheduler.max_lr"),
        ("scheduler.max_lr=[1,2]", "scheduler.max_lr"),
        (
            "optimizer.groups.a=x optimizer.weight_decay.a=-0.1 optimizer.weight_decay.default=0",
            "optimizer.weight_decay.a",
        ),
        ("optimizer.groups.a=3", "optimizer.groups.a"),
        ("optimizer.groups.a=[]", "optimizer.groups.a"),
        ("optimizer.groups.default=x", "optimizer.groups.default"),
        ("optimizer.groups={a.b:x}", "optimizer.groups"),
        ("optimizer.groups=[a]", "optimizer.groups"),
        ("optimizer.groups=x", "optimizer.groups"),
        ("optimizer.frozen=[b]", "optimizer.frozen"),
        ("optimizer.frozen=[default]", "optimizer.frozen"),
        ("optimizer.frozen=a", "optimizer.frozen"),
        ("optimizer.multiplier.b=3", "optimizer.multiplier.b"),
        ("optimizer.multiplier=0", "optimizer.multiplier"),
        ("optimizer.multiplier=[1,2]", "optimizer.multiplier"),
        ("optimizer.clip_norm=0", "optimizer.clip_norm"),
        ("optimizer.clip_value=-1", "optimizer.clip_value"),
        ("optimizer.lookahead=5", "optimizer.lookahead"),
        ("optimizer.lookahead.sync_period=0", "optimizer.lookahead.sync_period"),
        ("optimizer.lookahead.slow_step_size=2", "optimizer.lookahead.slow_step_size"),
        ("training.accumulate=0", "training.accumulate"),
        ("training.ema_decay=1", "training.ema_decay"),
        ("training.compute_dtype=float16", "training.compute_dtype"),
    ],
)
def test_an_invalid_setting_gives_one_line_that_names_the_key(run, capsys, overrides, key):
    code, folder = run(*overrides.split())
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith(f"error: {key}: ")
    assert len(said.splitlines()) == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["optimizer.groups.a=Dens/*"],
            "optimizer.groups.a: 'Dens/*' matches no parameter; the paths are Dense_0/bias, "
            "Dense_0/kernel, Dense_1/bias, Dense_1/kernel, Dense_2/bias, Dense_2/kernel",
        ),
        (
            ["optimizer.groups={a: '*', b: Dense_0/*}"],
            "optimizer.groups.b: 'Dense_0/*' matches only parameters that the group a ('*') takes "
            "first; write the narrower pattern first",
        ),
        (
            ["optimizer.groups={a: '*'}", "optimizer.frozen=[a]"],
            "optimizer.frozen: leaves no parameter to train; leave a group out of it",
        ),
        (
            ["optimizer.groups={a: '*'}", "scheduler.base_lr={a: 0.1, default: 0.2}"],
            "scheduler.base_lr: 2 numbers, but the parameters are in one group (a); write one for "
            "each group, or a number for all",
        ),
        (
            ["optimizer.groups={a: Dense_0/*}", "optimizer.weight_decay={a: 0.1}"],
            "optimizer.weight_decay: 1 number, but the parameters are in 2 groups (a, default); "
            "write one for each group, or a number for all",
        ),
        (
            [
                "scheduler=piecewise",
                "scheduler.boundaries=[1]",
                "scheduler.values=[[0.1,0.2],0.01]",
                "optimizer.groups={a: '*'}",
            ],
            "scheduler.values[0]: 2 numbers, but the parameters are in one group (a); write one "
            "for each group, or a number for all",
        ),
        (
            ["optimizer.groups={a: '*'}", "optimizer.multiplier=[1,2]"],
            "optimizer.multiplier: 2 numbers, but the parameters are in one group (a); write one "
            "for each group, or a number for all",
        ),
        (
            ["optimizer.groups={a: '*'}", "optimizer.multiplier={a: 1, default: 2}"],
            "optimizer.multiplier.default: there is no default group, as every parameter is in "
            "another one; leave it out",
        ),
        (
            [
                "scheduler=sequence",
                "optimizer.groups.a=Dense_0/*",
                "scheduler.parts.cycles.base_lr=[1]",
            ],
            "scheduler.parts.cycles.base_lr: 1 number, but the parameters are in 2 groups (a, "
            "default); write one for each group, or a number for all",
        ),
        (
            ["optimizer.lookahead.sync_period=881"],
            "optimizer.lookahead.sync_period: 881 is longer than the run of 880 steps; write at "
            "most 880",
        ),
        (
            ["training.accumulate=23"],
            "training.accumulate: 23 batches of 64 are more than the 1437 training examples; "
            "write at most 22",
        ),
    ],
)
def test_a_setting_that_does_not_fit_the_model_or_the_data_gives_one_line(
    run, capsys, overrides, line
):
    code, _ = run(*overrides)
    assert (code, capsys.readouterr().err.strip()) == (2, f"error: {line}")
