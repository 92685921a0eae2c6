"""Writes rules of the form ``name[key] contains value`` as a set of pairs, and an object made of
it.

In OPA, ``name`` is an empty object if no such rule fires. In the embedded engine it has no value.
"""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.policy.rego.rewriting.splices import Splice, end_of, fresh_names, spliced
from guardrail.policy.rego.tree import Module, RegoRule
from guardrail.policy.tokens import tokens

__all__ = ["with_objects_of_sets"]

_OPENING, _CLOSING = frozenset({b"(", b"[", b"{"}), frozenset({b")", b"]", b"}"})


def with_objects_of_sets(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, without such rules. Each object is defined in an
    added line at the end of a file.
    """
    fresh = fresh_names(modules)
    forms: dict[tuple[tuple[str, ...], str], bool] = {}
    for module in modules:
        for rule in module.rules:
            point = (module.package, rule.name)
            forms[point] = forms.get(point, True) and _is_keyed_set(rule)
    names = {point: fresh() for point, keyed in forms.items() if keyed}
    defined: set[tuple[tuple[str, ...], str]] = set()
    found = []
    for module in modules:
        raw = module.source.text.encode("utf-8")
        splices: list[Splice] = []
        added: list[str] = []
        for rule in module.rules:
            point = (module.package, rule.name)
            pairs = names.get(point)
            if pairs is None:
                continue
            splices += _as_pairs(rule, raw, pairs)
            if point not in defined:
                defined.add(point)
                added.append(_object(rule.name, pairs))
        text = spliced(module.source.text, splices)
        found.append("\n".join([text, *added, ""]) if added else text)
    return found


def _is_keyed_set(rule: RegoRule) -> bool:
    head = next(iter(rule.node["head"])) if "head" in rule.node else ""
    keyed = head == "Set" and len(rule.head.parts) == 1 and not rule.head.static
    return keyed and not rule.always_has_key


def _object(name: str, pairs: str) -> str:
    key, other, value = f"{pairs}k", f"{pairs}o", f"{pairs}v"
    members = f"{{{value} | some [{other}, {value}] in {pairs}; {other} == {key}}}"
    return f"{name} := {{{key}: {members} | some [{key}, _] in {pairs}}}"


def _as_pairs(rule: RegoRule, raw: bytes, pairs: str) -> list[Splice]:
    start = int(rule.node["span"]["start"])
    written = list(tokens(raw, start, end_of(raw, rule.node["span"])))
    depth = 0
    for index, token in enumerate(written[1:], start=1):
        depth += (token.written in _OPENING) - (token.written in _CLOSING)
        if not depth:
            close, contains = token, written[index + 1]
            break
    end = end_of(raw, next(iter(rule.node["head"].values()))["span"])
    return [
        Splice(start, written[1].end, f"{pairs} contains [".encode()),
        Splice(close.start, contains.end, b","),
        Splice(end, end, b"]"),
    ]
