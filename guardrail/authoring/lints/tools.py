"""Finds tool names in policies that are not in the tools file."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.authoring.lints.flow import Definition, RuleFrame, ValueFlow
from guardrail.authoring.lints.guards import tools_named
from guardrail.authoring.lints.shape import InputShape
from guardrail.policy.rego.tree import Node, line_of

__all__ = ["check"]

_SHOWN = 4


def check(definition: Definition, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint for each condition that compares the call's tool with a name that has no schema
    in *shape*.
    """
    if shape.tools is None:
        return
    frame = RuleFrame(definition)
    for body in definition.rule.node.get("bodies", ()):
        for node in _expressions(body["query"]):
            missing = sorted(tools_named(node, flow, frame) - shape.tools.keys())
            if missing:
                yield _missing(definition, line_of(node), missing, shape)


def _expressions(query: Node) -> Iterator[Node]:
    """Yield the expressions in a body, including negated ones."""
    for statement in query.get("stmts", ()):
        for name in ("Expr", "NotExpr"):
            content = statement["literal"].get(name)
            if content is not None:
                yield content["expr"]


def _missing(definition: Definition, line: int, names: list[str], shape: InputShape) -> Lint:
    shown = ", ".join(json.dumps(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    close = [difflib.get_close_matches(name, sorted(shape.tools or ()), 1) for name in names]
    similar = next((found[0] for found in close if found), "")
    return Lint(
        definition.module.source.name,
        line or definition.rule.line,
        Code.UNDECLARED_TOOL,
        f"the tools file has no schema for {shown}{more}, so rules about it are checked without a "
        "schema",
        f"did you mean {similar!r}?"
        if similar
        else "correct the name, or add the tool: guard.tools_json() returns the schemas of the "
        "declared tools",
    )
