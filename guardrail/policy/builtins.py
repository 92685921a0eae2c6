"""Which built-in functions the embedded engine may be asked for: those that were found to answer like OPA.

Found by OPA's own conformance cases and by comparing both engines on some 150,000 calls with arguments of every type.
"""

from __future__ import annotations

__all__ = ["ALLOWED", "INTEGER_RESULTS", "OPERATORS", "REFUSED", "SET_RESULTS"]

ALLOWED = frozenset(
    [
        "abs",
        "array.concat",
        "array.reverse",
        "array.slice",
        "base64.encode",
        "base64url.encode",
        "base64url.encode_no_pad",
        "bits.and",
        "bits.lsh",
        "bits.or",
        "bits.rsh",
        "bits.xor",
        "ceil",
        "concat",
        "contains",
        "count",
        "endswith",
        "floor",
        "format_int",
        "glob.match",
        "graph.reachable",
        "hex.encode",
        "indexof",
        "indexof_n",
        "intersection",
        "is_array",
        "is_boolean",
        "is_null",
        "is_number",
        "is_object",
        "is_set",
        "is_string",
        "json.filter",
        "json.remove",
        "lower",
        "max",
        "min",
        "net.cidr_contains",
        "net.cidr_is_valid",
        "numbers.range",
        "numbers.range_step",
        "object.filter",
        "object.get",
        "object.keys",
        "object.remove",
        "object.union",
        "object.union_n",
        "product",
        "regex.find_all_string_submatch_n",
        "regex.find_n",
        "regex.match",
        "regex.replace",
        "replace",
        "round",
        "semver.compare",
        "sort",
        "split",
        "sprintf",
        "startswith",
        "strings.any_prefix_match",
        "strings.any_suffix_match",
        "strings.reverse",
        "substring",
        "sum",
        "time.clock",
        "time.date",
        "time.parse_duration_ns",
        "time.parse_rfc3339_ns",
        "time.weekday",
        "trim",
        "trim_left",
        "trim_prefix",
        "trim_right",
        "trim_space",
        "trim_suffix",
        "type_name",
        "union",
        "upper",
        "urlquery.encode",
        "urlquery.encode_object",
        "walk",
    ]
)
"""Some of them under conditions, which the preflight knows."""

INTEGER_RESULTS = frozenset(
    [
        "bits.and",
        "bits.lsh",
        "bits.or",
        "bits.rsh",
        "bits.xor",
        "ceil",
        "count",
        "floor",
        "indexof",
        "round",
        "semver.compare",
        "time.parse_duration_ns",
        "time.parse_rfc3339_ns",
    ]
)
"""Always give whole numbers."""

SET_RESULTS = frozenset(["intersection", "object.keys", "union"])
"""Always give sets."""

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
"""Names under which operators can be called too; nobody writes that, and each would need its operator's checks."""

_IMPURE = "gives different answers at different times, so that no decision could be derived again"

REFUSED: dict[str, tuple[str, str]] = {
    "http.send": ("impure", "is always undefined here, so that a rule that needs it never fires"),
    "json.marshal": ("differs", "writes numbers and some characters differently from OPA"),
    "json.match_schema": ("differs", "gives its second item in another form than OPA"),
    "json.unmarshal": ("differs", "takes integers beyond 64 bits for other numbers"),
    "net.lookup_ip_addr": ("impure", _IMPURE),
    "object.subset": ("differs", "answers where OPA is undefined, and panics for an empty array"),
    "opa.runtime": ("impure", _IMPURE),
    "print": ("impure", "writes arguments where nothing may be written"),
    "rand.intn": ("impure", _IMPURE),
    "regex.is_valid": ("differs", "knows another regular expression syntax than OPA"),
    "regex.split": ("differs", "splits at empty matches differently from OPA"),
    "regex.template_match": ("differs", "gives other answers than OPA"),
    "semver.is_valid": ("differs", "refuses a leading v, which OPA takes"),
    "strings.count": ("differs", "counts overlapping occurrences"),
    "strings.replace_n": ("differs", "replaces what it has just put in"),
    "time.add_date": ("differs", "ends a month differently from OPA"),
    "time.now_ns": ("impure", _IMPURE),
    "to_number": ("differs", "takes texts that are no numbers for OPA"),
    "trace": ("impure", "has no effect here"),
    "uuid.parse": ("differs", "gives other variants than OPA"),
    "uuid.rfc4122": ("impure", _IMPURE),
}
"""Functions that the engine has and guardrail refuses, with code and reason. What is in neither table is unknown to it."""
