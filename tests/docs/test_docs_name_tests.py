"""Every promise in SECURITY.md and the threat model that names a test names one that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_NAMED = re.compile(r"`((?:tests/)?[\w/]*test_\w+\.py|tests/[\w/]+)`")


def rows(document: str, section: str) -> list[list[str]]:
    """Return the cells of each row of the table in *section*."""
    text = (ROOT / document).read_text(encoding="utf-8").split(f"## {section}\n", 1)[1]
    text = text.split("\n## ", 1)[0]
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


@pytest.mark.parametrize(
    ("document", "section", "columns"),
    [
        ("SECURITY.md", "Faults found in reviews", 3),
        ("docs/threat-model.md", "Authentication of data that is read", 5),
    ],
)
def test_each_row_names_a_test_that_is_there(document: str, section: str, columns: int) -> None:
    """A row without a test is a promise that nobody checks."""
    found = rows(document, section)
    assert len(found) > 20
    for row in found:
        assert len(row) == columns, row
        named = _NAMED.findall(row[-1])
        assert named, row
        for name in named:
            matches = [ROOT / name] if "/" in name else list((ROOT / "tests").rglob(name))
            assert matches, name
            assert matches[0].exists(), name


def test_no_row_stands_twice() -> None:
    """Each finding once."""
    found = [row[0] for row in rows("SECURITY.md", "Faults found in reviews")]
    assert len(set(found)) == len(found)


def test_each_decision_record_has_a_number_of_its_own() -> None:
    """A reference to a number can mean only one record."""
    paths = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(path.name[:4]) for path in paths]
    assert len(numbers) > 20
    assert len(set(numbers)) == len(numbers)
    for path, number in zip(paths, numbers, strict=True):
        assert path.read_text(encoding="utf-8").startswith(f"# {number}. "), path.name
