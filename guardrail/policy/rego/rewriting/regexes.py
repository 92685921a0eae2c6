r"""Makes patterns mean the same in both engines: writes out ``\d``, ``\s``, ``\w`` and ``\b`` in
literal patterns, and has computed patterns checked when they are used.

In OPA (RE2) these classes stand for ASCII characters, in the embedded engine for those of all of
Unicode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from guardrail.policy.rego.pattern_classes import ascii_pattern
from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced
from guardrail.policy.rego.tree import Module, Node, RegoRule, kind, nodes, reference

__all__ = ["with_ascii_classes", "with_checked_patterns"]

_PLACES = {
    "regex.find_all_string_submatch_n": 0,
    "regex.find_n": 0,
    "regex.match": 0,
    "regex.replace": 1,
    "regex.split": 0,
}
"""Functions with the position of their pattern."""
_CHECKS = {
    **{name: [(place, b"guardrail.pattern(")] for name, place in _PLACES.items()},
    "glob.match": [(0, b"guardrail.glob(")],
    "regex.replace": [(1, b"guardrail.pattern("), (2, b"guardrail.replacement(")],
}
_CHECKS.pop("regex.split")
_LITERALS = frozenset({"String", "RawString"})


def with_checked_patterns(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with a check around each pattern that is not a
    literal.
    """
    return [
        module.source.text
        if module.source.installed
        else spliced(module.source.text, _checks(module))
        for module in modules
    ]


def _checks(module: Module) -> Iterator[Splice]:
    raw = module.source.text.encode("utf-8")
    for rule, name, parameters in _calls(module):
        extents = Extents(rule, raw)
        for place, function in _CHECKS.get(name, ()):
            if len(parameters) <= place or kind(parameters[place]) in _LITERALS:
                continue
            if _is_checked(parameters[place]):
                continue
            start, end = extents.of(parameters[place])
            yield Splice(start, start, function)
            yield Splice(end, end, b")")


def _is_checked(node: Node) -> bool:
    callee = reference(node["Call"]["fcn"]) if kind(node) == "Call" else None
    return callee is not None and callee.head == "guardrail"


def with_ascii_classes(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with the literal patterns rewritten."""
    return [spliced(module.source.text, _splices(module)) for module in modules]


def _calls(module: Module) -> Iterator[tuple[RegoRule, str, list[Node]]]:
    for rule in module.rules:
        for name, content in nodes(rule.node):
            callee = reference(content["fcn"]) if name == "Call" else None
            if callee is not None and callee.dotted in _CHECKS | _PLACES:
                yield rule, callee.dotted or "", content["params"]


def _splices(module: Module) -> Iterator[Splice]:
    for _, name, parameters in _calls(module):
        place = _PLACES.get(name)
        if place is None or len(parameters) <= place:
            continue
        literal = parameters[place]
        form = kind(literal)
        if form in {"String", "RawString"}:
            span, pattern = literal[form]["span"], literal[form]["value"]
            rewritten = ascii_pattern(pattern)
            if rewritten != pattern:
                text = (
                    rewritten
                    if form == "RawString"
                    else json.dumps(rewritten, ensure_ascii=False)[1:-1]
                )
                yield Splice(int(span["start"]), int(span["end"]), text.encode("utf-8"))
