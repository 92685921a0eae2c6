"""Drops calls of ``print``. OPA drops them too, unless a program asks for their output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from guardrail.errors import Finding
from guardrail.policy.rego.rewriting.splices import Splice, spliced, statements
from guardrail.policy.rego.tree import Module, kind, reference

__all__ = ["print_remarks", "without_prints"]


def without_prints(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with ``true`` in place of each ``print(...)``."""
    found = []
    for module in modules:
        raw = module.source.text.encode("utf-8")
        splices = []
        for start, end, _ in _prints(module, raw):
            lines = b"\n" * raw[start:end].count(b"\n")
            splices.append(Splice(start, end, lines + b"true"))
        found.append(spliced(module.source.text, splices))
    return found


def print_remarks(modules: Sequence[Module]) -> Iterator[Finding]:
    """Yield a remark for each call of ``print`` that is dropped."""
    for module in modules:
        if module.source.installed:
            continue
        for _, _, line in _prints(module, module.source.text.encode("utf-8")):
            yield Finding(
                module.source.name,
                line,
                "print",
                "print is dropped when the policies are loaded, and a bundle can't contain it",
                "remove it; guardrail policy eval --tool NAME shows the values that a rule sees",
            )


def _prints(module: Module, raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the positions and the line of each statement that only prints."""
    if any(rule.name == "print" for rule in module.rules):
        return
    for rule in module.rules:
        for statement in statements(rule, raw):
            given: Any = (statement.literal.get("Expr") or {}).get("expr")
            if kind(given) == "Call" and not statement.changes:
                callee = reference(given["Call"]["fcn"])
                if callee is not None and callee.dotted == "print":
                    yield statement.start, statement.end, int(given["Call"]["span"]["line"])
