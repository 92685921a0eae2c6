"""CONTRIBUTING.md names packages and files that are there, and says what each word means once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of each row of the table that begins with *heading*."""
    table = PAGE.split(f"\n{heading}", 1)[1].split("\n\n", 1)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_layers_are_those_of_the_import_contract() -> None:
    """Each package is in one row, in the order that the contract enforces."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (down,) = (each for each in contracts if each.get("containers") == ["guardrail"])
    enforced = [
        {name for name in re.findall(r"\w+", layer) if f"({name})" not in layer}
        for layer in down["layers"]
    ]
    told = [set(re.findall(r"`(\w+)`", row[0])) for row in rows("| package | purpose")]
    assert told == [names for names in enforced if names]


@pytest.mark.parametrize("row", rows("| where is ..."), ids=lambda row: row[1].strip("`"))
def test_the_answer_to_each_question_is_a_file(row: list[str]) -> None:
    """A file that moved takes its answer with it."""
    assert (ROOT / "guardrail" / row[1].strip("`")).is_file()


def test_there_are_ten_questions_and_no_word_has_two_rows() -> None:
    """A word that stands twice would have two meanings."""
    words = [row[0] for row in rows("| word | meaning")]
    assert len(rows("| where is ...")) == 10
    assert len(words) == len(set(words)) >= 20


def test_a_word_with_one_meaning_names_nothing_else_in_the_code() -> None:
    """Replacements are not sealed, and what a lint observes is no witness."""
    for folder, word in (("core/redaction", "seal"), ("authoring", "witness")):
        for file in (ROOT / "guardrail" / folder).rglob("*.py"):
            assert word not in file.read_text(encoding="utf-8").lower(), file
