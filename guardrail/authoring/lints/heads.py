"""Finds rule heads that contain a value from the call. If the value is missing, the rule is
undefined; otherwise, the value is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.authoring.lints.flow import Definition, RuleFrame, ValueFlow
from guardrail.authoring.lints.shape import InputShape, Path, written
from guardrail.authoring.lints.walk import ROOTS
from guardrail.policy.rego.tree import children, kind, line_of, reference

__all__ = ["check"]


def check(definition: Definition, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint for each reference to the input in the head of a decision rule."""
    rule = definition.rule
    if rule.name not in ROOTS or rule.form != "set" or rule.default:
        return
    key = rule.node["head"]["Set"].get("key")
    for line, path, sure in dict.fromkeys(_read(key, definition, flow, shape)):
        place = f"input.{written(path)}"
        missing = f"the head uses {place}, which may be missing: the rule then does not fire"
        kept = f"the head uses {place}, and rule ids and messages are recorded unredacted"
        yield Lint(
            definition.module.source.name,
            line or rule.line,
            Code.INPUT_IN_HEAD,
            kept if sure else missing,
            "remove the call's values from the head; guardrail why shows them anyway",
        )


def _read(
    node: Any, definition: Definition, flow: ValueFlow, shape: InputShape
) -> Iterator[tuple[int, Path, bool]]:
    """Yield (line, path, True if the value is always present) for each complete reference, except
    those that begin with a local variable.
    """
    found = reference(node) if kind(node) is not None else None
    if found is None:
        for child in children(node):
            yield from _read(child, definition, flow, shape)
        return
    if found.head not in definition.rule.local:
        for origin in flow.origins(node, RuleFrame(definition))[:1]:
            sure = origin.sure or shape.always(origin.path, None)
            yield line_of(node), origin.path, sure
    for below in (found.base, *found.dynamic):
        yield from _read(below, definition, flow, shape)
