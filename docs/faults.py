"""Writes ``faults.md``: what happens on each fault, from the docstrings of ``tests/faults/``.

A test of a fault has a docstring with three entries: ``Fault``, ``Effect`` and ``Exit code``.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
TESTS = DOCS.parent / "tests" / "faults"
PAGE = DOCS / "faults.md"
ENTRIES = ("Fault", "Effect", "Exit code")

HEAD = """# Faults

What a run does when something goes wrong. Each row is a test in `tests/faults/` that injects the
fault into real processes. `python -m pytest tests/faults` runs the tests; those that mount a small
disk need root. `docs/faults.py` writes this page from the docstrings of the tests.
"""


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The text of the page.

    Raises:
      ValueError: a test's docstring lacks an entry.
    """
    parts = [HEAD]
    for path in sorted(TESTS.glob("test_*.py"), reverse=True):
        module = ast.parse(path.read_text(encoding="utf-8"))
        title = str(ast.get_docstring(module)).splitlines()[0].rstrip(".")
        rows = [f"| {' | '.join(entries)} |" for entries in _faults(module)]
        parts.append(
            "\n".join([f"\n## {title}\n", "| fault | effect | exit code |", "|---|---|---|"])
        )
        parts.append("\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _faults(module: ast.Module) -> Iterator[list[str]]:
    """The entries of each test, in order."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            text = " ".join(str(ast.get_docstring(node)).split())
            found = re.fullmatch(r"Fault: (.+) Effect: (.+) Exit code: (.+)", text)
            if found is None:
                raise ValueError(f"{node.name}: its docstring needs {', '.join(ENTRIES)}")
            yield [entry.replace("|", "\\|") for entry in found.groups()]


if __name__ == "__main__":
    main()
