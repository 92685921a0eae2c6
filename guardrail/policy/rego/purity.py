"""Checks, with OPA's own syntax trees, that policies depend only on their input and data.

The functions in the shipped capabilities file are allowed. Every other call is reported, as is
every call whose function can't be determined.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from guardrail.policy.sources import installed_folder

__all__ = ["capabilities_file", "capabilities_with_print", "impurities", "pure_functions"]

_SYSTEM = ("data", "system")
_OWN_HEADS = frozenset({"data", "input"})
_KNOWN_IMPURE = (
    ("http", "send"),
    ("net", "lookup_ip_addr"),
    ("opa", "runtime"),
    ("rand", "intn"),
    ("time", "now_ns"),
    ("uuid", "rfc4122"),
)
"""Functions that are reported even if they are not called directly, because ``with f as http.send``
redirects calls of ``f`` to them.
"""

_PRINT = (
    {"name": "print", "decl": {"type": "function", "variadic": {"type": "any"}}},
    {
        "name": "internal.print",
        "decl": {
            "type": "function",
            "args": [{"type": "array", "dynamic": {"type": "set", "of": {"type": "any"}}}],
        },
    },
)
"""The function that OPA compiles calls of ``print`` to, and ``print``."""


def capabilities_file() -> Path:
    """Return the path of the list of functions that pure policies may call, in the format of ``opa
    check --capabilities``.
    """
    return installed_folder() / "opa" / "capabilities.json"


@cache
def capabilities_with_print() -> str:
    """Return the same list with ``print``, for policies that only guardrail evaluates: a private
    OPA drops calls of ``print`` when it compiles them, as the embedded engine does.
    """
    document = json.loads(capabilities_file().read_text("utf-8"))
    document["builtins"] += _PRINT
    return json.dumps(document)


@cache
def pure_functions() -> frozenset[str]:
    """Return the names of the functions that pure policies may call."""
    document = json.loads(capabilities_file().read_text("utf-8"))
    names = [entry["name"] for entry in document["builtins"]]
    return frozenset(
        [*names, *(entry["infix"] for entry in document["builtins"] if "infix" in entry)]
    )


def impurities(modules: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (module, function) for each use of a function that is not known to be pure. *modules*
    are OPA's syntax trees, keyed by id.
    """
    defined: dict[tuple[str, ...], set[str]] = {}
    for tree in modules.values():
        defined.setdefault(_package(tree), set()).update(_rules(tree))
    found = set()
    for name, tree in modules.items():
        if _package(tree)[:2] == _SYSTEM:
            # Skip the server's own packages (authorization and log masks). A policy that refers to
            # them is reported below.
            continue
        local = defined[_package(tree)] | _imports(tree)
        for reference, called in _references(tree.get("rules", [])):
            dotted = ".".join(reference)
            if reference[:2] in _KNOWN_IMPURE or reference[:2] == _SYSTEM:
                found.add((name, ".".join(reference[:2])))
            elif (
                called
                and dotted not in pure_functions()
                and reference[0] not in _OWN_HEADS
                and reference[0] not in local
            ):
                found.add((name, dotted))
    return sorted(found)


def _package(tree: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(part.get("value")) for part in tree.get("package", {}).get("path", []))


def _rules(tree: Mapping[str, Any]) -> Iterator[str]:
    for rule in tree.get("rules", []):
        head = rule.get("head", {})
        yield str(head.get("name") or (head.get("ref") or [{}])[0].get("value"))


def _imports(tree: Mapping[str, Any]) -> set[str]:
    names = set()
    for item in tree.get("imports", []) or []:
        path = item.get("path", {}).get("value", [])
        alias = item.get("alias") or (path[-1].get("value") if path else "")
        names.add(str(alias))
    return names


def _references(node: Any) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the parts of every reference, and True if the reference is called."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
        return
    if not isinstance(node, dict):
        return
    called: Any = None
    terms = node.get("terms")
    if isinstance(terms, list) and terms:
        # A call as a statement is a list of terms that begins with the function.
        called = terms[0]
    elif node.get("type") == "call" and isinstance(node.get("value"), list) and node["value"]:
        called = node["value"][0]
    if isinstance(called, dict) and called.get("type") == "ref":
        yield _literal_parts(called), True
    if node.get("type") == "ref":
        yield _literal_parts(node), False
    for value in node.values():
        yield from _references(value)


def _literal_parts(reference: Mapping[str, Any]) -> tuple[str, ...]:
    parts = []
    for index, part in enumerate(reference.get("value") or []):
        if not isinstance(part, dict) or part.get("type") not in (
            {"var"} if index == 0 else {"string"}
        ):
            break
        parts.append(str(part.get("value")))
    return tuple(parts) or ("?",)
