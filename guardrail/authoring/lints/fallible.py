"""Finds calls of built-in functions that fail for some input values. The failure then affects the
whole decision, not only the rule.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint, lint
from guardrail.authoring.lints.flow import RuleFrame, ValueFlow, literal
from guardrail.authoring.lints.guards import conditions
from guardrail.authoring.lints.walk import Event, EventKind
from guardrail.policy.rego.tree import Node, kind, reference

__all__ = ["check"]

_PARSERS = frozenset(
    [
        "base64.decode",
        "base64url.decode",
        "hex.decode",
        "json.unmarshal",
        "net.cidr_contains",
        "net.cidr_contains_matches",
        "net.cidr_expand",
        "net.cidr_intersects",
        "net.cidr_merge",
        "semver.compare",
        "to_number",
        "units.parse",
        "units.parse_bytes",
        "urlquery.decode",
        "urlquery.decode_object",
        "yaml.unmarshal",
    ]
)
_PATTERN_PLACES = {"glob.match": 0, "regex.replace": 1}
_CLOCK = ("context", "time")


def check(event: Event, flow: ValueFlow, shape: object = None) -> Iterator[Lint]:
    """Yield a lint for each call of a built-in function and each division that fails for some input
    values.
    """
    del shape
    if event.what is EventKind.CALL:
        yield from _call(event, flow)
    elif event.what is EventKind.DIVISION:
        content = event.node["ArithExpr"]
        divisor = content["rhs"]
        if flow.concerns_input(divisor, event.frame) and not _not_zero(divisor, event, flow):
            sign = "/" if content["op"] == "Div" else "%"
            yield lint(
                event,
                Code.FALLIBLE_BUILTIN,
                (
                    f"{sign} divides by a value from the input: if it is zero or not a "
                    "number, the whole decision fails"
                ),
                "check is_number and compare the value with 0 first, or multiply the other side "
                "instead",
            )


def _call(event: Event, flow: ValueFlow) -> Iterator[Lint]:
    callee = reference(event.node["Call"]["fcn"])
    name = callee.dotted if callee is not None else None
    if name is None:
        return
    given = event.node["Call"]["params"]
    risky: list[Node] = []
    what = "a value"
    if name in _PARSERS or name.startswith("time.parse_"):
        risky = given
    elif name.startswith("regex.") or name in _PATTERN_PLACES:
        place = _PATTERN_PLACES.get(name, 0)
        risky, what = given[place : place + 1], "a pattern"
    for node in risky:
        if any(origin.path != _CLOCK for origin in flow.mentioned(node, event.frame)):
            yield lint(
                event,
                Code.FALLIBLE_BUILTIN,
                (
                    f"{name} reads {what} from the input: if the value is malformed, the "
                    "whole decision fails (cause error)"
                ),
                "restrict the value in the tool's schema, or compare strings",
            )
            return


def _not_zero(divisor: Node, event: Event, flow: ValueFlow) -> bool:
    """Return True if the body guarantees that *divisor* is not zero."""
    paths = {origin.path for origin in flow.origins(divisor, event.frame)}
    if not paths:
        return False
    frame: RuleFrame = event.frame
    for body in frame.definition.rule.node.get("bodies", ()):
        for node in conditions(body["query"]):
            if kind(node) != "BoolExpr":
                continue
            content = node["BoolExpr"]
            known = {origin.path for origin in flow.origins(content["lhs"], frame)}
            limit = literal(content["rhs"])
            if known == paths and _excludes_zero(content["op"], limit):
                return True
    return False


def _excludes_zero(op: str, limit: object) -> bool:
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return False
    return (op == "Ne" and limit == 0) or (op == "Gt" and limit >= 0) or (op == "Ge" and limit > 0)
