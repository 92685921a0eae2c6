"""Tables of built-in functions: those that the embedded engine may evaluate because it returns the
same results as OPA, and those that are rejected.

The allowed functions were tested with OPA's own conformance cases, and by comparing both engines on
about 150,000 calls with arguments of every type.
"""

from __future__ import annotations

__all__ = [
    "ADDED",
    "ALLOWED",
    "IMPURE_HINTS",
    "INTEGER_RESULTS",
    "LARGEST",
    "OPERATORS",
    "REFUSED",
    "SET_RESULTS",
]

ALLOWED: dict[str, int] = {
    "abs": 1,
    "array.concat": 2,
    "array.flatten": 1,
    "array.reverse": 1,
    "array.slice": 3,
    "base64.decode": 1,
    "base64.encode": 1,
    "base64.is_valid": 1,
    "base64url.decode": 1,
    "base64url.encode": 1,
    "base64url.encode_no_pad": 1,
    "bits.and": 2,
    "bits.lsh": 2,
    "bits.negate": 1,
    "bits.or": 2,
    "bits.rsh": 2,
    "bits.xor": 2,
    "ceil": 1,
    "concat": 2,
    "contains": 2,
    "count": 1,
    "crypto.hmac.equal": 2,
    "crypto.hmac.md5": 2,
    "crypto.hmac.sha1": 2,
    "crypto.hmac.sha256": 2,
    "crypto.hmac.sha512": 2,
    "crypto.md5": 1,
    "crypto.sha1": 1,
    "crypto.sha256": 1,
    "endswith": 2,
    "floor": 1,
    "format_int": 2,
    "glob.match": 3,
    "glob.quote_meta": 1,
    "graph.reachable": 2,
    "graph.reachable_paths": 2,
    "hex.decode": 1,
    "hex.encode": 1,
    "indexof": 2,
    "indexof_n": 2,
    "intersection": 1,
    "io.jwt.decode": 1,
    "io.jwt.decode_verify": 2,
    "io.jwt.verify_hs256": 2,
    "io.jwt.verify_hs384": 2,
    "io.jwt.verify_hs512": 2,
    "is_array": 1,
    "is_boolean": 1,
    "is_null": 1,
    "is_number": 1,
    "is_object": 1,
    "is_set": 1,
    "is_string": 1,
    "json.filter": 2,
    "json.is_valid": 1,
    "json.marshal": 1,
    "json.marshal_with_options": 2,
    "json.remove": 2,
    "json.unmarshal": 1,
    "lower": 1,
    "max": 1,
    "min": 1,
    "net.cidr_contains": 2,
    "net.cidr_contains_matches": 2,
    "net.cidr_expand": 1,
    "net.cidr_intersects": 2,
    "net.cidr_is_valid": 1,
    "net.cidr_merge": 1,
    "numbers.range": 2,
    "numbers.range_step": 3,
    "object.filter": 2,
    "object.get": 3,
    "object.keys": 1,
    "object.remove": 2,
    "object.subset": 2,
    "object.union": 2,
    "object.union_n": 1,
    "product": 1,
    "regex.find_all_string_submatch_n": 3,
    "regex.find_n": 3,
    "regex.is_valid": 1,
    "regex.match": 2,
    "regex.replace": 3,
    "regex.split": 2,
    "regex.template_match": 4,
    "replace": 3,
    "round": 1,
    "semver.compare": 2,
    "semver.is_valid": 1,
    "sort": 1,
    "split": 2,
    "sprintf": 2,
    "startswith": 2,
    "strings.any_prefix_match": 2,
    "strings.any_suffix_match": 2,
    "strings.count": 2,
    "strings.replace_n": 2,
    "strings.reverse": 1,
    "substring": 3,
    "sum": 1,
    "time.add_date": 4,
    "time.clock": 1,
    "time.date": 1,
    "time.diff": 2,
    "time.format": 1,
    "time.parse_duration_ns": 1,
    "time.parse_ns": 2,
    "time.parse_rfc3339_ns": 1,
    "time.weekday": 1,
    "to_number": 1,
    "trim": 2,
    "trim_left": 2,
    "trim_prefix": 2,
    "trim_right": 2,
    "trim_space": 1,
    "trim_suffix": 2,
    "type_name": 1,
    "union": 1,
    "units.parse": 1,
    "units.parse_bytes": 1,
    "upper": 1,
    "urlquery.decode": 1,
    "urlquery.decode_object": 1,
    "urlquery.encode": 1,
    "urlquery.encode_object": 1,
    "uuid.parse": 1,
    "walk": 1,
}
"""Number of arguments of each allowed function. A call may have one more argument, which receives
the result. Some functions are allowed only under conditions: see
``guardrail.policy.rego.conditions``.
"""

ADDED: dict[str, int] = {
    "guardrail.divide": 2,
    "guardrail.glob": 1,
    "guardrail.key": 2,
    "guardrail.minus": 2,
    "guardrail.pattern": 1,
    "guardrail.plus": 2,
    "guardrail.remainder": 2,
    "guardrail.replacement": 1,
    "guardrail.template": 1,
    "guardrail.times": 2,
}
"""Functions that rewriting inserts. Authors can't call them."""

INTEGER_RESULTS = frozenset(
    [
        "bits.and",
        "bits.lsh",
        "bits.negate",
        "bits.or",
        "bits.rsh",
        "bits.xor",
        "ceil",
        "count",
        "floor",
        "indexof",
        "round",
        "semver.compare",
        "strings.count",
        "time.add_date",
        "time.parse_duration_ns",
        "time.parse_ns",
        "time.parse_rfc3339_ns",
    ]
)
"""Functions that always return integers."""

LARGEST = {
    "bits.and": 2**64,
    "bits.lsh": 2**64,
    "bits.negate": 2**64,
    "bits.or": 2**64,
    "bits.rsh": 2**64,
    "bits.xor": 2**64,
    "ceil": 2**53,
    "count": 2**32,
    "floor": 2**53,
    "indexof": 2**32,
    "round": 2**53,
    "semver.compare": 1,
    "strings.count": 2**32,
    "time.add_date": 2**62 - 1,
    "time.parse_duration_ns": 2**62 - 1,
    "time.parse_ns": 2**62 - 1,
    "time.parse_rfc3339_ns": 2**62 - 1,
}
"""Maximum absolute value of the result, for functions that return integers."""

SET_RESULTS = frozenset(
    [
        "graph.reachable",
        "graph.reachable_paths",
        "intersection",
        "net.cidr_contains_matches",
        "net.cidr_expand",
        "net.cidr_merge",
        "object.keys",
        "union",
    ]
)
"""Functions that always return sets."""

OPERATORS = frozenset(
    [
        "and",
        "assign",
        "div",
        "eq",
        "equal",
        "gt",
        "gte",
        "internal.member_2",
        "internal.member_3",
        "lt",
        "lte",
        "minus",
        "mul",
        "neq",
        "or",
        "plus",
        "rem",
    ]
)
"""Function names of operators. Calls by these names are rejected: they are not used in practice,
and each would need the same checks as its operator.
"""

_IMPURE = "gives different results at different times, so decisions would not be reproducible"

REFUSED: dict[str, tuple[str, str]] = {
    "http.send": (
        "impure",
        "is always undefined in the embedded engine, so a rule that uses it never fires",
    ),
    "json.match_schema": ("differs", "returns its second item in a different form than OPA"),
    "net.lookup_ip_addr": ("impure", _IMPURE),
    "opa.runtime": ("impure", _IMPURE),
    "print": ("impure", "would write arguments to a log"),
    "rand.intn": ("impure", _IMPURE),
    "time.now_ns": ("impure", _IMPURE),
    "trace": ("impure", "has no effect in a guard"),
    "uuid.rfc4122": ("impure", _IMPURE),
}
"""Functions that the engine provides but guardrail rejects, with code and reason. The engine does
not provide functions that are in neither table.
"""

_LEAVE_OUT = "remove it; guardrail policy test shows the decision of each failed test"
_LOOK_UP = "look it up in the program, and pass it as an argument or as policy data"
_DRAW = "generate it in the program, and pass it as an argument"

IMPURE_HINTS = {
    "http.send": _LOOK_UP,
    "net.lookup_ip_addr": _LOOK_UP,
    "opa.runtime": "pass settings to the policy as data (data.json)",
    "print": _LEAVE_OUT,
    "rand.intn": _DRAW,
    "time.now_ns": "use time.parse_rfc3339_ns(input.context.time)",
    "trace": _LEAVE_OUT,
    "uuid.rfc4122": _DRAW,
}
"""Hints with alternatives to the functions that are rejected as impure."""
