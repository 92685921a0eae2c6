"""Modules, functions and lists of parameters stay short enough to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import guardrail

PACKAGE = Path(guardrail.__file__).parent
MODULE_LINES = 450
FUNCTION_LINES = 60
PARAMETERS = 8
"""Parameters that a caller can pass by position."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, scope: str = "") -> Iterator[tuple[str, Function]]:
    """Yield every function below *tree* with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.ClassDef):
            name = f"{scope}{node.name}"
            if isinstance(node, Function):
                yield name, node
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, scope)


def modules() -> Iterator[tuple[str, str]]:
    """Yield the name and the source of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


@cache
def all_functions() -> list[tuple[str, Function]]:
    """Return every function of the package, named ``file:qualified name``."""
    return [
        (f"{file}:{name}", node)
        for file, source in modules()
        for name, node in functions(ast.parse(source))
    ]


def lines(node: Function) -> int:
    """Return the lines of a function, its decorators excluded and its docstring included."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_no_module_is_long() -> None:
    """A module that grows past the limit holds a second idea."""
    long = {file: len(source.splitlines()) for file, source in modules()}
    assert {file: size for file, size in long.items() if size > MODULE_LINES} == {}
    assert len(long) > 100


def test_no_function_is_long() -> None:
    """There are no exceptions."""
    assert {name for name, node in all_functions() if lines(node) > FUNCTION_LINES} == set()


def test_no_function_takes_many_parameters_by_position() -> None:
    """Parameters that only have a name may be many: a call says which is which."""
    found = {
        name
        for name, node in all_functions()
        if len(node.args.posonlyargs) + len(node.args.args) > PARAMETERS
    }
    assert found == set()


def test_the_measures_see_functions_inside_classes_and_functions() -> None:
    """A limit that is measured at the top level alone would be easy to keep."""
    tree = ast.parse("class A:\n def f(self):\n  if 1:\n   def g(a, /, b, *, c): ...\n")
    found = dict(functions(tree))
    assert sorted(found) == ["A.f", "A.f.g"]
    assert lines(found["A.f"]) == 3
