"""Writes ``result := walk(x)`` as ``walk(x, result)``. The embedded engine finds nothing for the
first form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced, statements
from guardrail.policy.rego.tree import Module, kind, reference

__all__ = ["with_walk_results"]


def with_walk_results(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with the result of ``walk`` as its argument."""
    return [spliced(module.source.text, _splices(module)) for module in modules]


def _splices(module: Module) -> Iterator[Splice]:
    raw = module.source.text.encode("utf-8")
    for rule in module.rules:
        extents = Extents(rule, raw)
        for line in statements(rule, raw):
            given: Any = (line.literal.get("Expr") or {}).get("expr")
            if kind(given) != "AssignExpr" or kind(given["AssignExpr"]["rhs"]) != "Call":
                continue
            result, call = given["AssignExpr"]["lhs"], given["AssignExpr"]["rhs"]
            callee = reference(call["Call"]["fcn"])
            if callee is None or callee.dotted != "walk" or len(call["Call"]["params"]) != 1:
                continue
            written = extents.on_one_line(result)
            (first, last), (_, end) = extents.of(result), extents.of(call)
            if written is None or b"\n" in raw[first : extents.of(call)[0]]:
                continue
            # The sign between the two has no other tokens around it.
            yield Splice(first, extents.of(call)[0], b"")
            close = raw.rindex(b")", last, end)
            yield Splice(close, close, b", " + written)
