"""Makes ``some x in xs`` undefined if ``xs`` is not a list, set or object, as in OPA.

The embedded engine raises an error for any other value, so a call with a mistyped argument would be
denied, whatever the other rules say. Each collection that may be another value is therefore passed
through ``data.guardrail.lib.engine.collection``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced
from guardrail.policy.rego.tree import Module, kind, nodes

__all__ = ["with_checked_collections"]

_FUNCTION = b"data.guardrail.lib.engine.collection("
_COLLECTIONS = frozenset({"Array", "Set", "Object", "ArrayCompr", "SetCompr", "ObjectCompr"})


def with_checked_collections(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with calls around such collections. Line numbers do
    not change.
    """
    return [
        module.source.text
        if module.source.installed
        else spliced(module.source.text, _splices(module))
        for module in modules
    ]


def _splices(module: Module) -> Iterator[Splice]:
    raw = module.source.text.encode("utf-8")
    for rule in module.rules:
        extents = Extents(rule, raw)
        for form, content in nodes(rule.node):
            if form == "SomeIn" and kind(content["collection"]) not in _COLLECTIONS:
                start, end = extents.of(content["collection"])
                yield Splice(start, start, _FUNCTION)
                yield Splice(end, end, b")")
