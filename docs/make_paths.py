"""Writes the tables of docs/integrations.md: the call paths that tests are marked with, and the
rules of the conformance suite.

``make api`` runs it; a test compares what it makes with the page. A test that covers a path says
so::

    @pytest.mark.call_path("LangChain", "`invoke`", "`run`", result="governed")
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.testing.conformance import RULES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "integrations.md"
TESTS = ("integrations", "guard", "tools")
"""Folders of tests that may have marks."""

RESULTS = ("governed", "refused", "not governed")
"""What can become of a call, in the order of the rows of a framework."""
FRAMEWORKS = (
    "Functions",
    "LangChain",
    "LangGraph",
    "deepagents",
    "OpenAI, ToolBox",
    "OpenAI, govern_client",
    "Anthropic, ToolBox",
)
"""The frameworks, in the order of the page."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class CallPath:
    """A mark: some call paths of a framework, what becomes of a call there, and its test."""

    framework: str
    paths: tuple[str, ...]
    result: str
    note: str
    """Why a call is refused or can't be governed, and who says so."""
    file: Path
    test: str

    def row(self) -> str:
        """Return the row of the table."""
        where = f"`{self.file.name}`"
        cells = (self.framework, ", ".join(self.paths), self.result, self.note, where)
        return "| " + " | ".join(cells) + " |"


def marks() -> list[CallPath]:
    """Return every mark, in the order of the table."""
    found = [
        mark
        for folder in TESTS
        for file in sorted((ROOT / "tests" / folder).rglob("test_*.py"))
        for mark in _of_file(file)
    ]
    return sorted(
        found, key=lambda mark: (FRAMEWORKS.index(mark.framework), RESULTS.index(mark.result))
    )


def _of_file(file: Path) -> Iterator[CallPath]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, Function):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
                "mark.call_path"
            ):
                framework, *paths = map(ast.literal_eval, decorator.args)
                given: dict[str, Any] = {
                    each.arg: ast.literal_eval(each.value)
                    for each in decorator.keywords
                    if each.arg is not None
                }
                yield CallPath(
                    framework,
                    tuple(paths),
                    given["result"],
                    given.get("note", ""),
                    file,
                    node.name,
                )


def path_table() -> str:
    """Return the table of call paths."""
    head = "| framework | call path | result | explanation | test |\n|---|---|---|---|---|"
    return "\n".join([head, *(mark.row() for mark in marks())])


def rule_table() -> str:
    """Return the table of rules."""
    rows = [f"| `{rule.name}` | {rule.promise} |" for rule in RULES]
    return "\n".join(["| rule | what holds |\n|---|---|", *rows])


def page(text: str) -> str:
    """Return *text* with its tables made again."""
    for name, table in (("paths", path_table()), ("rules", rule_table())):
        before, rest = text.split(f"<!-- {name}: written by docs/make_paths.py -->\n")
        _, after = rest.split(f"\n<!-- end of {name} -->", 1)
        begin = f"<!-- {name}: written by docs/make_paths.py -->\n"
        text = f"{before}{begin}\n{table}\n\n<!-- end of {name} -->{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
