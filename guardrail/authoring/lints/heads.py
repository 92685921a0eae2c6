"""Finds rule heads that contain a value from the call, also if a variable, another rule or a
function passes the value on. If the value is missing, the rule is undefined; otherwise, the value
is recorded and shown to the agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.authoring.lints.flow import Definition, RuleFrame, ValueFlow, values
from guardrail.authoring.lints.shape import ARGS, InputShape, Path, written
from guardrail.authoring.lints.walk import ROOTS
from guardrail.policy.rego.tree import children, kind, line_of, reference

__all__ = ["check"]

_MAX_STEPS = 12
_TEXTS = ROOTS - {"redact"}
_NO_VALUES = frozenset({"count", "type_name"})
"""Functions whose result does not contain the value of their argument."""


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
    if rule.name not in _TEXTS:
        return
    direct = {path for _, path, _ in _read(key, definition, flow, shape)}
    passed = _passed_on(key, RuleFrame(definition), flow, 0)
    for path in dict.fromkeys(path for path in passed if path not in direct):
        yield Lint(
            definition.module.source.name,
            line_of(key) or rule.line,
            Code.INPUT_IN_HEAD,
            f"the head contains the value of input.{written(path)}, which is recorded and shown to "
            "the agent",
            "write a constant id and message; guardrail why shows the call's values anyway",
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


def _passed_on(node: Any, frame: RuleFrame, flow: ValueFlow, steps: int) -> Iterator[Path]:
    """Yield the path of each argument whose value reaches *node*, as a whole or in a text."""
    if steps > _MAX_STEPS or not flow.spend():
        return
    name, steps = kind(node), steps + 1
    if name == "Call":
        yield from _passed_on_by_call(node, frame, flow, steps)
        return
    found = reference(node) if name is not None else None
    if found is None:
        for child in children(node):
            yield from _passed_on(child, frame, flow, steps)
        return
    paths = [origin.path for origin in flow.origins(node, frame)]
    if paths:
        yield from (path for path in paths if _is_argument(path))
    elif found.head is not None and found.head in frame.bindings:
        value, caller = frame.bindings[found.head]
        yield from _passed_on(value, caller, flow, steps)
    elif found.head in frame.definition.rule.local:
        assigned = frame.scope.aliases.get(found.head or "")
        if assigned is not None:
            yield from _passed_on(assigned, frame, flow, steps)
    else:
        for definition in flow.named(found, frame)[0]:
            if definition.rule.form != "function" and not definition.module.source.installed:
                for value in values(definition.rule):
                    yield from _passed_on(value, RuleFrame(definition), flow, steps)


def _passed_on_by_call(node: Any, frame: RuleFrame, flow: ValueFlow, steps: int) -> Iterator[Path]:
    paths = [origin.path for origin in flow.origins(node, frame)]
    callee, given = reference(node["Call"]["fcn"]), node["Call"]["params"]
    if paths:  # object.get and the library
        yield from (path for path in paths if _is_argument(path))
    elif callee is not None and callee.dotted not in _NO_VALUES:
        called = [flow.called(each, given, frame) for each in flow.named(callee, frame)[0]]
        for inner in called:
            if inner is not None:
                for value in values(inner.definition.rule):
                    yield from _passed_on(value, inner, flow, steps)
        if not called:
            for value in given:
                yield from _passed_on(value, frame, flow, steps)


def _is_argument(path: Path) -> bool:
    return path[: len(ARGS)] == ARGS
