"""One name, one class: a reader who finds a class by its name has found the right one."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import guardrail

PACKAGE = Path(guardrail.__file__).parent


def places_of_classes(sources: dict[str, str]) -> dict[str, list[str]]:
    """Return the files that define each class, private and nested ones too."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file)
    return places


def test_no_class_name_is_defined_twice() -> None:
    """A protocol and its implementation have different names as well."""
    sources = {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    places = places_of_classes(sources)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
    assert len(places) > 400


def test_a_class_defined_twice_is_found_with_both_places() -> None:
    """Also if one of them is private or stands inside a function."""
    found = places_of_classes(
        {"one.py": "class _Same: ...", "two.py": "def f():\n    class _Same: ..."}
    )
    assert found["_Same"] == ["one.py", "two.py"]
