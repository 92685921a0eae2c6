"""Conditions under which certain built-in functions are allowed: which arguments must be literals,
and which values they may have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from guardrail.policy.data_values import MAX_INTEGER
from guardrail.policy.named_zones import nearest_zone
from guardrail.policy.rego.pattern_classes import explicit_classes, least_length
from guardrail.policy.rego.patterns import glob_problem, regex_problem, template_problem
from guardrail.policy.rego.tree import Node, kind
from guardrail.policy.rego.world import RuleScope
from guardrail.system.zones import is_zone

__all__ = ["CONDITIONS", "SERVER", "ConstructRefusal"]

SERVER = 'set [policy] engine = "opa", which supports this'
_RANGE = 10_000
_LOCAL = frozenset({"time.clock", "time.date", "time.weekday"})
"""Functions that guardrail's library has for local time."""
_UNSUPPORTED = re.compile(r"%[-+# 0]*[0-9]*(?:\.[0-9]*)?([*\[p])|%%")
"""Verbs with widths or indexes from arguments, and addresses. The second half skips ``%%``."""


@dataclass(frozen=True, slots=True)
class ConstructRefusal:
    """The reason why a construct is rejected."""

    code: str
    message: str
    hint: str = SERVER


Condition: TypeAlias = "Callable[[RuleScope, str, list[Node]], ConstructRefusal | None]"


def _literal(node: Node) -> object:
    """Return the value of a literal number or string, otherwise None."""
    name = kind(node)
    return node[name]["value"] if name in {"String", "RawString", "Number"} else None


def _literal_integer(node: Node) -> int | None:
    value = _literal(node)
    return value if isinstance(value, int) else None


def _sprintf(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    # The worker's own sprintf checks a format that is not a literal.
    text = _literal(parameters[0])
    if not isinstance(text, str) or not any(_UNSUPPORTED.findall(text)):
        return None
    message = f"the format passed to {name} contains *, [n] or %p"
    return ConstructRefusal("sprintf-format", message, f"write %v, or {SERVER}")


def _range(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    first, last = _literal_integer(parameters[0]), _literal_integer(parameters[1])
    if first is not None and last is not None and abs(first - last) <= _RANGE:
        return None
    message = (
        f"the ends of {name} are not literals, or are more than {_RANGE} apart, so it "
        "could use up all memory"
    )
    return ConstructRefusal("range", message)


def _base(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    if _literal_integer(parameters[1]) in {2, 8, 10, 16}:
        return None
    return ConstructRefusal(
        "base", f"the base passed to {name} is not one of the literals 2, 8, 10 and 16", "write 10"
    )


def _shift(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    value, by = _literal_integer(parameters[0]), _literal_integer(parameters[1])
    if by is not None and 0 <= by < 64:
        right = name == "bits.rsh"
        if right or (value is not None and abs(value) << by <= MAX_INTEGER):
            return None
    return ConstructRefusal(
        "shift",
        (f"{name} shifts by an amount that is not a literal, or its result may exceed 64 bits"),
    )


def _index_of(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    if _literal(parameters[1]):
        return None
    message = (
        f"{name} searches for a string that is not a literal, and the engines give "
        "different results if the string is empty"
    )
    return ConstructRefusal("indexof", message, f"use contains, or {SERVER}")


def _pattern(place: int) -> Condition:
    def check(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
        pattern = _literal(parameters[place])
        if not isinstance(pattern, str):
            # The worker checks it each time.
            return None
        problem = regex_problem(explicit_classes(pattern))
        return (
            ConstructRefusal("regex-pattern", f"{name}: {problem}") if problem is not None else None
        )

    return check


def _split(scope: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    refusal = _pattern(0)(scope, name, parameters)
    text = _literal(parameters[0])
    if refusal is not None or (isinstance(text, str) and least_length(text)):
        return refusal
    return ConstructRefusal(
        "regex-pattern",
        f"the pattern passed to {name} is not a literal, or may match an empty string, at which "
        "the engines split differently",
        f"write a pattern that needs at least one character, or {SERVER}",
    )


def _times(scope: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    refusal = _pattern(0)(scope, name, parameters)
    times = _literal_integer(parameters[2])
    if refusal is not None or (times is not None and abs(times) < 2**31):
        return refusal
    return ConstructRefusal(
        "regex-count",
        (
            f"the number of matches passed to {name} is not a literal whole number: OPA rejects "
            "some values that the embedded engine accepts"
        ),
        f"write -1 for all, or {SERVER}",
    )


def _replacement(scope: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    refusal = _pattern(1)(scope, name, parameters)
    if refusal is not None:
        return refusal
    text = _literal(parameters[2])
    problem = template_problem(text) if isinstance(text, str) else None
    return (
        ConstructRefusal("regex-replacement", f"{name}: {problem}") if problem is not None else None
    )


def _glob(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    pattern, delimiters = _literal(parameters[0]), parameters[1]
    # The worker checks a pattern that is not a literal.
    problem = glob_problem(pattern) if isinstance(pattern, str) else None
    if problem is not None:
        return ConstructRefusal(
            "glob-pattern", f"{name}: {problem}; the engines may interpret it differently"
        )
    listed = kind(delimiters) == "Array" and all(
        isinstance(value, str) and len(value) == 1
        for value in map(_literal, delimiters["Array"]["items"])
    )
    if listed or kind(delimiters) == "Null":
        return None
    return ConstructRefusal(
        "glob-pattern", f"the delimiters passed to {name} are not literal single characters"
    )


def _zone(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    # The worker refuses a zone that is not a literal.
    for given in parameters[: 2 if name == "time.diff" else 1]:
        items = given["Array"]["items"] if kind(given) == "Array" else []
        zone = _literal(items[1]) if len(items) > 1 else None
        if isinstance(zone, str) and zone not in {"UTC", ""}:
            message = (
                f"{name} receives a time zone other than UTC: the data of zones differ between "
                "machines and engines, so the decision might not be reproducible"
            )
            return ConstructRefusal("time", message, _local_time(name, zone))
    return None


def _local_time(name: str, zone: str) -> str:
    """Return the function of the library that replaces *name* with a time zone, as a hint."""
    if not is_zone(zone):
        return nearest_zone(zone)[1]
    if name in _LOCAL:
        return f'write data.guardrail.lib.{name}("{zone}") for the local time of the call'
    return f"data.guardrail.lib.time computes the local time of the call; or {SERVER}"


def _certificate(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    given = parameters[1]
    fields = given["Object"]["fields"] if kind(given) == "Object" else []
    if all(_literal(field[1]) != "cert" for field in fields):
        return None
    message = f"the constraints passed to {name} contain a certificate or a public key"
    return ConstructRefusal("certificate", message)


def _walk(_: RuleScope, name: str, parameters: list[Node]) -> ConstructRefusal | None:
    if len(parameters) == 2:
        return None
    message = f"[path, value] := {name}(x) yields nothing in the embedded engine"
    return ConstructRefusal("walk-assigned", message, f"write walk(x, [path, value]), or {SERVER}")


CONDITIONS: dict[str, Condition] = {
    "bits.lsh": _shift,
    "format_int": _base,
    "bits.rsh": _shift,
    "glob.match": _glob,
    "indexof_n": _index_of,
    "io.jwt.decode_verify": _certificate,
    "numbers.range": _range,
    "numbers.range_step": _range,
    "regex.find_all_string_submatch_n": _times,
    "regex.find_n": _times,
    "regex.match": _pattern(0),
    "regex.replace": _replacement,
    "regex.split": _split,
    "sprintf": _sprintf,
    "time.add_date": _zone,
    "time.clock": _zone,
    "time.date": _zone,
    "time.diff": _zone,
    "time.format": _zone,
    "time.weekday": _zone,
    "walk": _walk,
}
"""Conditions, keyed by function. The number of arguments has already been checked."""
