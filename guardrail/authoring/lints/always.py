"""Finds deny rules that fire for every call. With such a rule, no call can ever be allowed."""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.authoring.lints.flow import Definition, RuleFrame, ValueFlow
from guardrail.authoring.lints.never import is_certain
from guardrail.authoring.lints.shape import InputShape
from guardrail.policy.rego.tree import Node, kind, nodes, reference

__all__ = ["check"]

_MAX_DEPTH = 8
_LITERALS = frozenset({"Array", "Number", "Object", "RawString", "String"})


def check(definition: Definition, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:  # noqa: ARG001 - every check gets it
    """Yield a lint if *definition* is a deny rule without a condition that could be false."""
    rule = definition.rule
    if rule.name != "deny" or rule.form != "set" or rule.default:
        return
    member = rule.node["head"]["Set"].get("key")
    if any(name not in _LITERALS for name, _ in nodes(member)):
        return  # if the member is undefined, the rule does not fire
    if _holds(definition, flow, 0):
        yield Lint(
            definition.module.source.name,
            rule.line,
            Code.ALWAYS_DENIES,
            "this deny rule fires for every call, so no call is ever allowed",
            "add the condition under which it denies: deny contains ... if { ... }",
        )


def _holds(definition: Definition, flow: ValueFlow, depth: int) -> bool:
    """Return True if one of the rule's bodies holds for every call."""
    bodies = definition.rule.node.get("bodies", ())
    frame = RuleFrame(definition)
    return not bodies or any(
        all(_certain(each, flow, frame, depth) for each in body["query"].get("stmts", ()))
        for body in bodies
    )


def _certain(statement: Node, flow: ValueFlow, frame: RuleFrame, depth: int) -> bool:
    content = statement["literal"].get("Expr")
    if content is None or statement.get("with_mods") or depth > _MAX_DEPTH:
        return False
    node = content["expr"]
    found = reference(node)
    if found is None or kind(node) == "Call":
        return is_certain(node, flow, frame)
    definitions, used = flow.named(found, frame)
    return any(
        item.rule.form == "value"
        and len(found.parts) + (found.head != "data") <= max(used, 1)
        and _is_true(item)
        and _holds(item, flow, depth + 1)
        for item in definitions
    )


def _is_true(definition: Definition) -> bool:
    """Return True if the rule, when its body holds, has the value true: ``bad if ...``, ``bad :=
    true``.
    """
    if definition.rule.default:
        return False
    assigned = next(iter(definition.rule.node["head"].values())).get("assign")
    return assigned is None or (
        kind(assigned["value"]) == "Bool" and bool(assigned["value"]["Bool"]["value"])
    )
