"""Names that are declared again: each declaration is a variable of its own, as in OPA."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.policy.embedded.workbench import Workbench
from tests.support.policies import ALLOW, call_input, codes, compiled, findings, raw, write

ARGS = "input.action.properties.args"
XS = f"{ARGS}.xs"
"""``["a", "b"]`` in these tests."""

AGAIN = [
    ("some in a comprehension", f"x := y if {{ i := 0; y := [k | some i; {XS}[i]; k := i] }}", [0, 1]),
    ("some in a set", f"x := y if {{ i := 0; y := {{k | some i; {XS}[i]; k := i}} }}", [0, 1]),
    ("some in an object", f"x := y if {{ i := 0; y := {{i: k | some i; k := {XS}[i]}} }}", {"0": "a", "1": "b"}),
    ("some ... in", f"x := y if {{ i := 0; y := [i | some i in {XS}] }}", ["a", "b"]),
    ("some with a key", f"x := y if {{ i := 0; y := [[i, j] | some i, j in {XS}] }}", [[0, "a"], [1, "b"]]),
    ("a pattern", "x := y if { i := 0; y := [i | some [i, 1] in [[5, 1], [6, 2]]] }", [5]),
    (":=", "x := y if { i := 0; y := [i | i := 5] }", [5]),
    (":= from itself", "x := y if { i := 1; y := [i | i := i + 1] }", [2]),
    (":= after use", "x := y if { i := 0; y := [z | z := i; i := 5] }", [0]),
    ("some after use", f"x := y if {{ i := 0; y := [z | i == 0; some i; z := {XS}[i]] }}", ["a", "b"]),
    ("some ... in before :=", "x := y if { i := 0; y := [z | some z in [i]; i := 5; i > 1] }", [0]),
    ("every", f"x if {{ i := 0; every e in {XS} {{ some i; {XS}[i] == e }}; i == 0 }}", True),
    ("every with the name", "x := i if { i := 0; every i in [3, 4] { i > 2 } }", 0),
    ("every with a key", f"x := i if {{ i := 7; every i, e in {XS} {{ {XS}[i] == e }} }}", 7),
    ("below every", "x if { i := 0; every k in [i] { i := 3; k != i } }", True),
    ("in the second of two", f"x := y if {{ i := 0; y := [[i | i == 0], [k | some i; k := {XS}[i]]] }}", [[0], ["a", "b"]]),
    ("an argument", f'f(i) := [k | some i; k := {XS}[i]]\n\nx := f(0)', ["a", "b"]),
    ("an argument in a head", f"f(i) := [i, [i | some i in {XS}]]\n\nx := f(0)", [0, ["a", "b"]]),
    ("an argument of an else", f"f(i) := 1 if i > 0 else := [k | some i; k := {XS}[i]]\n\nx := f(0)", ["a", "b"]),
    ("an argument in a pattern", f"f([i, _]) := [k | some i; k := {XS}[i]]\n\nx := f([0, 1])", ["a", "b"]),
    ("an argument called like a rule", "f(r) := [r | r := [r]]\n\nr := 5\n\nx := [f(1), r]", [[[1]], 5]),
    ("a rule", f"r := 5\n\nx := [r, [k | some r; k := {XS}[r]]]", [5, ["a", "b"]]),
    ("a rule in every", f"r := 5\n\nx := r if {{ every e in {XS} {{ some r; {XS}[r] == e }} }}", 5),
    ("an import", f"x contains k if {{ some i; k := {XS}[i] }}", ["a", "b"]),
    ("an import in a comprehension", f"x := [i, [k | some i; k := {XS}[i]]]", ["i", ["a", "b"]]),
    ("an import by some ... in", f"x := [i | some i in {XS}]", ["a", "b"]),
    ("an import by every", f"x := i if {{ every i in {XS} {{ i != 1 }} }}", "i"),
    ("an import by :=", "x := y if { i := 7; y := [i] }", [7]),
    ("an import by an argument", "f(i) := [j | some j in [i]]\n\nx := [f(1), i]", [[1], "i"]),
    ("names that are not free", 'a := "z"\n\na_ := "y"\n\nx if { some a, a_ in {"k": "v"}; a != a_; a == "k" }', True),
    ("the name as a text and as a field", f'x := y if {{ i := 0; y := [k.i | some i in {XS}; k := {{"i": "i"}}] }}', ["i", "i"]),
    ("a variable that only the body binds", f"x contains k if {{ {XS}[i] == \"a\"; some k in [i | some i in {XS}] }}", ["a", "b"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), AGAIN, ids=[case[0] for case in AGAIN])
def test_a_declaration_begins_a_variable_of_its_own(
    tmp_path: Path, name: str, text: str, expected: object
) -> None:
    """From its line to the end of its body."""
    package, _, allow = ALLOW.partition("\n\n")
    imports = f"import {ARGS}.i\n\n" if "import" in name else ""
    folder = write(tmp_path, {"p.rego": f"{package}\n\n{imports}{allow}\n{text}\n"})
    with Workbench() as bench:
        bench.load(compiled(folder).texts, None)
        given = call_input(xs=["a", "b"], i="i").decode()
        assert bench.rule("data.guardrail.policy.x", given) == expected


def test_what_is_looked_for_in_a_policy_is_not_looked_for_in_another_variable(
    tmp_path: Path,
) -> None:
    """The outer ``n`` is a whole number. The inner one may be none, and is divided as in OPA."""
    text = f"{ALLOW}\nx := y if {{ n := 1; y := [m | some n in {XS}; m := 1 / n] }}\n"
    found = findings(write(tmp_path, {"p.rego": text}))
    assert codes(found) == ["decimal-arithmetic"]
    assert found[0].line == 5


def test_the_raw_engine_reads_the_outer_variable() -> None:
    """The reason for the other names."""
    text = "package t\n\nx := y if { i := 0; y := [k | some i; input.xs[i]; k := i] }"
    assert raw(text, "data.t.x", {"xs": ["a", "b"]}) == [0]
    text = 'package t\n\nimport input.i\n\nx if { some i; input.xs[i] == "b" }'
    assert raw(text, "data.t.x", {"xs": ["a", "b"], "i": 0}) is not True
