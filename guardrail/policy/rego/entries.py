"""Checks the literal members of the sets of ``guardrail.policy``.

guardrail's composition passes the members to the guard, which denies a call if a member is
malformed. A literal member can be checked before any call.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from guardrail.core.decision import LABEL, LABEL_FORM
from guardrail.policy.rego.tree import Node, RegoRule, kind, nodes, reference

__all__ = ["Named", "entry_problems", "named_values", "text_of"]

Named = Mapping[str, Node]
"""The value of each rule or function that has only one definition, keyed by name."""

_KEYS: Final = ("rule", "message", "severity", "needs", "approvers", "effect")
"""Keys that a member may have. The composition sets ``effect`` itself, regardless of the member."""
_MEANT: Final = {
    "msg": "message",
    "id": "rule",
    "reason": "message",
    "level": "severity",
    "name": "rule",
}
_SHAPE: Final = (
    'write {"rule": "id", "message": "why", "severity": "info"}, or one string for '
    "both rule and message"
)
_TEXTS: Final = ("rule", "message", "severity")
_SCALARS: Final = ("String", "RawString", "Number", "Bool", "Null")
_CONTAINERS: Final = ("Array", "Set", "ArrayCompr", "SetCompr")
_MAX_APPROVERS: Final = 100
_MAX_TEXT: Final = 4096
_MAX_STEPS: Final = 8
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*\Z")


def named_values(rules: Iterable[RegoRule]) -> Named:
    """Return the values of the *rules* that can occur in members. All *rules* are from one
    package.
    """
    found: dict[str, list[Node | None]] = {}
    for rule in rules:
        head = next(iter(rule.node["head"].values())) if "head" in rule.node else {}
        value = (head.get("assign") or {}).get("value")
        plain = rule.form in {"value", "function"} and not rule.default
        more = len(rule.node.get("bodies", ())) > 1  # an else has a different value
        found.setdefault(rule.name, []).append(value if plain and not more else None)
    return {
        name: values[0]
        for name, values in found.items()
        if len(values) == 1 and values[0] is not None
    }


def entry_problems(rule: RegoRule, named: Named) -> Iterator[tuple[str, str]]:
    """Yield (message, hint) for each problem that makes the member added by *rule* malformed.

    Only literals are checked: those in the head, those assigned once with ``:=`` in the body, those
    that are the value of a different rule or function in *named*, and any ``object.union`` of
    these.
    """
    key = _value_of(rule, rule.node["head"]["Set"].get("key"), named)
    name = kind(key)
    if key is None or name is None:
        return
    if rule.name == "redact":
        yield from _pointer_problems(key, "redact", 'write, for example: redact contains "/card"')
    elif rule.name == "label":
        yield from _label_problems(key, name)
    elif name in {"String", "RawString"}:
        if not key[name]["value"]:
            yield (
                (
                    f"a member of {rule.name} is an empty string, so it has neither an id nor "
                    "a message"
                ),
                _SHAPE,
            )
        yield from _length_problems(rule, key, "its text")
    elif name == "Object":
        yield from _object_problems(rule, key, named)
    elif name in _SCALARS or name in _CONTAINERS:
        yield (
            (
                f"a member of {rule.name} is neither a string nor an object, so every "
                "call for which it fires would be denied"
            ),
            _SHAPE,
        )


def _label_problems(key: Node, name: str) -> Iterator[tuple[str, str]]:
    text = text_of(key)
    if text is None and not _is_literal(name):
        return  # it is computed
    if text is None or not LABEL.fullmatch(text):
        yield (
            "a member of label is not a label, so every call for which it fires would be denied",
            f"write {LABEL_FORM}",
        )


def _length_problems(rule: RegoRule, value: Any, where: str) -> Iterator[tuple[str, str]]:
    if len(text_of(value) or "") > _MAX_TEXT:
        yield (
            (
                f"a member of {rule.name} is too long, so every call for which it fires would be "
                f"denied: {where} has more than {_MAX_TEXT:,} characters"
            ),
            "shorten it",
        )


def _object_problems(rule: RegoRule, key: Node, named: Named) -> Iterator[tuple[str, str]]:
    fields: dict[str, Any] = {}
    for _, field, value in key["Object"]["fields"]:
        written = text_of(field)
        if written is None:
            return  # a computed key can be any key
        fields[written] = _value_of(rule, value, named)
    for unknown in sorted(fields.keys() - set(_KEYS)):
        close = _MEANT.get(unknown) or next(iter(difflib.get_close_matches(unknown, _KEYS, 1)), "")
        yield (
            (
                f"a member of {rule.name} has the unknown key {_quoted(unknown)}, so "
                "every call for which it fires would be denied"
            ),
            f"did you mean {close}?" if close else f"the allowed keys are {', '.join(_KEYS[:-1])}",
        )
    for missing in ("rule", "message"):
        if missing not in fields:
            yield (
                (
                    f"a member of {rule.name} has no {missing} key, so every call for "
                    "which it fires would be denied"
                ),
                _SHAPE,
            )
    for text in _TEXTS:
        value = fields.get(text)
        name = kind(value)
        if name is not None and name not in {"String", "RawString"} and _is_literal(name):
            yield f"the key {text} of a member of {rule.name} is not a string", _SHAPE
        elif text != "severity" and text_of(value) == "":
            yield f"the key {text} of a member of {rule.name} is empty", _SHAPE
        yield from _length_problems(rule, value, text)
    yield from _approvers_problems(rule, fields.get("approvers"))
    yield from _needs_problems(rule, fields.get("needs"))


def _approvers_problems(rule: RegoRule, value: Any) -> Iterator[tuple[str, str]]:
    name = kind(value)
    if name is None or not _is_literal(name):
        return
    number = value[name].get("value") if name == "Number" else None
    if type(number) is not int or not 1 <= number <= _MAX_APPROVERS:
        yield (
            (
                f"the key approvers of a member of {rule.name} is not a whole number from 1 to"
                f" {_MAX_APPROVERS}"
            ),
            'write a whole number, for example "approvers": 2',
        )


def _needs_problems(rule: RegoRule, value: Any) -> Iterator[tuple[str, str]]:
    name = kind(value)
    if name is None or not _is_literal(name):
        return
    if name != "Array":
        yield (
            f"the key needs of a member of {rule.name} is not a list of pointers",
            'write a list of pointers, for example "needs": ["/to"]',
        )
        return
    for item in value["Array"]["items"]:
        yield from _pointer_problems(
            item, f"needs of {rule.name}", 'write a list of pointers, for example "needs": ["/to"]'
        )


def _pointer_problems(node: Node, where: str, hint: str) -> Iterator[tuple[str, str]]:
    name = kind(node)
    text = text_of(node)
    if text is None:
        if name is not None and _is_literal(name):
            yield f"a member of {where} is not a string", hint
    elif not _POINTER.match(text):
        yield (
            f"{_quoted(text)} in {where} is not a pointer (RFC 6901): it must begin with a slash",
            hint,
        )


def _value_of(rule: RegoRule, node: Any, named: Named) -> Any:
    """Return the literal that *node* refers to through a name in the body, a rule, a function or
    ``object.union``. If there is no such literal, return *node*.
    """
    for _ in range(_MAX_STEPS):
        node = _assigned_value(rule, node)
        found = reference(node["Call"]["fcn"] if kind(node) == "Call" else node) if node else None
        if found is None or found.head in rule.local:
            return node
        if kind(node) == "Call" and found.dotted == "object.union":
            return _united(rule, node, named)
        own = found.static[2:] if found.static[:2] == _PACKAGE and found.head == "data" else ()
        value = named.get(own[0] if len(own) == 1 else found.dotted or "")
        if value is None:
            return node
        node = value
    return node


_PACKAGE: Final = ("guardrail", "policy")


def _united(rule: RegoRule, call: Node, named: Named) -> Any:
    """Return the result of the ``object.union`` in *call*, or *call* if either argument is not a
    literal object.
    """
    sides = [_value_of(rule, each, named) for each in call["Call"]["params"]]
    if len(sides) != 2 or any(kind(side) != "Object" for side in sides):
        return call
    fields: dict[object, Any] = {}
    for side in sides:
        for number, field in enumerate(side["Object"]["fields"]):
            written = text_of(field[1])
            fields[(id(side), number) if written is None else written] = field
    return {"Object": {**sides[0]["Object"], "fields": list(fields.values())}}


def _assigned_value(rule: RegoRule, node: Any) -> Any:
    """Return *node* or, if it is a name that is assigned once with ``:=`` in the body, the assigned
    expression.
    """
    if kind(node) != "Var" or node["Var"]["value"] not in rule.local:
        return node
    name, found = node["Var"]["value"], []
    for kind_, content in nodes(rule.node):
        if (
            kind_ == "AssignExpr"
            and content["op"] == "ColEq"
            and kind(content["lhs"]) == "Var"
            and content["lhs"]["Var"]["value"] == name
        ):
            found.append(content["rhs"])
    return found[0] if len(found) == 1 else node


def _is_literal(name: str) -> bool:
    return name in _SCALARS or name in _CONTAINERS or name in {"Object", "ObjectCompr"}


def text_of(node: Any) -> str | None:
    """Return the string in the literal *node*, or None if *node* is not a literal string."""
    name = kind(node)
    return str(node[name]["value"]) if name in {"String", "RawString"} else None


def _quoted(text: str) -> str:
    """Return *text* truncated to 64 characters and quoted, with control and non-ASCII characters
    escaped.
    """
    return ascii(text if len(text) <= 64 else text[:64] + "...")
