"""What the preflight refuses, and the wrong answer or death that each refusal prevents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.errors import PolicyError
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from tests.support.policies import ALLOW, UNDEFINED, body_findings, codes, findings, raw, write

# name, body of a deny rule, code, expression for the raw engine, its answer, OPA's answer. The last
# two differ: that is what the guard is for. OPA's answers were taken from OPA 1.22.
SILENT = [
    (
        "schema match",
        'json.match_schema({}, {})[1] == []',
        "builtin",
        'json.match_schema({"a": 1}, {"type": "object"})[1]',
        None,
        [],
    ),
    ("web request", "http.send({}).status_code == 200", "impure-builtin", 'http.send({"method": "get", "url": "http://127.0.0.1:1"})', UNDEFINED, "raises"),
    ("class intersection", "regex.match(`[a&&b]`, input.resource.id)", "regex-pattern", "regex.match(`[a&&b]`, `&`)", False, True),
    ("range that ends in a dash", "regex.match(`^[+--]$`, input.resource.id)", "regex-pattern", "regex.match(`^[+--]$`, `-`)", False, True),
    ("range to a dash behind a letter", "regex.match(`^[a,--]$`, input.resource.id)", "regex-pattern", "regex.match(`^[a,--]$`, `-`)", False, True),
    ("letter newer than OPA's Unicode", "regex.match(`(?i)^\u1c89$`, input.resource.id)", "regex-pattern", "regex.match(`(?i)^\u1c89$`, `\u1c8a`)", True, False),
    ("no name in a template", 'regex.replace(input.resource.id, `a(b)`, "${}") == ""', "regex-replacement", 'regex.replace("ab", `a(b)`, "${}")', "", "${}"),
    ("blank in a template", 'regex.replace(input.resource.id, `a(b)`, "${n x}") == ""', "regex-replacement", 'regex.replace("ab", `a(b)`, "${n x}")', "", "${n x}"),
    ("zero before a group's number", 'regex.replace(input.resource.id, `a(b)`, "$01") == ""', "regex-replacement", 'regex.replace("ab", `a(b)`, "$01")', "b", ""),
    ("letter as a group's name", 'regex.replace(input.resource.id, `a(b)`, "$\u00e9") == ""', "regex-replacement", 'regex.replace("ab", `a(b)`, "$\u00e9")', "$\u00e9", ""),
    ("count of matches", "regex.find_n(`a`, input.resource.id, 1e30) == []", "regex-count", 'count(regex.find_n(`a`, "aa", 1e30))', 2, "raises"),
    ("count of matches beyond 63 bits", "regex.find_all_string_submatch_n(`a`, input.resource.id, 18446744073709551615) == []", "regex-count", 'count(regex.find_all_string_submatch_n(`a`, "aa", 18446744073709551615))', 2, "raises"),
    ("fraction of 63 bits", "input.action.properties.args.n > 9.223372036854775808e18", "integer-range", "9223372036854775807 < 9223372036854775808.0", False, True),
    ("fraction of 54 bits", "input.action.properties.args.n == 1e16", "integer-range", '10000000000000001 == json.unmarshal("1e16")', True, False),
    ("index with an exponent", 'input.resource.id == ["a", "b"][1e0]', "exponent", 'count([x | x := ["a", "b"][json.unmarshal("1e0")]])', 1, 0),
    ("word boundary", r"regex.match(`\<a`, input.resource.id)", "regex-pattern", r"regex.match(`\<a`, `a`)", True, False),
    ("glob class", 'glob.match("[^a]x", [], input.resource.id)', "glob-pattern", 'glob.match("[^a]x", [], "ax")', False, True),
    ("glob bracket", 'glob.match("[]a]", [], input.resource.id)', "glob-pattern", 'glob.match("[]a]", [], "a")', True, False),
    ("shift", "bits.lsh(1, 64) > 0", "shift", "bits.lsh(1, 64) == 18446744073709551616", True, True),
    ("large literal", "input.action.properties.args.n == 18446744073709551617", "integer-range", '18446744073709551617 == json.unmarshal("18446744073709551616")', True, False),
    ("split at nothing", 'regex.split("b*", input.resource.id) == []', "regex-pattern", 'regex.split("b*", "abbc")', ["", "a", "c", ""], ["a", "c"]),
    ("repeated repetition", "regex.match(`^a++$`, input.resource.id)", "regex-pattern", "regex.match(`^a++$`, `aaa`)", True, "raises"),
    ("repeated count", "regex.match(`^x{2}{3}$`, input.resource.id)", "regex-pattern", "regex.match(`^x{2}{3}$`, `xxxxxx`)", True, "raises"),
    ("unknown class", "regex.match(`^[[:letter:]]$`, input.resource.id)", "regex-pattern", "regex.match(`^[[:letter:]]+$`, `:`)", True, "raises"),
    ("replacement by no pattern", 'regex.replace(input.resource.id, `[z-a]`, "") == "a"', "regex-pattern", 'count([1 | regex.replace("a", `[z-a]`, "")])', 0, "raises"),
    ("not of what is written out", "not true", "not-literal", "count([1 | not true])", 0, 1),
    ("object pattern inside a list", '[n, {"m": 1}] = input.action.properties.args.xs', "object-pattern", 'count([1 | [n, {"m": 1}] = [1, {"m": 1, "o": 2}]])', 1, 0),
    ("object pattern in walk", 'walk(input, [p, {"n": n}])', "object-pattern", 'count([p | walk([{"n": 1, "m": 2}], [p, {"n": n}])])', 1, 0),
    ("call behind one that may be undefined in a set", "{object.keys(input.action.properties.args.m), base64.decode(input.resource.id)} != 5", "skipped-call", 'count([1 | {object.keys(data.m), base64.decode("%%")}])', 0, "raises"),
    ("operator behind a call in a set", "{upper(input.action.properties.args.m), input.action.properties.args.xs & {1}} != 5", "skipped-call", 'count([1 | {upper(data.m), "x" & {1}}])', 0, "raises"),
    ("one name for key and value", "some k, k in input.action.properties.args.xs", "repeated-name", "[k | some k, k in [5, 1]]", [5, 1], [1]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "expression", "here", "opa"),
    [case[1:] for case in SILENT],
    ids=[case[0] for case in SILENT],
)
def test_what_the_engine_answers_differently_is_refused(
    tmp_path: Path, body: str, code: str, expression: str, here: object, opa: object
) -> None:
    """The raw engine gives another answer than OPA and says nothing; the preflight names file, line
    and code.
    """
    got = raw(f"package t\nx := {expression}\n", "data.t.x")
    assert got is here or (got == here and type(got) is type(here))
    assert (here != opa) or code == "shift"
    found = body_findings(tmp_path, body)
    assert codes(found) == [code]
    assert found[0].file.endswith("p.rego")
    assert found[0].line == 4
    assert found[0].hint


DEADLY = [
    ("recursion", "f(v) := f(v + 1)\nx := f(1)\n", "segv"),
    ("a huge range", "x := count(numbers.range(1, 100000000))\n", "memory"),
]


@pytest.mark.parametrize(
    ("text", "detail"), [case[1:] for case in DEADLY], ids=[c[0] for c in DEADLY]
)
def test_what_kills_the_engine_kills_only_a_worker(text: str, detail: str) -> None:
    """Run without a preflight, each of these ends the process it runs in."""
    with Workbench(time_limit=5.0) as bench:
        bench.load([("t.rego", "package t\n" + text)], None)
        with pytest.raises(PolicyError) as caught:
            bench.rule("data.t.x")
        assert (caught.value.cause, caught.value.detail) == ("crashed", detail)


REFUSED = [
    ("function recursion", 'f(v) := g(v)\n\ng(v) := f(v)\n\ndeny contains "d" if f(1)\n', "recursion"),
    ("rule recursion", 'a if b\n\nb if a\n\ndeny contains "d" if a\n', "recursion"),
    ("range over arguments", 'deny contains "d" if numbers.range(1, input.action.properties.args.n)\n', "range"),
    ("wide range", 'deny contains "d" if count(numbers.range(1, 100000)) > 1\n', "range"),
    ("delimiters from the call", 'deny contains "d" if glob.match("a*", [input.resource.id], "a")\n', "glob-pattern"),
    ("clock", 'deny contains "d" if time.now_ns() > 5\n', "impure-builtin"),
    ("chance", 'deny contains "d" if rand.intn("a", 5) == 1\n', "impure-builtin"),
    ("unknown function", 'deny contains "d" if io.jwt.verify_rs256("a", "b")\n', "builtin"),
    ("unknown function in a comprehension", 'deny contains "d" if count([1 | graphql.is_valid("a", "b")]) > 0\n', "builtin"),
    ("unknown function in every", 'deny contains "d" if every v in [1] { graphql.is_valid(v, v) }\n', "builtin"),
    ("unknown function in a head", 'deny contains graphql.is_valid("a", "b") if true\n', "builtin"),
    ("unknown function in else", 'x := 1 if false\nelse := graphql.is_valid("a", "b")\n', "builtin"),
    ("unknown function in an argument", 'deny contains "d" if count(graphql.is_valid("a", "b")) > 0\n', "builtin"),
    ("unknown function in a with", 'deny contains "d" if input.x with input.x as graphql.is_valid("a", "b")\n', "builtin"),
    ("operator as a function", 'deny contains "d" if equal(1, 1)\n', "builtin"),
    ("package as a value", 'deny contains "d" if count(data.guardrail.policy) > 0\n', "package-path"),
    ("package in object.get", 'deny contains "d" if object.get(data.guardrail.policy, "x", 1) == 1\n', "package-path"),
    ("rule by a variable", 'deny contains "d" if { some n in ["x"]; data.guardrail.policy[n] }\n', "package-path"),
    ("package by a variable", 'deny contains "d" if { some n in ["x"]; data.guardrail[n].x }\n', "package-path"),
    ("all data", 'deny contains "d" if count(data) > 0\n', "package-path"),
    ("misspelt rule", 'deny contains "d" if data.guardrail.policy.denny\n', "unknown-rule"),
    ("with on a function", 'deny contains "d" if { f(1) with f as 5 }\n\nf(v) := v\n', "with-builtin"),
    ("with on a builtin", 'deny contains "d" if { count([]) == 1 with count as 1 }\n', "with-builtin"),
    ("with on a rule", 'x := 1\n\ndeny contains "d" if { data.guardrail.policy.x == 2 with data.guardrail.policy.x as 2 }\n', "with-rule"),
    ("with the value of a rule", 'x := input.resource.id\n\ndeny contains "d" if x with input.resource.id as x\n', "with-rule"),
    ("with the value of a rule in full", 'x := input.resource.id\n\ndeny contains "d" if x with input.resource.id as data.guardrail.policy.x\n', "with-rule"),
    ("with beside a constant", 'deny contains "d" if { true with input.resource.id as input.action.properties.args.x }\n', "with"),
    ("with on all data", 'deny contains "d" if { input.x with data as {} }\n', "with-rule"),
    ("computed key in a nested object", 'deny contains "d" if input.x == {"o": {"a": 1, [input.resource.id]: 2}}\n', "computed-key"),
    ("count of matches from the call", 'deny contains "d" if count(regex.find_n(`a`, "a", input.action.properties.args.n)) == 1\n', "regex-count"),
    ("operator at the end of a class", 'deny contains "d" if regex.match(`[a-~~]`, "a")\n', "regex-pattern"),
    ("operator behind a range", 'deny contains "d" if regex.match(`[%-&&b]`, "a")\n', "regex-pattern"),
    ("range from a blank to a dash", 'deny contains "d" if regex.match(`[!--a]`, "a")\n', "regex-pattern"),
    ("folding inside a group", 'deny contains "d" if regex.match(`a(?s-mi:b)(?si:\u00e9)`, "a")\n', "regex-pattern"),
    ("too few arguments", 'deny contains "d" if sprintf()\n', "arity"),
    ("too many arguments", 'deny contains "d" if startswith("a", "b", "c", "d")\n', "arity"),
    ("heads of different lengths", 'a[x].b := 1 if x := "k"\n\na[x].c.d := 1 if x := "k"\n', "ref-head"),
    ("a key that is always there", "p[1] contains 2 if input.no\n", "ref-head"),
    ("a negative key in front", "p.a[-1].b := 2 if input.no\n", "ref-head"),
    ("a default below a computed part", 'a[x].b := 1 if x := "k"\n\ndefault a.k.b := 1\n', "ref-head"),
    ("set and value", "a contains 1\n\na := 2\n", "mixed-rule"),
    ("two arities", "f(x) := x\n\nf(x, y) := x\n", "mixed-rule"),
    ("two defaults", "default a := 1\n\ndefault a := 2\n\na := 3 if input.x\n", "mixed-rule"),
    ("name of a builtin", "count := 1\n", "shadows-builtin"),
    ("object as a result", 'deny contains "d" if { object.get(input, "x", {}, {"n": n}); n == 1 }\n', "object-pattern"),
    ("object as the result of a function", 'f(x) := x\n\ndeny contains "d" if { f(input, {"subject": s}); s == 1 }\n', "object-pattern"),
    ("object as the result of a library function", 'deny contains "d" if { data.guardrail.lib.args.value("a", {}, {"n": n}); n == 1 }\n', "object-pattern"),
    ("argument called input", 'f(input) := input.resource.id\n\ndeny contains "d" if f({}) == 1\n', "shadows-builtin"),
    ("argument called like a builtin", 'f(count) := count([1, 2])\n\ndeny contains "d" if f(1) == 2\n', "shadows-builtin"),
    ("variable called like builtins", 'deny contains "d" if { net := 1; net.cidr_is_valid("a"); net == 1 }\n', "shadows-builtin"),
    ("rule called like builtins", 'net := 1\n\ndeny contains "d" if net.cidr_is_valid("a")\n', "shadows-builtin"),
    ("import called like builtins", 'import input.context as net\n\ndeny contains "d" if net.cidr_is_valid("a")\n', "builtin"),
    ("too many arguments of a function", 'f(x) := x\n\ndeny contains "d" if f(1, 2, 3)\n', "arity"),
    ("repetition of nothing", 'deny contains "d" if regex.match(`(*a)`, "a")\n', "regex-pattern"),
    ("repetition of a lazy one", 'deny contains "d" if regex.match(`a+?*`, "a")\n', "regex-pattern"),
    ("repetitions inside repetitions", 'deny contains "d" if regex.match(`(a{100}){100}`, "a")\n', "regex-pattern"),
    ("range the wrong way round", 'deny contains "d" if regex.match(`[z-a]`, "a")\n', "regex-pattern"),
    ("range to an escape", 'deny contains "d" if regex.match(`[a-\\n]`, "a")\n', "regex-pattern"),
    ("two groups of one name", 'deny contains "d" if regex.match(`(?P<n>a)(?P<n>b)`, "a")\n', "regex-pattern"),
    ("class without an end", 'deny contains "d" if regex.match(`[a`, "a")\n', "regex-pattern"),
    ("group without an end", 'deny contains "d" if regex.match(`(a`, "a")\n', "regex-pattern"),
    ("group without a beginning", 'deny contains "d" if regex.match(`a)`, "a")\n', "regex-pattern"),
    ("range after a range", 'deny contains "d" if regex.match(`[a-c-e]`, "a")\n', "regex-pattern"),
    ("range to a class", 'deny contains "d" if regex.match(`[a-[:alpha:]]`, "a")\n', "regex-pattern"),
    ("ends the wrong way round", 'deny contains "d" if regex.match(`a{2,1}`, "a")\n', "regex-pattern"),
    ("empty alternative", 'deny contains "d" if glob.match("{a,}", [], "a")\n', "glob-pattern"),
    ("reversed glob range", 'deny contains "d" if glob.match("[c-a]", [], "a")\n', "glob-pattern"),
    ("mixed glob class", 'deny contains "d" if glob.match("[!a-z0-9]", [], "a")\n', "glob-pattern"),
    ("dash in a glob class", 'deny contains "d" if glob.match("[ab-d]", [], "a")\n', "glob-pattern"),
    (
        "a walked value in every",
        'deny contains "d" if { walk(input, [_, v]); every x in [1] { x = v } }\n',
        "every-match",
    ),
    ("sets by order", 'deny contains "d" if input.x < {1}\n', "set-order"),
    ("a value by order", 'ns := {n | some n in input.xs} if input.y\n\ndeny contains "d" if input.x > data.guardrail.policy.ns\n', "set-order"),
    ("a function's value by order", 'f(n) := 1 if n else := {n}\n\ndeny contains "d" if f(input.y) > input.x\n', "set-order"),
    ("rule sets by order", 'seen contains 1\n\ndeny contains "d" if seen >= input.x\n', "set-order"),
    ("division", 'deny contains "d" if 1 / input.x > 1\n', "decimal-arithmetic"),
    ("long fraction", 'deny contains "d" if input.x == 0.12345678901234567\n', "decimal-range"),
    ("time zone", 'deny contains "d" if time.clock([0, "Europe/Berlin"])[0] == 5\n', "time"),
    ("deny as a value", "deny := true\n", "set-form"),
    ("deny without contains", "deny if true\n", "set-form"),
    ("a base of the call", 'deny contains "d" if format_int(5, input.action.properties.args.base) == "5"\n', "base"),
    ("a number as a member", "deny contains 5\n", "set-entry"),
    ("a list as a member", 'deny contains ["a"] if true\n', "set-entry"),
    ("null as a member", "hide contains null\n", "set-entry"),
    ("a comprehension as a member", "deny contains {x | some x in [1]} if true\n", "set-entry"),
    ("an empty object as a member", "deny contains {} if true\n", "set-entry"),
    ("the key msg", 'deny contains {"msg": "m"} if true\n', "set-entry"),
    ("the key id", 'deny contains {"id": "a", "message": "m"} if true\n', "set-entry"),
    ("the key approver", 'require_approval contains {"rule": "a", "message": "m", "approver": 2}\n', "set-entry"),
    ("approvers as a text", 'require_approval contains {"rule": "a", "message": "m", "approvers": "2"}\n', "set-entry"),
    ("no approvers", 'require_approval contains {"rule": "a", "message": "m", "approvers": 0}\n', "set-entry"),
    ("needs that is a text", 'require_approval contains {"rule": "a", "message": "m", "needs": "/to"}\n', "set-entry"),
    ("needs without a slash", 'require_approval contains {"rule": "a", "message": "m", "needs": ["to"]}\n', "set-entry"),
    ("needs of numbers", 'require_approval contains {"rule": "a", "message": "m", "needs": [1]}\n', "set-entry"),
    ("no message", 'deny contains {"rule": "a"} if true\n', "set-entry"),
    ("an empty message", 'deny contains {"rule": "a", "message": ""} if true\n', "set-entry"),
    ("a message that is a number", 'deny contains {"rule": "a", "message": 5} if true\n', "set-entry"),
    ("a member by its name", 'deny contains r if {\n\tr := {"msg": "m"}\n}\n', "set-entry"),
    ("a part by its name", 'deny contains {"rule": "a", "message": m} if {\n\tm := 5\n}\n', "set-entry"),
    ("a member of another rule", 'e := {"rule": "a"}\n\ndeny contains e if input.x\n', "set-entry"),
    ("a member by its full name", 'e := {"rule": "a"} if input.y\n\ndeny contains data.guardrail.policy.e if input.x\n', "set-entry"),
    ("a member of a function", 'e(x) := {"id": x, "message": "m"}\n\ndeny contains e("a") if input.x\n', "set-entry"),
    ("a union", 'deny contains object.union({"rule": "a"}, {"msg": "m"}) if input.x\n', "set-entry"),
    ("a union with another rule", 'e := {"rule": "a", "message": "m"}\n\ndeny contains object.union(e, {"message": 5}) if input.x\n', "set-entry"),
    ("a part of another rule", 'm := 5\n\ndeny contains {"rule": "a", "message": m} if input.x\n', "set-entry"),
    ("a pointer of another rule", 'p := "card"\n\nredact contains p if input.x\n', "set-entry"),
    ("a message that is too long", f'deny contains {{"rule": "a", "message": "{"m" * 4097}"}} if input.x\n', "set-entry"),
    ("a member that is too long", f'deny contains "{"m" * 4097}" if input.x\n', "set-entry"),
    ("redact without a slash", 'redact contains "card"\n', "set-entry"),
    ("redact of a number", "redact contains 5\n", "set-entry"),
    ("default for a set", "default allow := false\n", "set-form"),
    ("a label of capitals", 'label contains "Untrusted"\n', "set-entry"),
    ("a label with a blank", 'label contains "not trusted"\n', "set-entry"),
    ("a label that is too long", f'label contains "{"a" * 65}"\n', "set-entry"),
    ("an empty label", 'label contains ""\n', "set-entry"),
    ("a label that is a number", "label contains 5\n", "set-entry"),
    ("a label with a reason", 'label contains {"rule": "a", "message": "m"}\n', "set-entry"),
    ("a label by its name", 'label contains l if {\n\tl := "A"\n}\n', "set-entry"),
    ("label as a value", 'label := "x"\n', "set-form"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_can_not_be_served_is_refused(tmp_path: Path, text: str, code: str) -> None:
    """Every form of it, wherever it stands in a rule."""
    found = findings(write(tmp_path, {"p.rego": "package guardrail.policy\n\n" + text}))
    assert code in codes(found)
    assert all(finding.line > 0 for finding in found)


ACCEPTED = [
    "deny contains \"d\" if not input.action.properties.args.path",
    "deny contains \"d\" if not input.action.properties.args.path == 1",
    'deny contains "d" if not startswith(input.resource.id, "a")',
    'deny contains "d" if not input.resource.id in ["a"]',
    'deny contains "d" if not object.get(input.action.properties.args, "n", 0) > 5',
    "deny contains \"d\" if not count([x | some x in input.action.properties.args.xs]) > 0",
    "deny contains \"d\" if { some x in input.action.properties.args.xs; not x in {1, 2} }",
    "deny contains \"d\" if { walk(input, [path, value]); value == 5 }",
    'deny contains "d" if regex.replace(input.resource.id, `(a)(?P<n>b)`, "${1}$n-$$$") == "x"',
    'deny contains "d" if regex.find_n(`a`, input.resource.id, -1) == ["a"]',
    'deny contains "d" if object.union({"a": 1}, {input.resource.id: 2}).a == 1',
    'deny contains "d" if {k: v | some k, v in input.action.properties.args}.a == 1',
    'deny contains "d" if regex.match(`(?i)^[^a-z_-]{2}[+-]$`, input.resource.id)',
    'deny contains "d" if regex.match(`(?-i:\u00e9)`, input.resource.id)',
    'deny contains "d" if input.action.properties.args.n > 1e9',
    "deny contains \"d\" if count(input.action.properties.args.xs) - 1 > 5",
    "deny contains \"d\" if count({1, 2} - {x | some x in input.action.properties.args.xs}) > 0",
    "deny contains \"d\" if sum([round(x) | some x in input.action.properties.args.xs]) > 5",
    "deny contains \"d\" if time.clock(time.parse_rfc3339_ns(input.context.time))[0] > 22",
    'deny contains "d" if regex.match(`^[A-Za-z0-9_.-]+@(?:[a-z]+\\.)+[a-z]{2,10}$`, input.resource.id)',
    'deny contains "d" if glob.match("{api,www}.*.example.com", ["."], input.resource.id)',
    'deny contains sprintf("%v and 100%%", [input.resource.id]) if true',
    'deny contains sprintf("%s took %d", [input.resource.id, count(input.action.properties.args)]) if true',
    'deny contains "d" if glob.match("/srv/?/[a-z]*/{a,b}", ["/"], input.resource.id)',
    'deny contains "d" if regex.match(`^(?i:[^a-c\\]x-]+?|[[:alpha:]]{2,5})*$`, input.resource.id)',
    'deny contains "d" if json.remove(input.action.properties.args, ["a", ["b"]]) == {}',
    'deny contains "d" if array.slice(split(input.resource.id, "/"), 0, count(split(input.resource.id, "/")) - 1) == []',
    'deny contains "d" if time.parse_rfc3339_ns(input.action.properties.args.until) - time.parse_rfc3339_ns(input.context.time) > time.parse_duration_ns("24h")',
    'deny contains "d" if round(input.action.properties.args.n) * 100 > 5',
    'deny contains "d" if "a", 1 in input.action.properties.args',
    'deny contains "d" if some x in numbers.range(1, 100)',
    "deny contains \"d\" if { p := data.guardrail.policy.helper; p == 1 }\n\nhelper := 1",
    "deny contains \"d\" if named[1]\n\nnamed[k] := v if some k, v in [1, 2]",
    "deny contains \"d\" if input.action.properties.args.n == 18446744073709551615",
    "import input.action.properties.args\n\ndeny contains \"d\" if args.n == 5",
    "deny contains x if some x in input.action.properties.args.xs",
    'deny contains "d" if { input.action.properties.args.ok; walk(input, [p, v]); startswith(v, "a"); p != [] }',
    'deny contains "d" if startswith(input.action.properties.args.xs[_], "/etc/")',
    'deny contains "d" if input.action.properties.args.xs[_] == lower(input.resource.id)',
    'deny contains "d" if { y := lower(input.action.properties.args.s); input.action.properties.args.xs[_] == y }',
    'deny contains "d" if split(input.action.properties.args.s, ".", ["a", "b"])',
    'deny contains "d" if count([x | some x in input.action.properties.args.xs; startswith(x, "a")]) > input.action.properties.args.n',
    'deny contains "d" if input.action.properties.args == {"n": 5}',
    'deny contains "d" if { "bank" = input.resource.id; [a, b] = split(input.subject.id, "@"); a == b }',
    'deny contains "d" if { x := {"n": 5}; x == input.action.properties.args }',
    "deny contains \"d\" if f(1, 2, 3, 4)\n\nf(a, b, _, _) if a < b",
    'deny contains "d" if { time := input.context.time; time == "x" }',
    'deny contains "d" if net.cidr_contains("10.0.0.0/8", input.action.properties.args.ip)',
    "deny contains input.action.properties.args.xs[i] if { some i in [0, 1] }",
    "deny contains \"d\" if count([x | x := input.action.properties.args.xs[_]]) > 0",
    "deny contains \"d\" if { data.known[input.resource.id] with data.known as {} }",
]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_ordinary_policy_is_accepted(tmp_path: Path, text: str) -> None:
    """A preflight that refuses what everybody writes would be turned off."""
    write(tmp_path, {"p.rego": "package guardrail.policy\n\n" + text + "\n"})
    assert findings(tmp_path) == []


def test_a_test_may_compute_a_key_among_others(tmp_path: Path) -> None:
    """Tests write calls so for every name, and decide nothing."""
    text = (
        'package guardrail.policy_test\n\ntest_names if every k in ["cc"] { {"to": 1, k: 2}.cc =='
        " 2 }\n"
    )
    assert findings(write(tmp_path, {"p.rego": ALLOW, "p_test.rego": text})) == []


def test_data_over_rules_is_refused(tmp_path: Path) -> None:
    """The raw engine lets data replace a deny rule without a word."""
    text = 'package t\ndeny contains "x" if true\n'
    assert raw(text, "data.t.deny") == ["x"]
    assert raw(text, "data.t.deny", data={"t": {"deny": []}}) == []
    write(tmp_path, {"p.rego": ALLOW})
    assert codes(findings(tmp_path, data={"guardrail": {"policy": {"deny": []}}})) == [
        "data-overlap"
    ]


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("guardrail.main", "reserved-package"),
        ("guardrail.lib.args", "reserved-package"),
        ("guardrail.lib.mine", "reserved-package"),
        ("guardrail", "package-name"),
        ("other", "package-name"),
        ("guardrail.policies", "package-name"),
        ("guardrail.policy_test", "package-name"),
        ("guardrail.policy.x_test", "test-package"),
    ],
)
def test_packages_that_are_not_the_authors_are_refused(
    tmp_path: Path, package: str, code: str
) -> None:
    """The composition can't be replaced, and nothing outside ``guardrail.policy`` would be read."""
    write(tmp_path, {"p.rego": ALLOW, "q.rego": f"package {package}\n\nx := 1\n"})
    assert codes(findings(tmp_path)) == [code]


def test_a_test_outside_a_test_package_is_refused(tmp_path: Path) -> None:
    """Its rules would be rules of the policy."""
    write(
        tmp_path,
        {"p.rego": ALLOW, "p_test.rego": 'package guardrail.policy\n\nallow contains "t"\n'},
    )
    assert codes(findings(tmp_path)) == ["test-package"]


def test_a_set_in_another_package_is_refused(tmp_path: Path) -> None:
    """A deny rule that nobody reads is one that never fires."""
    write(
        tmp_path,
        {"p.rego": ALLOW, "q.rego": 'package guardrail.policy.mail\n\ndeny contains "x" if true\n'},
    )
    assert codes(findings(tmp_path)) == ["set-elsewhere"]


def test_a_package_below_a_rule_is_refused(tmp_path: Path) -> None:
    """One of them would hide the other."""
    write(
        tmp_path,
        {"p.rego": ALLOW + "\nmail := 1\n", "q.rego": "package guardrail.policy.mail\n\nx := 1\n"},
    )
    assert codes(findings(tmp_path)) == ["package-over-rule"]


def test_a_default_in_each_of_two_files_is_refused(tmp_path: Path) -> None:
    """Rules of one name are one rule, whatever the number of files."""
    text = "package guardrail.policy\n\ndefault a := 1\n"
    write(tmp_path, {"p.rego": text, "q.rego": text})
    assert codes(findings(tmp_path)) == ["mixed-rule"]


def test_all_findings_come_together(tmp_path: Path) -> None:
    """One run shows everything, in every file, by file and line."""
    write(
        tmp_path,
        {
            "a.rego": (
                'package guardrail.policy\n\ndeny contains "d" if time.now_ns() > 1\n\nallow := 1\n'
            ),
            "b.rego": "package guardrail.policy\n\nx := {\n",
            "c.rego": "package other\n",
        },
    )
    found = findings(tmp_path)
    assert [(Path(f.file).name, f.line, f.code) for f in found] == [
        ("a.rego", 3, "impure-builtin"),
        ("a.rego", 5, "set-form"),
        ("b.rego", 4, "syntax"),
        ("c.rego", 1, "package-name"),
    ]


def test_the_installed_policies_are_judged_too(tmp_path: Path) -> None:
    """The composition and the library pass the same preflight."""
    assert findings(write(tmp_path, {"p.rego": ALLOW})) == []


def test_case_changes_one_character_for_one_as_in_opa() -> None:
    """The raw engine changes neighbours and lengths; the worker has its own two functions
    instead.
    """
    assert raw('package t\nx := [lower("\u0130"), upper("\u00df")]\n', "data.t.x") == [
        "i\u0307",
        "SS",
    ]
    with Workbench() as bench:
        bench.load(
            [("t.rego", 'package t\nx := [lower("\u0130A\u03a3"), upper("\u00df\u1fb3z")]\n')], None
        )
        assert bench.rule("data.t.x") == ["ia\u03c3", "\u00df\u1fbcZ"]


ADDRESSES = [
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.0.0.1", False),
    ("169.254.0.0/16", "::ffff:169.254.169.254", True),
    ("169.254.0.0/16", "::ffff:a9fe:a9fe", True),
    ("169.254.0.0/16", "0:0:0:0:0:FFFF:A9FE:A9FE", True),
    ("::ffff:169.254.0.0/112", "169.254.169.254", True),
    ("::/0", "10.0.0.1", False),
    ("::/0", "::ffff:10.0.0.1", False),
    ("0.0.0.0/0", "::1", False),
    ("fe80::/10", "febf::1", True),
    ("10.0.0.0/8", "10.1.0.0/16", True),
    ("10.1.0.0/16", "10.0.0.0/8", False),
    ("10.0.0.0/8", "::ffff:10.0.0.0/104", True),
    ("10.0.0.0/8", "010.0.0.1", None),
    ("10.0.0.0/8", "10.0.0.1 ", None),
    ("10.0.0.0/8", "fe80::1%eth0", None),
    ("10.0.0.0/8", "::1::2", None),
    ("10.0.0.0/33", "10.0.0.1", None),
    ("10.0.0.0", "10.0.0.1", None),
    ("10.0.0.0/8", 5, None),
]


def test_addresses_belong_to_networks_as_in_opa() -> None:
    """The raw engine does not see that an IPv4 address written as one of IPv6 is in a network; the
    worker has its own.
    """
    text = 'package t\nx := net.cidr_contains("169.254.0.0/16", "::ffff:169.254.169.254")\n'
    assert raw(text, "data.t.x") is False
    with Workbench() as bench:
        bench.load([("t.rego", "package t\nx := net.cidr_contains(input[0], input[1])\n")], None)
        for network, inner, inside in ADDRESSES:
            question = json.dumps([network, inner])
            if inside is None:
                with pytest.raises(EngineRefusal):
                    bench.rule("data.t.x", question)
            else:
                assert bench.rule("data.t.x", question) is inside, question


ANSWERS: list[tuple[str, object, object]] = [
    # expression about input, input, OPA's answer; None where OPA raises, or the worker rather
    # raises than guesses
    ('glob.match("api**", ["."], input)', "apia.b/é", True),
    ('glob.match("*.example.com", [], input)', "é.example.com", True),
    ('glob.match("*.example.com", [], input)', "a.b.example.com", False),
    ('glob.match("?{a,bé}[!x]", null, input)', "ébéy", True),
    ("[format_int(e, 16) | some e in input]", [-0.5, 255.9, -17, 0], ["0", "ff", "-11", "0"]),
    ("format_int(10, input)", 3, None),
    ("urlquery.encode(input)", "a *~é/", "a+%2A~%C3%A9%2F"),
    ("urlquery.encode_object(input)", {"b": ["y*", "x"], "a": "é"}, "a=%C3%A9&b=y%2A&b=x"),
    ("urlquery.encode_object(input)", {"a": 5}, None),
    ('sprintf("%v|%s|%d", input)', ["é", "x", 5], "é|x|5"),
    ('sprintf("%d|%s", input)', ["x", 5], "%!d(string=x)|%!s(int64=5)"),
    ('sprintf("%v", [input])', 1000000.5, "1.0000005e+06"),
    ('sprintf("%v", [input])', 0.00001, "1e-05"),
    ('sprintf("%v", [input])', 1000000.0, None),
    ('sprintf("%v", [input])', 100.0, "100"),
    ('sprintf("%v", input)', [[1, "a\\n\u200b", None, {"k": True}]], '[1, "a\\\\n\\u200b", null, {"k": true}]'),
    ('sprintf("%v", [{e | some e in input}])', [3, "a", None], '{null, 3, "a"}'),
    ('sprintf("%v", [{e | some e in input}])', [], "set()"),
    ('sprintf("%v", input)', [], "%!v(MISSING)"),
    ('sprintf("%v", input)', [1, 2], "1%!(EXTRA int64=2)"),
    ('sprintf("%.2f|%5d|%-4s|%q|%x", input)', [1.5, 3, "a", "b", 255], '1.50|    3|a   |"b"|ff'),
    ('sprintf("%*d", input)', [1, 2], None),
    ("time.parse_rfc3339_ns(input)", "2026-01-02T03:04:05.5+01:00", 1767319445500000000),
    ("time.parse_rfc3339_ns(input)", "1969-12-31T23:59:59Z", -1000000000),
    ("time.parse_rfc3339_ns(input)", "2024-02-29T00:00:00Z", 1709164800000000000),
    ("time.parse_rfc3339_ns(input)", "2026-02-29T00:00:00Z", None),
    ("time.parse_rfc3339_ns(input)", "2026-01-02 03:04:05Z", None),
    ("time.parse_rfc3339_ns(input)", "2026-01-02T23:59:60Z", None),
    ("time.parse_rfc3339_ns(input)", "2026-01-02T03:04:05z", None),
    ("time.parse_rfc3339_ns(input)", 5, None),
    ("[round(e) | some e in input]", [2.5, -2.5, 0.49999999999999994, 3], [3, -3, 0, 3]),
    ("[floor(e) | some e in input]", [2.5, -2.5], [2, -3]),
    ("[ceil(e) | some e in input]", [2.5, -2.5], [3, -2]),
    ("floor(input)", -0.5, None),
    ("ceil(input)", -0.5, None),
    ("round(input)", 9007199254740992, None),
    ("[ceil(e) | some e in input]", [-1.5, -1, 0.5], [-1, -1, 1]),
    ('replace(input, "", "-")', "ab", "-a-b-"),
    ('replace(input, "", "-")', "\u00e9", None),
    ('replace(input, "\u00e9", "")', "a\u00e9b", "ab"),
    ('replace("a", "a", input)', 5, None),
    ("lower(input)", "\u1c89", None),
    ("upper(input)", "\u0264", None),
    ("bits.xor(input, -1)", 5, -6),
    ("bits.xor(input, -1)", 9223372036854775808, None),
    ("bits.and(input, 1)", 1.0, None),
    ("sum([round(e) | some e in input])", [1, 2.5], 4),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "given", "answer"), ANSWERS)
def test_the_workers_own_functions_answer_like_opa(
    expression: str, given: object, answer: object
) -> None:
    """Where they would have to guess how a number was written, or a number leaves 64 bits, they
    raise: the call is denied.
    """
    with Workbench() as bench:
        bench.load([("t.rego", f"package t\nx := {expression}\n")], None)
        if answer is None:
            with pytest.raises(EngineRefusal):
                bench.rule("data.t.x", json.dumps(given))
        else:
            assert bench.rule("data.t.x", json.dumps(given)) == answer


def test_a_head_that_iterates_makes_the_raw_engine_skip_else_and_sets() -> None:
    """OPA goes on to ``else``, and has an empty set; the raw engine has nothing at all."""
    assert (
        raw("package t\nx := input.l[_] if { true } else := 9\n", "data.t.x", {"l": []})
        is UNDEFINED
    )
    assert raw("package t\nx contains input.l[_] if true\n", "data.t.x", {"l": []}) is UNDEFINED


def test_sets_stand_on_the_other_side_of_objects_in_the_raw_engine() -> None:
    """OPA's order ends with sets."""
    assert raw('package t\nx := {1} < {"a": 1}\n', "data.t.x") is True


INSTEAD = [
    ("\\B", "[A-Za-z0-9_] for \\B on the side"),
    ("[\\S]x[^\\S ]", "[^\\t\\n\\f\\r ] for \\S"),
]


@pytest.mark.parametrize(("escape", "advice"), INSTEAD, ids=[case[0] for case in INSTEAD])
def test_the_advice_for_an_escape_is_about_that_escape_and_loads(
    tmp_path: Path, escape: str, advice: str
) -> None:
    """What is advised is itself a pattern that is served."""
    (finding,) = body_findings(tmp_path, f"regex.match(`a{escape}b`, input.resource.id)")
    assert f"write {advice}" in finding.message
    pattern = advice.partition(" for ")[0]
    assert body_findings(tmp_path, f"regex.match(`a{pattern}b`, input.resource.id)") == []


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ('x := print("a")', "remove it"),
        ('trace("a")', "remove it"),
        ("time.now_ns() > 1", "input.context.time"),
        ('http.send({"method": "get"}).status_code == 200', "pass it as an argument"),
        ('uuid.rfc4122("a") == "b"', "pass it as an argument"),
    ],
)
def test_the_advice_for_an_impure_function_is_about_that_function(
    tmp_path: Path, call: str, advice: str
) -> None:
    (finding,) = body_findings(tmp_path, call)
    assert finding.code == "impure-builtin"
    assert advice in finding.hint


V0 = "run opa fmt --v0-v1 -w {file}"


@pytest.mark.parametrize(
    ("first", "second", "advice"),
    [
        ("rego.v1", "future.keywords.in", "remove this import"),
        ("rego.v1", "rego.v1", "remove this import"),
        ("future.keywords.in", "future.keywords", "remove this import"),
        ("data.x", "data.x", "rename this import"),
    ],
)
def test_an_import_that_repeats_another_names_both_and_what_to_do(
    tmp_path: Path, first: str, second: str, advice: str
) -> None:
    """A whole sentence, and no advice to move what is at the top."""
    text = (
        f'package guardrail.policy\n\nimport {first}\nimport {second}\n\nallow contains "x" if'
        " true\n"
    )
    (finding,) = findings(write(tmp_path, {"p.rego": text}))
    assert finding.line == 4
    assert finding.message.endswith("in line 3")
    assert advice in finding.hint


@pytest.mark.parametrize(
    ("text", "line", "advice"),
    [
        ('deny[msg] {\n\tmsg := "no"\n}\n', 3, V0),
        ("deny {\n\tinput.resource.id\n}\n", 3, V0),
        ("f(x) = y { y := x }\n", 3, V0),
        (
            'deny contains "d" if regex.match("\\s+x", input.resource.id)\n',
            3,
            r"as in `\s`, or double",
        ),
        (
            'deny contains "d" if regex.match("a\\.b", input.resource.id)\n',
            3,
            r"as in `\.`, or double",
        ),
    ],
)
def test_what_the_parser_refuses_comes_with_advice(
    tmp_path: Path, text: str, line: int, advice: str
) -> None:
    folder = write(tmp_path, {"p.rego": "package guardrail.policy\n\n" + text})
    (finding,) = findings(folder)
    assert (finding.code, finding.line) == ("syntax", line)
    assert advice.format(file=folder / "p.rego") in finding.hint


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("default allow := false\n", "remove the default: allow is a set"),
        ("default deny := set()\n", "remove the default: deny is a set"),
        ("allow if true\n", 'write allow contains "why" if { ... }'),
    ],
)
def test_a_set_in_another_form_is_named_once_with_advice(
    tmp_path: Path, text: str, advice: str
) -> None:
    folder = write(tmp_path, {"p.rego": "package guardrail.policy\n\n" + text})
    (finding,) = findings(folder)
    assert (finding.file, finding.line) == (str(folder / "p.rego"), 3)
    assert finding.code == "set-form"
    assert finding.hint.startswith(advice)


@pytest.mark.parametrize(
    ("body", "code", "advice"),
    [
        ('start_with(input.resource.id, "a")', "builtin", "did you mean startswith?"),
        ('regex.matches("a", input.resource.id)', "builtin", "did you mean regex.match?"),
        ("is_evl(input.resource.id)", "builtin", "did you mean is_evil?"),
        ("qqq(input.resource.id)", "builtin", "define it"),
        ("data.guardrail.policy.is_evl(input.resource.id)", "unknown-rule", "did you mean is_evil?"),
        ('graphql.is_valid(input.resource.id, "b")', "builtin", 'set [policy] engine = "opa", which supports this'),
    ],
)  # fmt: skip
def test_an_undefined_function_comes_with_the_nearest_name(
    tmp_path: Path, body: str, code: str, advice: str
) -> None:
    text = f'is_evil(x) if x == "evil"\n\ndeny contains "d" if {body}\n'
    (finding,) = findings(write(tmp_path, {"p.rego": "package guardrail.policy\n\n" + text}))
    assert finding.code == code
    assert finding.hint.startswith(advice)


BRANCHED = [
    ("a result in an argument", 'x if f(1, "a")', False),
    ("a name as the result", "x := y if f(1, y)", False),
    ("a set by a key", 's contains f(y) if some y in [1]\n\nx if s["a"]', True),
    ("a set by a name", "s contains f(y) if some y in [1]\n\nx if { some k in [1]; s[k] }", True),
    ("a set by its path", 's contains [f(1)][0]\n\nx if data.guardrail.policy.s.a', True),
    ("a comparison", 'x if f(1) == "a"', False),
    ("a member", 's contains f(y) if some y in [1]\n\nx if "a" in s', False),
    ("an object", 'o[f(y)] := 1 if some y in [1]\n\nx if o["a"]', False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "refused"), [c[1:] for c in BRANCHED], ids=[c[0] for c in BRANCHED])  # fmt: skip
def test_a_function_with_else_is_not_asked_for_a_value(
    tmp_path: Path, text: str, refused: bool
) -> None:
    """OPA goes on to the else if the first value is another one, and so finds both."""
    function = 'f(n) := "b" if n == 1\nelse := "a"'
    found = findings(write(tmp_path, {"p.rego": f"{ALLOW}\n{function}\n\n{text}\n"}))
    assert codes(found) == ["else-result"] * refused


def test_a_backspace_in_a_pattern_is_refused(tmp_path: Path) -> None:
    """Between double quotes, backslash b is one, and a rule with it would never fire."""
    (finding,) = body_findings(tmp_path, 'regex.match("\\bfoo", input.resource.id)')
    assert "backspace" in finding.message
    assert "write the pattern between backquotes" in finding.message
