"""docs/architecture.md follows one argument; a real call must pass through the same functions."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from langchain_core.tools import tool

from guardrail import Guard
from guardrail.integrations.langchain import govern

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOPS = re.findall(
    r"^\| (?:\(\d\))? ?\| `(guardrail/[\w/]+\.py)` \| `([\w.]+)` \|", PAGE, re.MULTILINE
)
NAMED = sorted({*HOPS, *((file, "") for file in re.findall(r"`(guardrail/[\w/]+\.py)`", PAGE))})


@dataclass(frozen=True)
class Entered:
    """A function of guardrail that was entered."""

    file: str
    function: str
    caller: str
    """File of the nearest function of guardrail below it on the stack; empty if there is none."""


class Trace:
    """Notes each function of guardrail that any thread enters while it is ``on``."""

    def __init__(self) -> None:
        self.on = False
        self.entered: list[Entered] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Take one event of the interpreter; quick if there is nothing to note."""
        if not self.on or event != "call":
            return
        file = self._file(frame)
        if file:
            above = frame.f_back
            while above is not None and not self._file(above):
                above = above.f_back
            caller = "" if above is None else self._file(above)
            self.entered.append(Entered(file, frame.f_code.co_qualname, caller))

    @staticmethod
    def _file(frame: FrameType) -> str:
        path = frame.f_code.co_filename
        return path.removeprefix(f"{ROOT}/") if path.startswith(f"{ROOT}/guardrail/") else ""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> list[Entered]:
    """The hops of the page as one real call made them, the first of each after the one before
    it.
    """
    folder = tmp_path_factory.mktemp("architecture")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.rego").write_text(
        'package guardrail.policy\n\nallow contains "all"\n', encoding="utf-8"
    )

    @tool
    def weather(city: str) -> str:
        """Say how the weather is in a city."""
        trace.on = False  # the line stands in the ledger
        return f"sunny in {city}"

    trace = Trace()
    before = sys.getprofile()
    threading.setprofile(trace)
    try:
        with Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard:
            governed = govern(weather, guard)
            with guard.session(principal="alice@example.com", agent="assistant"):
                governed.invoke({"city": "Oslo"})
                sys.setprofile(trace)
                trace.on = True
                assert governed.invoke({"city": "Bergen"}) == "sunny in Bergen"
    finally:
        sys.setprofile(before)
        threading.setprofile(before)
    rest = iter(trace.entered)
    found: list[Entered] = []
    for file, function in HOPS:
        hop = next((each for each in rest if (each.file, each.function) == (file, function)), None)
        assert hop is not None, f"no call passed through {function} ({file}) after {found[-1:]}"
        found.append(hop)
    return found


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_each_file_and_function_that_the_page_names_exists(file: str, function: str) -> None:
    """Who follows the page finds the code."""
    scope: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for part in filter(None, function.split(".")):
        (found,) = (
            each
            for each in scope
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and each.name == part
        )
        scope = found.body


def test_the_functions_in_the_diagram_are_those_of_the_table() -> None:
    """The diagram can't say something else than the table that is checked."""
    diagram = PAGE.split("```")[1]
    for _, function in HOPS:
        assert function.split(".")[0].removesuffix("_") in diagram, function


def test_a_call_passes_through_the_functions_of_the_page_in_their_order(
    path: list[Entered],
) -> None:
    """The page describes what happens, not what was planned."""
    assert [(hop.file, hop.function) for hop in path] == HOPS
    assert len(HOPS) > 15


def test_the_page_counts_the_files_and_the_ways_back_up(path: list[Entered]) -> None:
    """The figures are those of the call that was made: a way back up is a hop whose caller is in
    another file than the last.
    """
    files = {hop.file for hop in path}
    back = sum(
        bool(hop.caller) and hop.caller not in (before.file, hop.file)
        for before, hop in itertools.pairwise(path)
    )
    assert f"crosses {len(files)} files and returns to a caller's file {back} times" in PAGE
