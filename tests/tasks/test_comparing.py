"""``task.compare``: a compared scheduler gives the same as if it were the chosen one."""

import csv
from fractions import Fraction

import pytest
from PIL import Image

from runner.cli.commands import configure
from runner.report import plots


@pytest.fixture
def check(run):
    return lambda *overrides, **names: run("task=check", *overrides, **names)


@pytest.fixture
def drawn(monkeypatch):
    """What the next plots show: name → values, one mapping per plot."""
    pictures = []
    draw = plots.comparison_figure

    def noted(schedules):
        pictures.append(schedules)
        return draw(schedules)

    monkeypatch.setattr("runner.report.plots.comparison_figure", noted)
    return pictures


def compared(*overrides):
    return {
        choice.option: dict(choice.settings)
        for choice in configure(*overrides).task.settings.compare
    }


@pytest.mark.slow
def test_a_table_is_the_one_that_the_scheduler_gives_when_chosen(check, drawn):
    settings = ["training.steps=500", "scheduler.max_lr=0.4", "scheduler.cycle_momentum=true"]
    code, folder = check(*settings, "task.compare=[one_cycle,triangular2]")
    assert code == 0
    names = {path.name for path in folder.iterdir()}
    tables = {"schedule.csv", "schedule_one_cycle.csv", "schedule_triangular2.csv"}
    assert names == {".hydra", "schedule.png", *tables}
    for option in ("triangular", "one_cycle", "triangular2"):
        _, alone = check(*settings, f"scheduler={option}", name=option)
        table = "schedule.csv" if option == "triangular" else f"schedule_{option}.csv"
        assert (folder / table).read_bytes() == (alone / "schedule.csv").read_bytes()
    assert [list(schedules) for schedules in drawn] == [["triangular", "one_cycle", "triangular2"]]


def test_a_table_is_the_formula_at_every_step(check, read_table):
    _, folder = check(
        "scheduler=one_cycle",
        "task.compare=[triangular2,constant]",
        "scheduler.max_lr=0.21",
        "training.steps=880",
    )
    header, *rows = read_table(folder / "schedule_triangular2.csv")
    assert header == ["step", "lr", "momentum", "cycle"]
    # 5 epochs of 22 steps up and as many down, from 0.01 to the bound on the command line.
    for step, (_, rate, momentum, cycle) in enumerate(rows):
        share = Fraction(110 - abs(step % 220 - 110), 110)
        exact = Fraction("0.01") + Fraction("0.2") * share / 2 ** (step // 220)
        assert abs(Fraction(rate) / exact - 1) < Fraction(5, 10**7)
        assert momentum == ""
        assert int(cycle) == step // 220
    with (folder / "schedule_constant.csv").open(newline="") as file:
        rates = {row["lr"] for row in csv.DictReader(file)}
    assert rates == {"0.1"}  # which has no max_lr


def test_groups_of_parameters_have_a_column_and_a_curve_each(check, drawn, capsys):
    settings = [
        "optimizer.groups.head=Dense_2/*",
        "optimizer.groups.body=Dense_0/*",
        "optimizer.frozen=[body]",
        "optimizer.multiplier.head=10",
        "scheduler.max_lr=[0.2,0.4,0.6]",
    ]
    code, folder = check(*settings, "task.compare=[triangular2]")
    text = " ".join(capsys.readouterr().out.split())
    assert code == 0
    _, alone = check(*settings, "scheduler=triangular2", name="alone")
    table = folder / "schedule_triangular2.csv"
    assert table.read_bytes() == (alone / "schedule.csv").read_bytes()
    names = table.read_text().partition("\n")[0].split(",")[1:-2]
    assert [list(values.rates) for values in drawn[0].values()] == [names, names]
    assert "lr/head" in names
    assert len(names) == 2  # one is frozen
    place = ["head", "body"].index("head")
    assert f"head: rates 0.1 to {[2, 4, 6][place]}" in text


def test_a_scheduler_is_drawn_once(check, drawn):
    config = configure("task=check", "scheduler=cosine", "task.compare=[linear,cosine,linear]")
    assert [choice.option for choice in config.task.settings.compare] == ["linear"]
    _, folder = check("scheduler=cosine", "task.compare=[linear,cosine,linear]")
    assert list(drawn[0]) == ["cosine", "linear"]
    assert [path.name for path in folder.glob("schedule_*")] == ["schedule_linear.csv"]


def test_comparing_a_scheduler_with_itself_does_not_change_the_plot(check):
    _, plain = check("scheduler=cosine", name="plain")
    _, same = check("scheduler=cosine", "task.compare=[cosine]", name="same")
    pictures = [Image.open(folder / "schedule.png") for folder in (plain, same)]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_each_gets_a_row_and_its_own_warnings(check, capsys):
    check(
        "task.compare=[one_cycle,exp_range,constant]",
        "training.steps=300",
        "scheduler.step_size_up=30",
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    # Cycles of 60 steps; of one_cycle, a climb from max_lr / 25 and a fall to 1/10,000 of that.
    assert "schedule triangular, 5 whole cycles, rates 0.01 to 0.2" in lines
    first = next(line for line in lines if line.startswith("compared"))
    assert first.startswith("compared one_cycle, 1 whole cycle, rates ")
    assert first.endswith(" to 0.2")
    assert "constant, no cycle ends, rate 0.1" in lines
    about = "scheduler.step_size_up: 1.36 epochs; 2 to 10 epochs"
    assert len([line for line in lines if line.startswith(f"warning: {about}")]) == 1
    assert len([line for line in lines if line.startswith(f"warning: exp_range: {about}")]) == 1
    assert not [line for line in lines if line.startswith("warning: one_cycle")]
    assert lines[-1].endswith(
        "/schedule.csv, schedule_one_cycle.csv, schedule_exp_range.csv, schedule_constant.csv, "
        "schedule.png"
    )


def test_an_override_applies_to_every_scheduler_with_that_key():
    found = compared(
        "task=check",
        "scheduler.max_lr=0.7",
        "scheduler.step_size_up=9",
        "scheduler.step_size_down=3",
        "task.compare=[exp_range,one_cycle,constant,triangular_lr]",
    )
    assert [found["exp_range"][key] for key in ("max_lr", "step_size_up", "step_size_down")] == [
        0.7,
        9,
        3,
    ]
    assert found["exp_range"]["gamma"] == 0.999  # its own
    assert found["one_cycle"]["max_lr"] == found["triangular_lr"]["max_lr"] == 0.7
    assert dict(found["constant"]) == {"base_lr": 0.1, "factor": 1.0, "total_iters": 0}


@pytest.mark.slow
def test_overrides_of_parts_and_added_keys_apply_to_schedulers_with_them(tmp_path):
    folder = tmp_path / "conf/scheduler"
    folder.mkdir(parents=True)
    (folder / "longer.yaml").write_text("defaults: [sequence, _self_]\nlengths: {warmup: 50%}\n")
    found = compared(
        "--config-dir",
        str(tmp_path / "conf"),
        "task=check",
        "scheduler=sequence",
        "scheduler@scheduler.parts.cycles=triangular",
        "scheduler.parts.cycles.max_lr=0.3",
        "+scheduler@scheduler.parts.end=constant",
        "+scheduler.lengths.end=null",
        "scheduler.lengths.cycles=20ep",
        "task.compare=[longer,triangular]",
    )
    parts = found["longer"]["parts"]
    assert [part.name for part in parts.values()] == ["linear", "cyclic"]
    assert parts["cycles"].settings.max_lr == 0.3
    assert found["longer"]["lengths"] == {"warmup": "50%", "cycles": "20ep"}
    assert found["triangular"]["max_lr"] == 0.2


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--config-dir={}", "hydra.searchpath=[file://{}]"])
def test_a_users_option_is_compared(check, tmp_path, flag):
    folder = tmp_path / "conf/scheduler"
    folder.mkdir(parents=True)
    (folder / "it's slow.yaml").write_text("defaults: [triangular, _self_]\nstep_size_up: 10ep\n")
    flag = flag.format(tmp_path / "conf")
    code, folder = check(flag, 'task.compare=["it\'s slow"]')
    assert code == 0
    _, alone = check("scheduler.step_size_up=10ep", name="alone")
    table = folder / "schedule_it's slow.csv"
    assert table.read_bytes() == (alone / "schedule.csv").read_bytes()


@pytest.mark.slow
def test_members_of_a_multirun_compare_by_their_own_settings(run, tmp_path):
    sweep = tmp_path / "sweep"
    code, _ = run(
        "-m",
        f"hydra.sweep.dir={sweep}",
        "hydra.sweep.subdir=${hydra.job.num}",
        "task=check",
        "task.compare=[constant,one_cycle],[constant]",
        "scheduler=one_cycle,triangular",
        "scheduler.max_lr=0.3",
    )
    assert code == 0
    tables = [sorted(path.name for path in (sweep / job).glob("*.csv")) for job in "0123"]
    constant, one_cycle = "schedule_constant.csv", "schedule_one_cycle.csv"
    assert tables == [
        ["schedule.csv", constant],
        ["schedule.csv", constant, one_cycle],
        ["schedule.csv", constant],
        ["schedule.csv", constant],
    ]
    chosen, beside = (sweep / "0/schedule.csv"), (sweep / "1" / one_cycle)
    assert chosen.read_bytes() == beside.read_bytes()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["training.steps=3", "task.compare=[one_cycle]"],
            "task.compare one_cycle: scheduler.total_steps: 3 is too short: the peak would be at "
            "step -0.1; write at least 4, or pct_start above 0.333",
        ),
        (
            ["task.compare=[bad]"],  # 0.01 - (0.29 - 0.01) / 4 at the first step up
            "task.compare bad: scheduler: the rate is -0.06 at step 1; change scale_fn, the "
            "bounds or the multiplier: rates must be finite and at least 0",
        ),
    ],
)
def test_an_error_of_a_compared_scheduler_names_the_option(
    check, capsys, tmp_path, overrides, line
):
    folder = tmp_path / "conf/scheduler"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text(
        "defaults: [cyclic, _self_]\nscale_fn: '-x'\nstep_size_up: 4\nmax_lr: 0.29\n"
    )
    code, folder = check(f"--config-dir={tmp_path / 'conf'}", *overrides)
    assert (code, capsys.readouterr().err) == (2, f"error: {line}\n")
    assert not list(folder.glob("schedule*"))
