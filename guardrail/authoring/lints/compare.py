"""Finds comparisons between values that may not be numbers: ``null < 100`` and ``"5" > 100`` are
true in Rego.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint, lint
from guardrail.authoring.lints.flow import InputOrigin, RuleFrame, ValueFlow, literal_name
from guardrail.authoring.lints.guards import Guards
from guardrail.authoring.lints.shape import ARGS, InputShape, written
from guardrail.authoring.lints.walk import Event, EventKind
from guardrail.policy.rego.tree import Node

__all__ = ["check"]

_SIGNS = {"Lt": "<", "Le": "<=", "Gt": ">", "Ge": ">="}
_NUMBERS = frozenset({"number", "integer"})
_TEXTS = frozenset({"string"})


def check(event: Event, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint for each operand that may not have the type that the comparison expects."""
    if event.what is not EventKind.COMPARISON:
        return
    content = event.node["BoolExpr"]
    sides = ((content["lhs"], content["rhs"]), (content["rhs"], content["lhs"]))
    for node, other in sides:
        texts = _is_text(other, flow, event.frame, shape)
        for origin in flow.origins(node, event.frame):
            known = origin.types or shape.types(origin.path, event.frame.tools)
            wanted = _TEXTS if texts else _NUMBERS
            if (known is not None and known <= wanted) or _guarded(origin, event.guards, wanted):
                continue
            yield _lint(event, origin, _SIGNS[content["op"]], texts=texts)


def _is_text(node: Node, flow: ValueFlow, frame: RuleFrame, shape: InputShape) -> bool:
    if literal_name(node) is not None:
        return True
    found = flow.origins(node, frame)
    types = [origin.types or shape.types(origin.path, frame.tools) for origin in found]
    return bool(types) and all(known == _TEXTS for known in types)


def _guarded(origin: InputOrigin, guards: Guards, wanted: frozenset[str]) -> bool:
    return any(guard.path == origin.path and guard.type in wanted for guard in guards)


def _lint(event: Event, origin: InputOrigin, sign: str, *, texts: bool) -> Lint:
    path = origin.path
    argument = path[: len(ARGS)] == ARGS and len(path) > len(ARGS)
    name = f"the argument {written(path[len(ARGS) :])}" if argument else f"input.{written(path)}"
    if texts:
        return lint(
            event,
            Code.UNTYPED_COMPARISON,
            (
                f"{sign} compares {name}, which may not be a string: numbers and null sort before "
                "every string, and lists after every string"
            ),
            "add is_string in the same body",
        )
    return lint(
        event,
        Code.UNTYPED_COMPARISON,
        (
            f"{sign} compares {name}, which may not be a number: null and false sort before every "
            "number, and strings after every number"
        ),
        "add is_number in the same body, or use data.guardrail.lib.args.number_within",
    )
