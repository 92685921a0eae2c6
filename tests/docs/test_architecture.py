"""docs/architecture.md follows one argument; a real call must pass through the same functions."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MethodType
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
FIGURES = PAGE.split("The path crosses")[1].split("\n\n")[0]
PASSING_ON = re.findall(r"`(guardrail/[\w/]+\.py)`", FIGURES)
"""Files that the page names as passing the argument on between two hops."""
ARGUMENT = "Bergen"
NAMED = sorted({*HOPS, *((file, "") for file in re.findall(r"`(guardrail/[\w/]+\.py)`", PAGE))})


@dataclass(frozen=True)
class Entered:
    """A function of the page's table that was entered."""

    file: str
    function: str
    below: tuple[str, ...]
    """Files of the functions of guardrail below it on the stack that were called with the argument,
    the nearest first.
    """


class Trace:
    """Notes each function of the page's table that any thread enters while it is ``on``."""

    def __init__(self) -> None:
        self.on = False
        self.entered: list[Entered] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Take one event of the interpreter; quick if there is nothing to note."""
        if not self.on or event != "call":
            return
        hop = self._file(frame), frame.f_code.co_qualname
        if hop in HOPS:
            below, caller = [], frame.f_back
            while caller is not None:
                file = self._file(caller)
                if file and _was_called_with_argument(caller):
                    below.append(file)
                caller = caller.f_back
            self.entered.append(Entered(*hop, tuple(below)))

    @staticmethod
    def _file(frame: FrameType) -> str:
        path = frame.f_code.co_filename
        return path.removeprefix(f"{ROOT}/") if path.startswith(f"{ROOT}/guardrail/") else ""


def _was_called_with_argument(frame: FrameType) -> bool:
    code = frame.f_code
    variadic = bool(code.co_flags & inspect.CO_VARARGS) + bool(
        code.co_flags & inspect.CO_VARKEYWORDS
    )
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + variadic]
    here = frame.f_locals
    return any(name != "self" and name in here and _holds(here[name], 8) for name in names)


def _holds(value: Any, levels: int) -> bool:
    """Return True if *value* is the argument, or contains it."""
    if isinstance(value, str | bytes):
        return ARGUMENT in value if isinstance(value, str) else ARGUMENT.encode() in value
    parts: list[Any] = []
    if isinstance(value, dict):
        parts += value.values()
    elif isinstance(value, list | tuple | deque):
        parts += value
    elif isinstance(value, functools.partial):
        parts += (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        parts.append(value.__self__)
    elif type(value).__module__.startswith("guardrail."):
        parts += getattr(value, "__dict__", {}).values()
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        parts += [getattr(value, name) for name in slots if hasattr(value, name)]
    return levels > 0 and any(_holds(part, levels - 1) for part in parts)


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
                assert governed.invoke({"city": ARGUMENT}) == f"sunny in {ARGUMENT}"
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


def test_the_argument_passes_through_no_file_that_the_page_leaves_out(path: list[Entered]) -> None:
    """Between two functions of the table, only those files are called with it that the page names
    as passing it on.
    """
    below = {file for hop in path for file in hop.below}
    assert below - {hop.file for hop in path} == set(PASSING_ON)


def test_the_page_counts_the_files_and_the_ways_back_up(path: list[Entered]) -> None:
    """The figures are those of the call that was made: a way back up is a hop whose caller, the
    nearest function that was called with the argument, is in another file than the last.
    """
    files = {hop.file for hop in path}
    back = sum(
        bool(hop.below) and hop.below[0] not in (before.file, hop.file)
        for before, hop in itertools.pairwise(path)
    )
    assert f"crosses {len(files)} files and returns to a caller's file {back} times" in PAGE
