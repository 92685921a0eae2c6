"""Differences that are rewritten: the wrong answer without rewriting, and OPA's answer with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.authoring.check import check
from guardrail.errors import PolicyLoadError
from guardrail.policy.embedded.compiled import compile_sources
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.sources import ModuleSource, load_policies
from tests.support.policies import ALLOW, codes, compiled, findings, raw, write

RAISES = object()
GIVEN = {
    "bad": 5,
    "none": [],
    "o": {"n": 1, "m": 2},
    "rs": [{"n": 1, "m": 2}],
    "half": 0.5,
    "e": "é",
}

# name, expression about the input, the raw engine's answer, OPA's answer (taken from OPA 1.22)
FIXED = [
    ("walk assigned", "count([p | [p, v] := walk([1])])", 0, 2),
    ("overlapping count", 'strings.count("11111", "11")', 4, 2),
    ("word class", r"regex.match(`^\w+$`, input.e)", True, False),
    ("digit class", "regex.match(`^\\d+$`, \"\u0661\")", True, False),
    ("word boundary", r"regex.match(`a\b`, `aé`)", False, True),
    ("decimal sum", "0.1 + 0.2 == 0.3", False, True),
    ("decimal product", "100 * 1.1 > 110", True, False),
    ("decimal total", "sum([0.1, 0.2]) == 0.3", False, True),
    ("format with a width", 'sprintf("%5d", ["x"])', "", "%!d(string=    x)"),
    ("padded text", 'sprintf("%5s", ["a"])', "a", "    a"),
    ("text as number", 'to_number(concat("", [" ", "1"]))', 1, RAISES),
    ("replacement of replacements", 'strings.replace_n({"a": "b", "b": "c"}, "ab")', "cc", "bc"),
    ("json text", 'json.marshal(["<"])', '["<"]', '["\\u003c"]'),
    ("empty needle", 'indexof("abc", trim_space(" "))', 0, RAISES),
    ("offset of a fraction", 'substring("abc", input.half, 3)', "", RAISES),
    ("slice by a fraction", "count([1 | array.slice([1], input.half, 1)])", 0, RAISES),
    ("call beside an iteration", "count([1 | input.none[_] == lower(input.bad)])", 0, RAISES),
    ("call beside a declared iteration", "count([1 | some i; input.none[i] == lower(input.bad)])", 0, RAISES),
    ("result in an argument", 'count([1 | split(input.bad, ".", p); false; p])', 0, RAISES),
    ("call behind walk", "count([1 | walk([5], [p, v]); lower(v) == p; false])", 0, RAISES),
    ("call behind a missing item", "count([1 | y := [input.no, lower(input.bad)]; y])", 0, RAISES),
    ("call behind a missing value", 'count([1 | y := {"a": input.no, "b": lower(input.bad)}; y])', 0, RAISES),
    ("key and value in", 'count([1 | input[input.no], input.no in {"a": 1}])', 1, 0),
    ("object pattern", 'count([1 | {"n": n} = input.o])', 1, 0),
    ("assigned object pattern", 'count([1 | {"n": n} := input.o])', 1, 0),
    ("object pattern in some", 'count([1 | some {"n": n} in input.rs])', 1, 0),
    ("object pattern in a key", 'count([k | some k, {"n": 1} in input.rs])', 1, 0),
    ("in something missing", 'count([1 | (input.no in ["a"]) == false])', 1, 0),
    ("something missing in a list", "count([1 | [1 in input.no] == [false]])", 1, 0),
    ("a membership in a membership", "count([1 | (1 in [2]) in {input.no in [1], false}])", 1, 0),
    ("a member of a number", "count([1 | some x in input.half])", RAISES, 0),
    ("a member of a text", "count([1 | some x in input.e])", RAISES, 0),
    ("a member of null", "count([1 | some k, x in object.get(input, \"no\", null)])", RAISES, 0),
    ("a member of a member", "count([1 | some x in [1, [2], {3}]; some y in x; y > 1])", RAISES, 2),
    ("not a call on something missing", 'count([1 | not startswith(input.no, "a")])', 1, 0),
    ("not in something missing", 'count([1 | not input.no in ["a"]])', 1, 0),
    ("not a comparison with something missing", "count([1 | not input.no > 5])", 1, 0),
    ("not an index that is missing", "count([1 | not input.o[input.no]])", 1, 0),
    ("not a list of something missing", "count([1 | not [input.no] == [1]])", 1, 0),
    ("a failing call beside something missing", "count([1 | not input.no > lower(input.bad)])", RAISES, RAISES),
]  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    with Workbench(time_limit=5.0) as found:
        yield found


def served(bench: Workbench, text: str, path: str, given: object) -> object:
    """Return the value of a rule in the form in which a guard serves it, or ``RAISES``."""
    sources = [ModuleSource("p.rego", "p", text)]
    if "data.s" in text:
        sources.append(
            ModuleSource("s.rego", "s", "package s\n\nb := 2\n\nc contains 1\n\nf(x) := x\n")
        )
    if "data.r" in text:
        sources.append(ModuleSource("r.rego", "r", "package r.q\n"))
    merged, _ = compile_sources(sources, [], "{}", bench, contract_checks=False)
    bench.load([(module.name, module.text) for module in merged], None)
    try:
        return bench.rule(path, json.dumps(given))
    except EngineRefusal:
        return RAISES


@pytest.mark.parametrize(
    ("expression", "here", "opa"), [case[1:] for case in FIXED], ids=[case[0] for case in FIXED]
)
def test_a_difference_is_rewritten(
    bench: Workbench, expression: str, here: object, opa: object
) -> None:
    """The engine alone gives another answer than OPA. The served text gives OPA's answer."""
    text = f"package t\n\nx := {expression}\n"
    if here is not RAISES:
        assert raw(text, "data.t.x", GIVEN) == here
    assert here != opa or here is RAISES
    assert served(bench, text, "data.t.x", GIVEN) == opa


WHOLE = [
    (
        "a name twice among arguments",
        'same(x, x) := true\n\nx := [same(1, 1), [1 | same(1, 2)]]\n',
        [True, []],
    ),
    (
        "an object as an argument",
        'f({"n": n}) := n\n\nx := [[f({"n": 1})], [1 | f(input.o)]]\n',
        [[1], []],
    ),
    ("an object of sets without members", "o[k] contains 1 if some k in []\n\nx := o\n", {}),
    (
        "an object of sets",
        'o[k] contains v if some [k, v] in [["a", 1], ["b", 2], ["a", 3]]\n\nx := o\n',
        {"a": [1, 3], "b": [2]},
    ),
    ("a template", 'x := $"{1 + 1} \\{n} {input.no} {["a"]}"\n', '2 {n} <undefined> ["a"]'),
    ("a template of several lines", "x := $`a\n{input.e}`\n", "a\né"),
    ("a template in a template", 'x := $"<{$"{input.e}!"}>"\n', "<é!>"),
    ("an import of data", "import data.t.y as z\n\nx := z\n\ny := 1\n", 1),
    ("a late import", "x := z\n\nimport input.e as z\n", "é"),
    ("a variable with the name of an import", "import data.t.y\n\nx := [y | some y in [2]]\n", [2]),
    ("a dropped print", "x := 1 if {\n\tprint(\n\t\tinput.no,\n\t)\n\tinput.e\n}\n", 1),
    (
        "a function with else, with its result in an argument",
        'f(n) := "a" if n == 1\n\nelse := "b"\n\nx := [1 | f(2, "b")]\n',
        [1],
    ),
    ("a computed pattern", "p := `^\\w$`\n\nx := regex.match(p, input.e)\n", False),
    ("a computed glob", 'p := "*.x"\n\nx := glob.match(p, [], "a.b.x")\n', False),
    (
        "a function in every and outside",
        'x := 1 if { lower("A") == "a"; every v in ["a"] { startswith(lower(v), "a"); v = "a" } }\n',
        1,
    ),
    (
        "every element missing",
        'default x := 0\n\nx := 1 if every k, v in ["q"] { not {"a": 1}[v]; not {"a"}[k] }\n',
        1,
    ),
    (
        "every element equal",
        "default x := 0\n\nx := 1 if every v in [2] { v = input.half }\n",
        0,
    ),
    (
        "every element a result",
        "default x := 0\n\nx := 1 if every k, v in [2] { walk(input.none, [_, v]); k == 0 }\n",
        0,
    ),
    ("rules with dots", 'u.a := 1 if u.b\n\nu.b if input.e\n\nu.no := 1 if input.no\n\nx := [u, u.a]\n', [{"a": 1, "b": True}, 1]),
    ("a rule below nothing", "u.a.b := input.no\n\nx := u\n", {"a": {}}),
    ("a default with dots", "default u.a := 2\n\nu.a := input.no\n\nx := data.t.u[\"a\"]\n", 2),
    ("a function with dots", "u.f(n) := n + 1\n\nu.g := 5\n\nx := [u.f(1), u]\n", [2, {"g": 5}]),
    (
        "several brackets",
        'u[k][n].z := n if some k, n in {"a": 1, "b": 2}\n\nu.c.d.z := 3\n\nx := u\n',
        {"a": {"1": {"z": 1}}, "b": {"2": {"z": 2}}, "c": {"d": {"z": 3}}},
    ),
    (
        "sets below brackets",
        'u[k] contains v if some k, v in {"a": 1}\n\nu.a contains 2\n\nx := u\n',
        {"a": [1, 2]},
    ),
    ("two values for one place", 'u[k].z := 1 if k := "a"\n\nu.a.z := 2\n\nx := u\n', RAISES),
    ("a rule named like a keyword", "every.a := 1\n\nx := [every.a, data.t.every.a]\n", [1, 1]),
    ("a whole package", "x := data.s\n", {"b": 2, "c": [1]}),
    ("rules of packages by a variable", "x := {v | v := data.s[_]}\n", [2, [1]]),
    ("a package that has no rules", "x := data.r\n", {"q": {}}),
    ("an object that is assigned with =", 'x := [v | y = input.e; v = {"a": y}]\n', [{"a": "é"}]),
    ("two objects", 'x := [a, b] if {"a": a, "b": 2} = {"b": b, "a": 1}\n', [1, 2]),
    ("two objects with other keys", 'x := [1 | {"a": 1} = {"b": 1}]\n', []),
    ("a call in the value of a rule", 'x := [input.e, upper(input.e)]\n', ["é", "É"]),
    (
        "a call in the value of a rule, behind something missing",
        "x := [input.no, upper(input.bad)]\n",
        RAISES,
    ),
    (
        "a call in the value of else",
        'x := 1 if {\n\tinput.no\n} else := [input.e, upper(input.e)] if {\n\tinput.e\n}\n',
        ["é", "É"],
    ),
    ("an iteration in a head", "y contains input.rs[_].n\n\ny contains input.none[_]\n\nx := y\n", [1]),
    ("an iteration in a value", "x := input.none[i] if true\nelse := 1\n", 1),
    ("an iteration in else", "x := 1 if false\nelse := input.rs[_].n\n", 1),
    ("an iteration in an object", 'x := [v | v := y[_]]\n\ny contains {"n": input.rs[i].n, "i": i}\n', [{"i": 0, "n": 1}]),
    ("an iteration with several results", "x := [2, 3][_]\n", RAISES),
    ("computed keys", 'x := {"a": 1, input.e: 2, upper(input.e): 3}\n', {"a": 1, "é": 2, "É": 3}),
    ("calls in an object whose keys descend", 'x := {"x": upper(input.zz), "a": base64.decode(input.e)}\n', RAISES),
    ("two equal keys", 'x := {"é": 1, input.e: 2}\n', RAISES),
    ("a computed pattern that OPA reads differently", "p := `a++`\n\nx := regex.match(p, `a`)\n", RAISES),
]  # fmt: skip


@pytest.mark.parametrize(("text", "opa"), [case[1:] for case in WHOLE], ids=[c[0] for c in WHOLE])
def test_a_construct_is_rewritten(bench: Workbench, text: str, opa: object) -> None:
    """OPA 1.22 gives the same answers."""
    assert served(bench, f"package t\n\n{text}", "data.t.x", GIVEN) == opa


@pytest.mark.parametrize("text", ["x := guardrail.plus(1, 2)", "x if guardrail.pattern(`a`)"])
def test_policies_can_not_call_the_functions_that_rewriting_inserts(
    tmp_path: Path, text: str
) -> None:
    """OPA does not know them, so such a policy would load in one engine only."""
    (finding,) = (
        found
        for found in findings(write(tmp_path, {"p.rego": f"{ALLOW}\n{text}\n"}))
        if "guardrail is not" in found.message
    )
    assert (finding.code, finding.line) == ("builtin", 5)


LINES = """package guardrail.policy

import data.known as k

allow contains msg if {
	print("a",
		"b")
	not startswith(
		input.action.properties.args.s,
		"x",
	)
	{"a": a} := input.action.properties.args.o
	msg := sprintf("%s %d", [
		a,
		k.n + 1,
	])
}

x := time.now_ns()
"""


def test_rewriting_keeps_the_numbers_of_lines(tmp_path: Path) -> None:
    """In findings, and in the served module."""
    folder = write(tmp_path, {"p.rego": LINES})
    (finding,) = findings(folder)
    assert (finding.code, finding.line) == ("impure-builtin", 19)
    write(tmp_path, {"p.rego": LINES.replace("time.now_ns()", "1")})
    module = next(m for m in compiled(folder).modules if m.package == ("guardrail", "policy"))
    lines = module.text.splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith(" := 1"))
    assert module.place(number).line in {18, 19}
    number = next(n for n, line in enumerate(lines, 1) if "sprintf" in line)
    assert module.place(number).line == 13


def test_a_policy_keeps_the_digest_of_the_text_that_was_written(tmp_path: Path) -> None:
    """Records name the author's text, not the evaluated one."""
    folder = write(tmp_path, {"p.rego": LINES.replace("time.now_ns()", "1")})
    policies = load_policies([folder])
    assert compiled(folder).identity.digest == policies.digest
    assert any("print(" in source.text for source in policies.modules)


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("x := time.now_ns()\n", "impure-builtin", "input.context.time"),
        ("deny[msg] {\n\tmsg := 1\n}\n", "syntax", "opa fmt --v0-v1"),
        ('x := sprintf("%*d", [1, 2])\n', "sprintf-format", "write %v"),
    ],
)
def test_the_rest_is_refused_with_a_hint(bench: Workbench, text: str, code: str, hint: str) -> None:
    with pytest.raises(PolicyLoadError) as caught:
        served(bench, f"package t\n\n{text}", "data.t.x", {})
    (finding,) = caught.value.findings
    assert codes([finding]) == [code]
    assert hint in finding.hint


def test_the_evaluated_text_is_shown_if_it_is_asked_for(tmp_path: Path) -> None:
    """And print is a remark, not a finding."""
    folder = write(tmp_path, {"p.rego": LINES.replace("time.now_ns()", "1")})
    assert check([folder]).evaluated == ()
    report = check([folder], show_rewritten=True)
    assert ("print", 6) in {(remark.code, remark.line) for remark in report.remarks}
    (package,) = report.evaluated
    assert package.package == "guardrail.policy"
    assert "data.known.n" in package.text
    assert "print(" not in package.text
