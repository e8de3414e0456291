"""Writes the README's table of config groups and their options, from ``conf/``.

The table stands between two comments in ``README.md``; the rest of the page is left as it is.
``options`` also gives the order in which ``schedulers.md`` lists the schedulers.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from runner.registry import GROUPS

DOCS = Path(__file__).resolve().parent
CONF = DOCS.parent / "conf"
README = DOCS.parent / "README.md"
BEGIN = "<!-- Written by docs/options.py from conf/: -->"
END = "<!-- End of what docs/options.py writes. -->"


def main() -> None:
    """Replaces the table in the README."""
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(page: str) -> str:
    """``page`` with the current table between the two comments.

    Raises:
      ValueError: the page does not have each comment once, in order.
    """
    found = re.fullmatch(rf"(.*{BEGIN}\n).*(\n{END}.*)", page, re.DOTALL)
    if found is None or page.count(BEGIN) + page.count(END) != 2:
        raise ValueError(f"{README.name} must have one {BEGIN!r}, and one {END!r} after it")
    before, after = found.groups()
    return f"{before}\n{table()}{after}"


def table() -> str:
    """A row for each group: its options, the default first; recipes have no default."""
    rows = [f"| `{group}` | {_in_code(options(group))} |\n" for group in GROUPS]
    recipes = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    rows.append(f"| `experiment` | {_in_code(recipes)} |\n")
    return "".join(["| group | options |\n|---|---|\n", *rows])


def options(group: str) -> list[str]:
    """The options of a group: the default first; options that configure the same part together."""
    default = _default(group)

    def position(option: str) -> tuple[bool, str, bool, str]:
        name = _name(group, option)
        return name != _name(group, default), name, option != default, option

    return sorted((path.stem for path in (CONF / group).glob("*.yaml")), key=position)


def _default(group: str) -> str:
    """The option that ``conf/config.yaml`` chooses."""
    entries = _read(CONF / "config.yaml")["defaults"]
    return next(entry[group] for entry in entries if isinstance(entry, dict) and group in entry)


def _name(group: str, option: str) -> str:
    """The registered part that an option configures; it may inherit the name."""
    section = _read(CONF / group / f"{option}.yaml")
    return section["name"] if "name" in section else _name(group, section["defaults"][0])


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _in_code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    main()
