"""Queries with known answers that a worker runs before it serves requests.

If any answer is wrong, the worker refuses to serve. The expected answers are OPA's. Known
differences between the engine and OPA are not tested here, because the preflight rejects the
policies that they would affect.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CANARIES"]

_INPUT = (
    '{"a": 1, "b": {"c": [1, 2, 3]}, "f": false, "n": null, "big": 9007199254740993, "u":'
    " 18446744073709551615}"
)


def _canary(name: str, text: str, **answer: Any) -> dict[str, Any]:
    return {
        "name": name,
        "modules": [["t.rego", "package t\n" + text]],
        "rule": "data.t.x",
        "input": _INPUT,
        **answer,
    }


def _value_canary(name: str, expression: str, want: Any) -> dict[str, Any]:
    return _canary(name, f"x := {expression}\n", want=want)


def _raising_canary(name: str, expression: str) -> dict[str, Any]:
    return _canary(name, f"x := {expression}\n", raises=True)


_LANGUAGE = [
    _canary("undefined", "x if input.missing\n", undefined=True),
    _canary("false is not undefined", "x := input.f\n", want=False),
    _canary("default", "default x := 7\nx := 8 if input.missing\n", want=7),
    _canary("else", "x := 1 if input.missing else := 2 if input.f else := 3\n", want=3),
    _canary(
        "set", "x contains 1\nx contains 2 if input.a == 1\nx contains 3 if input.f\n", want=[1, 2]
    ),
    _canary(
        "objects in sets",
        'x contains {"k": v} if some v in input.b.c\n',
        want=[{"k": 1}, {"k": 2}, {"k": 3}],
    ),
    _canary("not undefined", "x if not input.missing\n", want=True),
    _canary("not false", "x if not input.f\n", want=True),
    _canary("not a rule", "blocked if input.a == 1\nx if not blocked\n", undefined=True),
    _canary("every", "x if every v in input.b.c { v > 0 }\n", want=True),
    _canary("every fails", "x if every v in input.b.c { v > 1 }\n", undefined=True),
    _canary(
        "some nested", "x := [[i, v] | some i, v in input.b.c; v > 1]\n", want=[[1, 2], [2, 3]]
    ),
    _canary("unification", "x := v if [1, v] = [input.a, 5]\n", want=5),
    _canary(
        "function with else",
        'f(v) := "low" if v < 2\nelse := "high"\nx := [f(1), f(2)]\n',
        want=["low", "high"],
    ),
    _canary(
        "default function",
        "default f(_) := 0\nf(v) := v if v > 1\nx := [f(1), f(2)]\n",
        want=[0, 2],
    ),
    _canary(
        "with",
        "y := input.a\nx := [y, z] if z := y with input.a as 9\n",
        undefined=False,
        want=[1, 9],
    ),
    _canary("walk", "x := [p | walk(input.b, [p, 2])]\n", want=[["c", 1]]),
    _canary("partial object", "y[k] := v if some k, v in input.b.c\nx := y[2]\n", want=3),
    _canary("conflict", "x := 1 if input.a\nx := 2 if input.a\n", raises=True),
    _canary("object comprehension", "x := {k: v | some k, v in input.b}\n", want={"c": [1, 2, 3]}),
]
_VALUES = [
    _value_canary(
        "order of types", '[null < false, true < 0, 1 < "", "z" < [], [1] < {"a": 1}]', [True] * 5
    ),
    _value_canary("one number", "1 == 1.0", want=True),
    _value_canary("53 bits", "input.big == 9007199254740992", want=False),
    _value_canary(
        "64 bits", "[input.u, input.u == 18446744073709551614]", [18446744073709551615, False]
    ),
    _value_canary("remainder", "-5 % 3", -2),
    _value_canary(
        "set operators", "[{1, 2} & {2, 3}, {1} | {2}, {1, 2} - {2}]", [[2], [1, 2], [1]]
    ),
    _value_canary("object.get", 'object.get(input, ["b", "z"], 4)', 4),
    _value_canary("object.get null", 'object.get(input, "n", 4)', None),
    _value_canary(
        "object.union", 'object.union({"a": {"b": 1}}, {"a": {"c": 2}})', {"a": {"b": 1, "c": 2}}
    ),
    _value_canary(
        "glob",
        '[glob.match("*.example.com", ["."], h) | some h in ["a.example.com", "a.b.example.com"]]',
        [True, False],
    ),
    _value_canary(
        "regex", '[regex.match("^[a-z]+$", s) | some s in ["abc", "a1", "é"]]', [True, False, False]
    ),
    _value_canary("split and concat", 'concat("-", split("a.b.c", "."))', "a-b-c"),
    _value_canary(
        "trim", '[trim("xax", "x"), trim_space(" a "), trim_prefix("ab", "a")]', ["a", "a", "b"]
    ),
    _value_canary("case", '[lower("ÀİÅΔ"), upper("ßé")]', ["àiåδ", "ßÉ"]),
    _value_canary(
        "text tests",
        '[startswith("é", "é"), endswith("ab", "b"), contains("abc", "d")]',
        [True, True, False],
    ),
    _value_canary("sprintf", 'sprintf("%v %v %v%%", ["é", 1, [true, null]])', "é 1 [true, null]%"),
    _value_canary(
        "characters", '[substring("é€x", 1, 1), indexof("é€x", "x"), count("é€")]', ["€", 2, 2]
    ),
    _value_canary("characters beyond U+FFFF", 'guardrail.characters("a\U0001f600b")', 3),
    _value_canary(
        "networks",
        '[net.cidr_contains("10.0.0.0/8", a) | some a in ["10.1.2.3", "11.0.0.1",'
        ' "::ffff:10.0.0.1", "::1"]]',
        [True, False, True, False],
    ),
    _value_canary(
        "time", 'time.parse_rfc3339_ns("2026-01-02T03:04:05.123456Z")', 1767323045123456000
    ),
    _value_canary("clock", 'time.clock(time.parse_rfc3339_ns("2026-01-02T03:04:05Z"))', [3, 4, 5]),
    _value_canary("base64", 'base64.encode("é")', "w6k="),
    _value_canary("semver", 'semver.compare("1.2.3", "1.10.0")', -1),
    _value_canary("sort", '[sort([3, "a", 1, null]), sort({2, 1})]', [[None, 1, 3, "a"], [1, 2]]),
    _value_canary(
        "arrays",
        "[array.concat([1], [2]), array.slice([1, 2, 3], 1, 2), count([])]",
        [[1, 2], [2], 0],
    ),
    _value_canary(
        "types",
        "[is_number(1), is_string(1), is_set({1}), type_name(null)]",
        [True, False, True, "null"],
    ),
    _value_canary(
        "membership",
        '[2 in input.b.c, "c" in object.keys(input.b), 9 in input.b.c]',
        [True, True, False],
    ),
    _value_canary("rounding", "[round(2.5), ceil(1.2), floor(-1.2), abs(-3)]", [3, 2, -2, 3]),
    _value_canary("least and most", "[max([1, 2.5]), min({3, 4}), sum([1, 2])]", [2.5, 3, 3]),
]
_ERRORS = [
    _raising_canary("division by zero", "1 / (input.a - 1)"),
    _raising_canary("wrong type", "lower(input.a)"),
    _raising_canary("wrong type under not", "count([1 | not startswith(input.a, 5)])"),
    _raising_canary("bad pattern", 'regex.match("[", "a")'),
    _raising_canary("bad time", 'time.parse_rfc3339_ns("soon")'),
    _raising_canary("unknown function", "guardrail.no_such_function(1)"),
]
_PACKAGES: list[dict[str, Any]] = [
    {
        "name": "rules of another package by their full path",
        "modules": [
            ["main.rego", "package m\nx := [count(data.p.deny), data.p.ok]\n"],
            [
                "p.rego",
                (
                    'package p\nblocked if input.a == 1\ndeny contains "d" if blocked\ndefault ok'
                    " := false\nok if not blocked\n"
                ),
            ],
        ],
        "rule": "data.m.x",
        "input": _INPUT,
        "want": [1, False],
    },
    {
        "name": "data",
        "modules": [["t.rego", "package t\nx := [data.known[input.a], data.list[_]]\n"]],
        "data": '{"known": ["a", "b"], "list": [5]}',
        "rule": "data.t.x",
        "input": _INPUT,
        "want": ["b", 5],
    },
]

CANARIES: list[dict[str, Any]] = [*_LANGUAGE, *_VALUES, *_ERRORS, *_PACKAGES]
"""The canaries in the form that the worker expects: modules, rule, input, data, and ``want``,
``undefined`` or ``raises``.
"""
