"""Heads that are undefined for some elements: those are skipped, as in OPA, wherever they stand
among the others.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from guardrail.policy.embedded.compiled import locate
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from tests.support.policies import ALLOW, call_input, codes, compiled, findings, raw, write

XS = "input.action.properties.args.xs"
WHOLE = {"id": "a", "n": {"k": "v"}, "ids": ["b"]}
OTHERS: list[dict[str, Any]] = [{}, {"ids": []}]
"""What lacks the fields that the heads below read."""

HEADS = [
    ("a member", f"x contains r.id if some r in {XS}", ["a"]),
    ("a body in braces", f"x contains r.id if {{\n\tsome r in {XS}\n\tis_object(r) # {{ }}\n}}", ["a"]),
    ("a call", f'x contains sprintf("%s: %s", [r.id, "}}"]) if some r in {XS}', ["a: }"]),
    ("an object", f'x contains {{"rule": "if", "message": r.id}} if some r in {XS}', [{"rule": "if", "message": "a"}]),
    ("a list over several lines", f"x contains [ # if {{\n\tr.id,\n\t`}}\n`,\n] if some r in {XS}", [["a", "}\n"]]),
    ("a comparison", f'x contains (r.id == "a") if some r in {XS}', [True]),
    ("arithmetic", f"x contains count(r.n) + 1 if some r in {XS}", [2]),
    ("a function's value", f"f(r) := r.id\n\nx contains f(r) if some r in {XS}", ["a"]),
    ("a function with cases", f'f(r) := r.id if r != 1 else := r.n\n\nx contains f(r) if some r in {XS}', ["a"]),
    ("a nested loop", f"x contains concat(r.id, r.ids) if {{\n\tsome r in {XS}\n\tsome i in [1, 2]\n\ti > 0\n}}", ["b"]),
    ("walk", f"x contains v.n.k if walk({XS}, [_, v])", ["v"]),
    ("a set in a set", f"x contains {{r.id}} if some r in {XS}", [["a"]]),
    ("a value", f"x := r.id if some r in {XS}", "a"),
    ("a value with =", f"x = r.id if some r in {XS}", "a"),
    ("an else", f"x := 1 if false else := r.id if some r in {XS}", "a"),
    ("an else without a body", f"x := {XS}[0].no if true else := {XS}[1].no if true else := count({XS})", 3),
    ("a default", f"default x := 1\n\nx := r.id if some r in {XS}", "a"),
    ("a key", f"x[r.id] := 1 if some r in {XS}", {"a": 1}),
    ("key and value", f"x[r.id] := r.n.k if some r in {XS}", {"a": "v"}),
    ("a key alone", f"x[r.id] if some r in {XS}", {"a": True}),
    ("a key in brackets", f'x[r["id"]] := [r.n][0] if some r in {XS}', {"a": {"k": "v"}}),
    ("another rule's value", f'y := {XS}[i].id if some i in [0]\n\nx contains y if true\n\nx contains "b"', None),
    ("an import", "x contains r.id if some r in xs\n\nz contains xs if true", ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in HEADS], ids=[case[0] for case in HEADS])  # fmt: skip
def test_an_element_for_which_the_head_is_undefined_is_skipped(
    tmp_path: Path, text: str, expected: object
) -> None:
    """Whether it is the first, the last or in the middle. The raw engine loses the others if it is
    the last.
    """
    module = ALLOW.replace("\n\n", f"\n\nimport {XS}\n\n", 1) + f"\n{text}\n"
    with Workbench() as bench:
        bench.load(compiled(write(tmp_path, {"p.rego": module})).texts, None)
        for order in permutations([WHOLE, *OTHERS]):
            value = bench.rule("data.guardrail.policy.x", call_input(xs=list(order)).decode())
            if expected is None:
                assert value == (["a", "b"] if order[0] == WHOLE else ["b"])
            else:
                assert value == expected, order


def test_the_raw_engine_loses_a_rule_to_its_last_element() -> None:
    """The reason for all this."""
    text = "package t\n\nx contains r.id if some r in input"
    assert raw(text, "data.t.x", [{"id": "a"}]) == ["a"]
    assert raw(text, "data.t.x", [{"id": "a"}, {}]) == []


def test_an_error_in_a_head_is_found_in_the_author_s_line(tmp_path: Path) -> None:
    """The line is that of the head, though it is the body that computes it."""
    args = "input.action.properties.args"
    text = (
        f"{ALLOW}\nx contains [ # 5\n\tlower({args}.one),\n] if {{ # 7\n\tupper({args}.two) !="
        f" 1\n}}\n\ny := 1 if {args}.three\nelse := lower({args}.four) # 12\n\nz contains"
        f" lower({args}.five) if true # 14\n\nv := [\n\tlower({args}.six), # 17\n\t1\n] if"
        f" upper({args}.seven) != 1 # 19\n"
    )
    policies = compiled(write(tmp_path, {"p.rego": text}))
    wrong = {"one": 6, "two": 8, "four": 12, "five": 14, "six": 17, "seven": 19}
    with Workbench() as bench:
        bench.load(policies.texts, None)
        for name, line in wrong.items():
            given = {"three": False, **dict.fromkeys(wrong, "t"), name: 5}
            with pytest.raises(EngineRefusal) as raised:
                bench.query("data.guardrail.policy", call_input(**given).decode())
            place = locate(raised.value.text, policies.modules)
            assert place is not None
            assert (Path(place.file).name, place.line) == ("p.rego", line), name


def test_what_is_recorded_of_a_policy_is_the_author_s_text(tmp_path: Path) -> None:
    """The digest does not depend on how the engine is told."""
    from guardrail.policy.sources import load_policies

    write(tmp_path, {"p.rego": f"{ALLOW}\nx contains r.id if some r in {XS}\n"})
    policies = compiled(tmp_path)
    assert policies.identity.digest == load_policies([tmp_path]).digest
    assert "__g" in json.dumps(policies.texts)
    assert not any("__g" in module.source.text for module in policies.parsed)


def test_a_name_of_guardrail_s_own_is_none_of_the_author_s(tmp_path: Path) -> None:
    """Also where the policy has such names itself."""
    text = f"{ALLOW}\n__g0 := 1\n\nx contains r.id if {{\n\tsome __g1, r in {XS}\n\t__g1 < 9\n}}\n"
    with Workbench() as bench:
        bench.load(compiled(write(tmp_path, {"p.rego": text})).texts, None)
        assert bench.rule("data.guardrail.policy.__g0", "{}") == 1
        given = call_input(xs=[WHOLE, {}]).decode()
        assert bench.rule("data.guardrail.policy.x", given) == ["a"]


def test_a_second_body_that_is_no_else_is_refused(tmp_path: Path) -> None:
    """OPA gives it the value of the first. The engine gives it true, or none."""
    bodies = "if { input.no } { input.yes }"
    assert raw(f'package t\n\nx := "v" {bodies}', "data.t.x", {"yes": 1}) is True
    text = f'{ALLOW}\nx := "v" {bodies}\n\nf(a) := 1 if {{ a == 2 }} {{ a == 3 }}\n'
    found = findings(write(tmp_path, {"p.rego": text}))
    assert codes(found) == ["chained-body"]
    assert [finding.line for finding in found] == [5, 7]


LATE = [
    ("the result of a call", "count({args}.s, n); n >= 0"),
    ("walk", '{args}.t; walk({args}.s, [_, v]); contains(v, "x")'),
]


@pytest.mark.parametrize("body", [case[1] for case in LATE], ids=[case[0] for case in LATE])
def test_a_call_that_fails_is_made_though_the_head_is_undefined(tmp_path: Path, body: str) -> None:
    """OPA makes it before it looks at the head. The engine would put it off, behind what does not
    need its result.
    """
    args = "input.action.properties.args"
    text = f"{ALLOW}\nx contains {args}.b.c if {{ {body.format(args=args)} }}\n"
    with Workbench() as bench:
        bench.load(compiled(write(tmp_path, {"p.rego": text})).texts, None)
        with pytest.raises(EngineRefusal):
            bench.rule("data.guardrail.policy.x", call_input(s=5, t=1).decode())
        given = call_input(s="x", t=1, b={"c": "d"}).decode()
        assert bench.rule("data.guardrail.policy.x", given) == ["d"]


def test_a_call_whose_result_nothing_needs_is_made_before_such_a_head(tmp_path: Path) -> None:
    """It fails, although the head is undefined, as in OPA."""
    args = "input.action.properties.args"
    text = f"{ALLOW}\nx contains {args}.b.c if count({args}.s, 3)\n"
    with Workbench() as bench:
        bench.load(compiled(write(tmp_path, {"p.rego": text})).texts, None)
        with pytest.raises(EngineRefusal):
            bench.rule("data.guardrail.policy.x", call_input(s=5).decode())
