"""The tables of docs/integrations.md are those of the tests and of the conformance suite."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from guardrail.testing import conformance

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")


@cache
def maker() -> ModuleType:
    """Return the program that writes the tables."""
    spec = importlib.util.spec_from_file_location("make_paths", ROOT / "docs" / "make_paths.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_paths"] = module
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_what_tests_and_suite_say() -> None:
    """A mark that changed without ``make api`` fails here."""
    assert maker().page(PAGE) == PAGE, "run: make api"


def test_the_driver_that_the_page_shows_keeps_every_rule() -> None:
    """The block under "Rules for adapters", run as a reader would."""
    section = PAGE.split("## Rules for adapters\n", 1)[1]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    rules = conformance.rules_for(shown["DRIVER"])
    assert len(rules) > 15
    for rule in rules:
        shown["test_my_adapter"](rule)


def test_every_mark_says_what_becomes_of_a_call() -> None:
    """What is not governed has a reason, and no path is listed twice."""
    marks = maker().marks()
    assert {mark.result for mark in marks} == set(maker().RESULTS)
    without = [mark for mark in marks if mark.result != "governed" and not mark.note]
    assert without == []
    listed = [(mark.framework, path) for mark in marks for path in mark.paths]
    assert len(listed) == len(set(listed))
    assert all(mark.paths for mark in marks)


COUNTS = {
    "bodies": r"\bRUNS\b|\bruns\b|\bbodies\b|\bnotes\b",
    "decisions": r"\bdecisions\b|call\.decision",
    "outcomes": r"\boutcomes\b|call\.outcome",
}
SUITE = re.compile(r"\brule\.check\(")
"""The conformance suite counts all three."""


def text_of(file: Path, test: str) -> str:
    """Return the source of *test* and of the functions of its module that it uses."""
    functions: dict[str, Any] = {
        node.name: node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    seen, todo = [], [test]
    while todo:
        name = todo.pop()
        node = functions.pop(name, None)
        if node is None:
            continue
        # A docstring asserts nothing.
        seen.append("\n".join(ast.unparse(each) for each in node.body[_documented(node) :]))
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        todo += used & functions.keys()
    return "\n".join(seen)


def _documented(node: Any) -> int:
    return 1 if ast.get_docstring(node) is not None else 0


@pytest.mark.parametrize(
    "mark",
    [mark for mark in maker().marks() if mark.result == "governed"],
    ids=lambda mark: f"{mark.file.stem}-{mark.test}",
)
def test_the_test_of_a_governed_path_counts_bodies_decisions_and_outcomes(mark: Any) -> None:
    """Only a test that looks at all three shows that no body ran without a record."""
    text = text_of(mark.file, mark.test)
    missing = [] if SUITE.search(text) else [n for n, p in COUNTS.items() if not re.search(p, text)]
    assert missing == [], f"{mark.test} does not count these"
