"""Finds approvals that can never be granted, because the record hides a value that the approver
must see.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.authoring.lints.flow import Definition, ValueFlow, literal
from guardrail.authoring.lints.shape import InputShape
from guardrail.authoring.lints.walk import PACKAGE
from guardrail.core.redaction.key_names import Scope, classify
from guardrail.policy.rego.tree import Node, kind

__all__ = ["check"]


def check(definition: Definition, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:  # noqa: ARG001 - every check gets it
    """Yield a lint for each pointer in ``needs`` that another rule redacts, or whose name makes
    guardrail hide the value.
    """
    rule = definition.rule
    if rule.name != "require_approval" or rule.form != "set" or rule.default:
        return
    for pointer in _needs(rule.node["head"]["Set"].get("key")):
        reason = _reason(pointer, flow)
        if reason:
            yield Lint(
                definition.module.source.name,
                rule.line,
                Code.HIDDEN_NEED,
                f"the approver must see {pointer}, but {reason}: nobody can approve such a call",
                "remove this pointer from needs; use an argument that is recorded, such as a "
                "number or a domain",
            )


def _needs(member: Node | None) -> Iterator[str]:
    """Yield the literal pointers in the ``needs`` of a member."""
    if member is None or kind(member) != "Object":
        return
    for field in member["Object"]["fields"]:
        if literal(field[1]) == "needs" and kind(field[2]) == "Array":
            for item in field[2]["Array"]["items"]:
                pointer = literal(item)
                if isinstance(pointer, str):
                    yield pointer


def _reason(pointer: str, flow: ValueFlow) -> str:
    for other in flow.definitions.get((PACKAGE, "redact"), ()):
        head = other.rule.node["head"].get("Set") if "head" in other.rule.node else None
        hidden = literal(head.get("key")) if head is not None else None
        if isinstance(hidden, str) and _touches(hidden, pointer):
            return f"the redact rule on line {other.rule.line} hides it"
    for name in pointer.split("/")[1:]:
        info = classify(name.replace("~1", "/").replace("~0", "~"))
        if info.cls is not None and info.scope is Scope.ANY:
            return f"an argument called {name} is recorded as a token or a mark (class {info.cls})"
    return ""


def _touches(hidden: str, pointer: str) -> bool:
    """Return True if one pointer equals the other or is a prefix of it."""
    return f"{pointer}/".startswith(f"{hidden}/") or f"{hidden}/".startswith(f"{pointer}/")
