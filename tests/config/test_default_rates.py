"""Default rates follow the scale that an optimizer declares; rates that a user sets do not."""

import optax
import pytest
import yaml

from runner.cli import main
from runner.cli.commands import configure
from runner.errors import ConfigError
from runner.registry import rate_scale_of, register_optimizer


def rates(*overrides, names=("base_lr", "max_lr")):
    settings = configure(*overrides).scheduler.settings
    return tuple(getattr(settings, name) for name in names)


def test_the_default_rates_are_those_of_the_optimizer():
    assert rates() == (0.01, 0.2)
    assert rates("optimizer=adam") == (0.0001, 0.002)
    assert rates("optimizer=adam", "scheduler=cosine", names=["base_lr", "eta_min"]) == (0.001, 0.0)
    assert rates("optimizer=adam", "scheduler=one_cycle", names=["max_lr"]) == (0.002,)
    values = ((0.001, 0.0001, 0.00001),)
    assert rates("optimizer=adam", "scheduler=piecewise", names=["values"]) == values


def test_scaled_rates_are_the_decimal_numbers_of_their_product():
    """In floats 0.1 * 3 is 0.30000000000000004."""
    assert rates("optimizer=schedule_free_sgd", "scheduler=constant", names=["base_lr"]) == (0.3,)
    register_optimizer("test_third", rate_scale=0.7)(optax.sgd)
    assert rates("optimizer=test_third") == (0.007, 0.14)


def test_only_rates_change():
    momenta = ["base_momentum", "max_momentum", "gamma"]
    assert rates("optimizer=adam", names=momenta) == rates(names=momenta)


def test_rates_on_the_command_line_are_not_changed():
    assert rates("optimizer=adam", "scheduler.max_lr=0.2") == (0.0001, 0.2)
    assert rates("scheduler.base_lr=0.01", "optimizer=adam", "scheduler.max_lr=0.02") == (
        0.01,
        0.02,
    )
    groups = "optimizer.groups={head: Dense_2/*}", "scheduler.max_lr={head: 0.3, default: 0.1}"
    assert rates("optimizer=adam", *groups) == (0.0001, (0.3, 0.1))


def test_the_parts_of_a_schedule_follow():
    parts = configure("optimizer=adam", "scheduler=sequence").scheduler.settings.parts
    assert [part.settings.base_lr for part in parts.values()] == [0.001, 0.001]
    typed = "scheduler.parts.cycles.base_lr=0.1"
    parts = configure("optimizer=adam", "scheduler=sequence", typed).scheduler.settings.parts
    assert [part.settings.base_lr for part in parts.values()] == [0.001, 0.1]


def test_a_rate_in_a_users_file_is_not_changed_and_one_left_out_is(tmp_path):
    (tmp_path / "scheduler").mkdir()
    own = tmp_path / "scheduler" / "own.yaml"
    own.write_text("defaults: [triangular, _self_]\nmax_lr: 0.2\n")
    chosen = "--config-dir", str(tmp_path), "scheduler=own"
    assert rates(*chosen, "optimizer=adam") == (0.0001, 0.2)
    assert rates(*chosen) == (0.01, 0.2)


def test_a_run_is_repeated_from_its_record_with_the_same_rates(run, capsys):
    short = "training.steps=4", "model=linear", "task=check"
    code, folder = run("optimizer=adam", "scheduler.base_lr=0.0005", *short)
    assert code == 0
    said = capsys.readouterr().out
    assert "adam, default rates × 0.01" in said
    recorded = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert recorded["scheduler"]["base_lr"] == 0.0005
    assert recorded["scheduler"]["max_lr"] == 0.002
    again = "--config-dir", str(folder / ".hydra"), "--config-name", "config"
    assert rates(*again) == (0.0005, 0.002)


@pytest.mark.slow
def test_the_first_lines_say_the_rates(run, capsys):
    assert run("optimizer=adam", "training.steps=2", "model=linear")[0] == 0
    said = capsys.readouterr().out
    assert "default rates are × 0.01 for adam; this run: base_lr 0.0001, max_lr 0.002" in said
    assert run("training.steps=2", "model=linear", name="sgd")[0] == 0
    assert "default rates" not in capsys.readouterr().out


@pytest.mark.slow
def test_each_member_of_a_sweep_and_each_compared_schedule_has_its_own(
    tmp_path, monkeypatch, read_table
):
    monkeypatch.chdir(tmp_path)
    short = "training.steps=16", "model=linear", "task=check", "task.compare=[constant]"
    numbered = "hydra.sweep.dir=s", "hydra.sweep.subdir=${hydra.job.num}"
    assert main(["-m", "optimizer=sgd,adam", *short, *numbered]) == 0
    for number, highest, constant in (0, 0.2, 0.1), (1, 0.002, 0.001):
        _, *rows = read_table(tmp_path / "s" / str(number) / "schedule.csv")
        assert max(float(row[1]) for row in rows) == pytest.approx(highest)
        _, *rows = read_table(tmp_path / "s" / str(number) / "schedule_constant.csv")
        assert [float(row[1]) for row in rows] == pytest.approx([constant] * 16)


def test_a_plugins_optimizer_declares_its_scale_too():
    register_optimizer("test_scaled", rate_scale=0.5)(optax.adam)
    register_optimizer("test_unscaled")(optax.sgd)
    assert rates("optimizer=test_scaled") == (0.005, 0.1)
    assert rates("optimizer=test_unscaled") == (0.01, 0.2)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_must_be_a_finite_number_above_zero(scale):
    with pytest.raises(ConfigError, match=r"^the optimizer 'test_bad': has the rate_scale"):
        register_optimizer("test_bad", rate_scale=scale)
    assert rate_scale_of("test_bad") == 1
