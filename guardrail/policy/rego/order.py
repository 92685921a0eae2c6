"""Checks the order of evaluation. Finds rules that raise an error in one engine, although in the
other engine an earlier step already determines that they do not fire.

OPA evaluates the calls in a line before it iterates over a collection in that line, and evaluates
lines in order. The embedded engine iterates first, and defers calls that return their result in an
argument. If the collection is empty, the embedded engine never makes a call whose error would have
made the decision fail. The set operators ``&`` and ``|`` are calls in this sense.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from guardrail.policy.rego.builtins import ALLOWED
from guardrail.policy.rego.conditions import SERVER, ConstructRefusal
from guardrail.policy.rego.heads import deferred_results, head_terms
from guardrail.policy.rego.tree import Node, children, kind, line_of, nodes, reference
from guardrail.policy.rego.world import RuleScope

__all__ = [
    "CALLS",
    "COMPREHENSIONS",
    "LITERALS",
    "calls_of",
    "can_fail",
    "deferred_calls",
    "early_call_nodes",
    "early_calls",
    "late_call_nodes",
    "operands_of",
    "result_call_nodes",
]

_SAFE = frozenset(
    [
        "is_array",
        "is_boolean",
        "is_null",
        "is_number",
        "is_object",
        "is_set",
        "is_string",
        "type_name",
    ]
)
CALLS = frozenset({"Call", "BinExpr"})
"""Kinds of nodes that OPA evaluates as calls before it reads the references of a line."""
LITERALS = frozenset({"String", "RawString", "Number", "Bool", "Null"})
_SAFE_ON_STRINGS = frozenset(
    [
        "base64.encode",
        "base64url.encode",
        "concat",
        "contains",
        "count",
        "crypto.md5",
        "crypto.sha1",
        "crypto.sha256",
        "endswith",
        "glob.match",
        "hex.encode",
        "indexof",
        "json.is_valid",
        "lower",
        "regex.match",
        "replace",
        "split",
        "sprintf",
        "startswith",
        "strings.any_prefix_match",
        "strings.any_suffix_match",
        "strings.reverse",
        "trim",
        "trim_left",
        "trim_prefix",
        "trim_right",
        "trim_space",
        "trim_suffix",
        "upper",
        "urlquery.encode",
    ]
)
"""Functions that return a value for any strings. Literal patterns are checked at load."""
COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr", "Every"})
_TEXTS = frozenset(
    {
        ("action", "name"),
        ("context", "session", "id"),
        ("context", "time"),
        ("resource", "id"),
        ("resource", "type"),
        ("subject", "id"),
        ("subject", "type"),
    }
)
"""Paths below ``input`` whose values are always strings."""


def early_calls(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield the calls that can fail and that share a line with an iteration they do not depend
    on.
    """
    for call in early_call_nodes(scope):
        yield (
            line_of(call) or scope.rule.line,
            ConstructRefusal(
                "iteration-order",
                (
                    "a call shares a line with an iteration that it does not "
                    "depend on: if there is nothing to iterate over, OPA still "
                    "makes the call, which may fail, but the embedded engine "
                    "does not"
                ),
                (f"write y := call(...) on a separate line before, or some x in xs, or {SERVER}"),
            ),
        )


def early_call_nodes(scope: RuleScope) -> Iterator[Node]:
    """Yield the calls about which ``early_calls`` reports."""
    open_names = {
        name
        for node_kind, content in nodes(scope.rule.node)
        if node_kind == "SomeVars"
        for name in _declared_names(scope, content)
    }
    for statement in (line for lines in _bodies(scope.rule.node) for line in lines):
        iterated = list(_iterations(statement, scope, open_names))
        if not iterated:
            continue
        names = {node["Var"]["value"] for node in iterated} - {"_"}
        for call in calls_of(statement):
            if not _depends_on(call, names, scope, open_names) and can_fail(call, scope):
                yield call


def deferred_calls(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield the calls that return their result in their last argument and that can fail, or whose
    deferral also defers a call that can fail.
    """
    for node in late_call_nodes(scope):
        yield line_of(node) or scope.rule.line, _LATE


def late_call_nodes(scope: RuleScope) -> Iterator[Node]:
    """Yield the calls about which ``deferred_calls`` reports, and those of ``walk`` in rules with
    a variable as an index: for ``xs[v]``, where ``v`` is or depends on a result of ``walk``, the
    embedded engine may iterate over ``xs`` before ``v`` has a value.
    """
    indices = {
        content["index"]["Var"]["value"]
        for name, content in nodes(scope.rule.node)
        if name == "RefBrack" and kind(content["index"]) == "Var"
    }
    for lines in _bodies(scope.rule.node) if indices else ():
        for line in lines:
            node = line.get("Expr", {}).get("expr") or {}
            if kind(node) == "Call" and _callee(node) == "walk" and len(node["Call"]["params"]) > 1:
                used = indices & _variable_names(node["Call"]["params"][-1])
                # The rewritten form is alone in the body of a comprehension.
                if used or len(lines) > 1:
                    yield node
    for lines in [*_bodies(scope.rule.node), *_lines_with_heads(scope)]:
        for index, line in enumerate(lines):
            node = line.get("Expr", {}).get("expr") or {}
            if kind(node) == "Call" and _takes_result_argument(node, scope):
                together = _lines_needing(lines[index + 1 :], node["Call"]["params"][-1])
                # walk accepts any value.
                walk = _callee(node) == "walk"
                own = list(calls_of(node["Call"]["params"])) if walk else [node]
                if together is not None and any(
                    can_fail(call, scope) for call in (*own, *calls_of(together))
                ):
                    yield node


def result_call_nodes(scope: RuleScope) -> Iterator[Node]:
    """Yield the calls on a line of their own that return their result in their last argument,
    except ``walk``.
    """
    for lines in _bodies(scope.rule.node):
        for line in lines:
            node = line.get("Expr", {}).get("expr") or {}
            own = kind(node) == "Call" and _callee(node) != "walk"
            if own and _takes_result_argument(node, scope):
                yield node


def _lines_with_heads(scope: RuleScope) -> Iterator[list[Any]]:
    """Yield the lines of the rule's bodies, and then the computed parts of its head, which are
    evaluated like another line.
    """
    named = frozenset({*scope.own, *scope.imports, "input", "data"})
    keys, values = head_terms(scope.rule, named)
    for body, terms in zip(scope.rule.node.get("bodies") or [], values, strict=False):
        lines = [statement["literal"] for statement in body["query"]["stmts"]]
        needed = [{"Var": {"value": name}} for name in deferred_results(body) - named]
        if keys or terms:
            yield [*lines, {"Array": {"items": [*keys, *terms, *needed]}}]
        keys = []


_LATE = ConstructRefusal(
    "late-call",
    (
        "a call returns its result in its last argument: the embedded engine makes it after the "
        "other lines, or not at all if one of them is false, but in OPA the call may fail first"
    ),
    (
        "move the lines that do not use the result before the call, or write x := "
        f"call(...), or {SERVER}"
    ),
)


def _lines_needing(lines: list[Any], result: Node) -> list[Any] | None:
    """Return the lines that need *result* and precede a line that does not, or None if there are
    none.
    """
    names = _variable_names(result)
    needing: list[Any] = []
    found: list[Any] | None = None
    for line in lines:
        used = _variable_names(line)
        if used & names:
            names |= used
            needing.append(line)
        else:
            found = list(needing)
    return found


def _callee(call: Node) -> str | None:
    callee = reference(call["Call"]["fcn"])
    return callee.dotted if callee is not None else None


def _takes_result_argument(call: Node, scope: RuleScope) -> bool:
    content = call["Call"]
    callee = reference(content["fcn"])
    name = callee.dotted if callee is not None else None
    if callee is None or name is None:
        return False
    arity = ALLOWED.get(name)
    if callee.head == "data":
        arity = scope.world.arity(callee.static)
    elif name in scope.own:
        arity = scope.own[name][0].arity
    return arity is not None and len(content["params"]) == arity + 1


def _variable_names(tree: Any) -> set[str]:
    found = {content["value"] for name, content in nodes(tree) if name == "Var"}
    return found - {"_", "input", "data"}


def can_fail(call: Node, scope: RuleScope) -> bool:
    """Return True if *call* can raise an error for some arguments."""
    if kind(call) == "BinExpr":
        return not all(scope.is_set(operand) for operand in operands_of(call))
    content = call["Call"]
    callee = reference(content["fcn"])
    name = callee.dotted if callee is not None and callee.head not in scope.own else None
    if name in _SAFE or all(kind(parameter) in LITERALS for parameter in content["params"]):
        return False
    if name in {"glob.match", "regex.match"} and kind(content["params"][0]) not in LITERALS:
        return True
    return name not in _SAFE_ON_STRINGS or not all(
        _is_literal_or_string(parameter, scope) for parameter in content["params"]
    )


def _is_literal_or_string(node: Node, scope: RuleScope) -> bool:
    """Return True if *node* is a literal, or is certainly a string."""
    name = kind(node)
    if name in LITERALS:
        return True
    if name in {"Array", "Set"}:
        return all(_is_literal_or_string(item, scope) for item in node[name]["items"])
    found = reference(node)
    if found is None:
        return False
    at = scope.resolve(found)
    return (
        at.root == "input"
        and at.complete
        and at.static in _TEXTS
        and at.static in scope.world.envelope
    )


def _declared_names(scope: RuleScope, content: dict[str, Any]) -> Iterator[str]:
    raw = scope.module.source.text.encode("utf-8")
    for span in content["vars"]:
        yield raw[span["start"] : span["end"]].decode("utf-8")


def _bodies(tree: Any) -> Iterator[list[Any]]:
    """Yield the lines of every body, including those of comprehensions."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) and "stmts" in item:
            yield [statement["literal"] for statement in item["stmts"]]
        stack.extend(children(item))


def _iterations(node: Any, scope: RuleScope, open_names: set[str]) -> Iterator[Node]:
    """Yield the variables in brackets that iterate over a collection. Comprehensions are skipped,
    because their bodies are separate.
    """
    name = kind(node)
    if name in COMPREHENSIONS:
        return
    if name == "RefBrack":
        index = node["RefBrack"]["index"]
        if kind(index) == "Var" and _is_free(index["Var"]["value"], scope, open_names):
            yield index
    for child in children(node):
        yield from _iterations(child, scope, open_names)


def _is_free(name: str, scope: RuleScope, open_names: set[str]) -> bool:
    bound = (scope.rule.local - open_names) | set(scope.own) | set(scope.imports)
    return name == "_" or name not in bound | {"input", "data"}


def calls_of(node: Any) -> Iterator[Node]:
    if kind(node) in CALLS:
        yield node
    for child in children(node):
        yield from calls_of(child)


def operands_of(call: Node) -> list[Node]:
    if kind(call) == "Call":
        operands: list[Node] = call["Call"]["params"]
        return operands
    content = call["BinExpr"]
    return [content["lhs"], content["rhs"]]


def _depends_on(call: Node, names: set[str], scope: RuleScope, open_names: set[str]) -> bool:
    """Return True if *call* needs a value from the iteration, or itself iterates."""
    parameters = operands_of(call)
    if any(True for _ in _iterations(parameters, scope, open_names)):
        return True
    return any(name == "Var" and content["value"] in names for name, content in nodes(parameters))
