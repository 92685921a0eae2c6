"""Binds the variables of ``every`` in its body.

In ``every x in xs { x = 1 }``, OPA compares. The embedded engine assigns 1 to ``x`` and finds the
body true, unless ``x`` was assigned in the body: ``every y in xs { x := y; x = 1 }``. In
``every x in xs { not ys[x] }``, the engine would iterate over ``ys``, and find the body false if
``ys`` does not contain ``x``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from guardrail.policy.rego.matching import matched_names
from guardrail.policy.rego.rewriting.splices import Splice, fresh_names, spliced
from guardrail.policy.rego.tree import Module, Node, kind, nodes

__all__ = ["with_bound_elements"]


def with_bound_elements(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, in which each variable of ``every`` that its body
    uses as an index, or may compare with ``=`` or with the result of a call, is assigned in the
    body.
    """
    fresh = fresh_names(modules)
    return [spliced(module.source.text, _splices(module, fresh)) for module in modules]


def _splices(module: Module, fresh: Callable[[], str]) -> Iterator[Splice]:
    if module.source.installed:
        return
    raw = module.source.text.encode("utf-8")
    for rule in module.rules:
        for form, content in nodes(rule.node):
            if form != "Every":
                continue
            matched = matched_names(content["query"]) | _indices(content["query"])
            begin = int(content["query"]["stmts"][0]["span"]["start"])
            for span in (content.get("key"), content["value"]):
                start, end = (int(span["start"]), int(span["end"])) if span else (0, 0)
                name = raw[start:end].decode("utf-8")
                if name in matched - {"_"}:
                    given = fresh()
                    yield Splice(start, end, given.encode())
                    yield Splice(begin, begin, f"{name} := {given}; ".encode())


def _indices(query: Node) -> set[str]:
    return {
        content["index"]["Var"]["value"]
        for form, content in nodes(query)
        if form == "RefBrack" and kind(content["index"]) == "Var"
    }
