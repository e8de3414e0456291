"""Lengths: steps, epochs, shares of the run."""

import pytest

from runner.config.lengths import check_length, is_zero, resolve_length
from runner.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "steps"),
    [(500, 500), ("500", 500), ("4ep", 88), ("0.5ep", 11), ("25%", 250), ("2 ep", 44), (1, 1)],
)
def test_a_length_resolves_to_steps(value: int | str, steps: int) -> None:
    """22 steps an epoch, 1,000 steps a run."""
    check_length(value, key="k")
    found = resolve_length(value, key="k", steps_per_epoch=22, total_steps=1000)
    assert (found, type(found)) == (steps, int)


@pytest.mark.parametrize("value", [0, -5, "0ep", "0%", 2**31, "99999999999ep", "1" * 5000])
def test_a_length_that_no_run_can_have_is_refused_before_it_is_resolved(value: int | str) -> None:
    with pytest.raises(ConfigError, match=r"k: .*; write steps \(500\), epochs \(4ep\)"):
        check_length(value, key="k")


@pytest.mark.parametrize("value", [None, True, 1.5, "", "ep", "4e", "-1ep", "1e3", "٤ep", "4ep\n"])
def test_a_value_that_is_not_a_length_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="is not a length"):
        check_length(value, key="k")


def test_a_length_below_one_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="resolves to 0 steps"):
        resolve_length("0.01ep", key="k", steps_per_epoch=22)


@pytest.mark.parametrize("value", [0, "0", "0ep", "0%"])
def test_a_length_of_zero_must_be_allowed(value: int | str) -> None:
    chosen = {"key": "k", "steps_per_epoch": 22, "total_steps": 1000}
    assert is_zero(value)
    assert resolve_length(value, **chosen, at_least=0) == 0
    with pytest.raises(ConfigError):
        resolve_length(value, **chosen)


def test_a_share_that_rounds_to_zero_is_zero_where_zero_is_allowed() -> None:
    """5% of a run of 3 steps is no warm-up."""
    assert not is_zero("5%")
    chosen = {"key": "k", "steps_per_epoch": 22, "total_steps": 3}
    assert resolve_length("5%", **chosen, at_least=0) == 0


@pytest.mark.parametrize(("share", "steps"), [("12.5%", 1), ("1%", 1), ("50%", 2)])
def test_a_share_of_at_least_one_percent_is_at_least_one_step(share: str, steps: int) -> None:
    chosen = {"key": "k", "steps_per_epoch": 22, "total_steps": 3}
    assert resolve_length(share, **chosen) == steps
    with pytest.raises(ConfigError, match="resolves to 0 steps"):
        resolve_length("0.9%", **chosen)


def test_a_length_in_any_unit_is_at_most_the_longest_run() -> None:
    longest = resolve_length("2147483647%", key="k", steps_per_epoch=1, total_steps=100)
    assert longest == 2**31 - 1
    with pytest.raises(ConfigError, match="resolves to 2147483648 steps"):
        resolve_length("2147483648%", key="k", steps_per_epoch=1, total_steps=100)
    with pytest.raises(ConfigError, match="resolves to 2147483648 steps"):
        resolve_length("2ep", key="k", steps_per_epoch=2**30)


def test_a_run_cannot_be_a_share_of_itself() -> None:
    with pytest.raises(ConfigError, match="which this setting defines"):
        resolve_length("25%", key="k", steps_per_epoch=22)


@pytest.mark.parametrize(
    ("value", "steps"),
    [("0.8ep", 18), ("0.84ep", 18), ("0.85ep", 19), ("0.28%", 2), ("0.29%", 3), ("0.3%", 3)],
)
def test_a_length_is_rounded_to_the_nearest_step(value: str, steps: int) -> None:
    """22 steps an epoch, 880 steps a run: 17.6, 18.48, 18.7, 2.464, 2.552 and 2.64."""
    assert resolve_length(value, key="k", steps_per_epoch=22, total_steps=880) == steps
