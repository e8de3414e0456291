"""What the README shows is what there is."""

import re
from pathlib import Path

from test_plugins import PACKAGE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_package_of_ones_own_is_the_one_that_is_tested() -> None:
    assert blocks("python")[0] == PACKAGE.lstrip()


def test_the_library_example_runs() -> None:
    *statements, last = blocks("python")[1].strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(statements), names)
    peak, cycle, ends = eval(last, names)
    assert (float(peak), int(cycle), list(ends)) == (0.006000000052154064, 1, [4000, 8000])


def test_every_option_is_listed() -> None:
    for group in (ROOT / "conf").iterdir():
        if group.is_dir() and group.name != "hydra":
            row = next(line for line in README.splitlines() if line.startswith(f"| `{group.name}`"))
            assert {path.stem for path in group.iterdir()} <= set(re.findall(r"`(\w+)`", row))
