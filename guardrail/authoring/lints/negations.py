"""Finds ``not`` before a call whose argument may be missing. OPA evaluates the argument first, so
the rule does not fire.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint, lint
from guardrail.authoring.lints.flow import InputOrigin, ValueFlow
from guardrail.authoring.lints.shape import InputShape, written
from guardrail.authoring.lints.walk import Event, EventKind
from guardrail.policy.rego.tree import Node, kind

__all__ = ["check"]

_OPERATORS = frozenset({"Membership", "BoolExpr", "ArithExpr", "BinExpr"})


def check(event: Event, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint for each input value that may be missing and is used in a call, an ``in`` or a
    comparison under ``not``.
    """
    if event.what is not EventKind.NEGATION:
        return
    for operand in _operands(event.node):
        for origin in flow.mentioned(operand, event.frame):
            if _may_be_missing(origin, event, shape):
                place = f"input.{written(origin.path)}"
                yield lint(
                    event,
                    Code.NEGATED_CALL,
                    (
                        f"{place} may be missing: in OPA the negation is then undefined, "
                        "and the rule does not fire"
                    ),
                    "write a separate rule, name_ok if { ... }, and use not name_ok",
                )
                return


def _operands(node: Node) -> Iterator[object]:
    """Yield the parts of *node* that OPA evaluates before it applies ``not``."""
    name = kind(node)
    if name == "Call":
        yield from node["Call"]["params"]
    elif name in {"BoolExpr", "AssignExpr"} and node[name]["op"] == "Eq":
        # The operands of an equality are evaluated inside ``not``, but calls in these operands are
        # not.
        for side in (node[name]["lhs"], node[name]["rhs"]):
            if kind(side) not in {"Var", "RefDot", "RefBrack"}:
                yield from _operands(side)
    elif name in _OPERATORS:
        yield node[name]


def _may_be_missing(origin: InputOrigin, event: Event, shape: InputShape) -> bool:
    if origin.sure or any(guard.path == origin.path for guard in event.guards):
        return False
    return not shape.always(origin.path, event.frame.tools)
