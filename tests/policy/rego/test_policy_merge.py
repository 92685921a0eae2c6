"""All modules of a package as one: what it cures, and the way back to the author's lines."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.tokens import tokens
from tests.support.policies import ALLOW, call_input, codes, compiled, findings, raw, write

MAIN = """package m

import data.guardrail.policy

verdict := "allow" if { policy.ok } else := "deny"
"""
FIRST = "package guardrail.policy\n\nunrelated := 1\n"
SECOND = "package guardrail.policy\n\nok if not blocked\n\nblocked if input.bad\n"


def test_an_alias_loses_a_deny_in_the_raw_engine_and_not_after_merging() -> None:
    """The reason for merging: with two modules and an alias, the answer depends on the order of
    modules.
    """
    answers = {
        raw(list(order), "data.m.verdict", {"bad": True})
        for order in permutations([MAIN, FIRST, SECOND])
    }
    assert answers == {"allow", "deny"}
    merged = FIRST + SECOND.removeprefix("package guardrail.policy\n")
    assert {
        raw(list(order), "data.m.verdict", {"bad": True}) for order in permutations([MAIN, merged])
    } == {"deny"}


def test_each_package_becomes_one_module(tmp_path: Path) -> None:
    """Whatever the number of files."""
    write(
        tmp_path,
        {
            "a.rego": ALLOW,
            "b.rego": 'package guardrail.policy\n\ndeny contains "d" if false\n',
            "c/d.rego": "package guardrail.policy.more\n\nx := 1\n",
        },
    )
    packages = [module.package for module in compiled(tmp_path).modules]
    assert len(packages) == len(set(packages))
    assert ("guardrail", "policy") in packages
    assert ("guardrail", "policy", "more") in packages


def test_lines_of_the_merged_module_lead_back(tmp_path: Path) -> None:
    """Every author's line is found again, in its file."""
    files = {
        "a.rego": (
            "# é\npackage guardrail.policy\n\nimport input.action\n\nallow contains action.name #"
            " A4\n"
        ),
        "b.rego": (
            'package guardrail.policy\n\nimport rego.v1\nimport input.action\n\n\ndeny contains "d"'
            " if false # B6\n"
        ),
    }
    write(tmp_path, files)
    module = next(m for m in compiled(tmp_path).modules if m.package == ("guardrail", "policy"))
    for number, line in enumerate(module.text.splitlines(), start=1):
        for name, text in files.items():
            for original, written in enumerate(text.splitlines(), start=1):
                if line == written and line.startswith(("allow", "deny")):
                    place = module.place(number)
                    assert (Path(place.file).name, place.line) == (name, original)
    assert module.place(1).line == 0
    assert module.text.count("import input.action") == 0


def test_an_import_means_what_its_own_file_says(tmp_path: Path) -> None:
    """Each file has its own imports, as in OPA: another file may use the name for something else."""
    head = "package guardrail.policy\n\nimport"
    args = "input.action.properties.args"
    folder = write(
        tmp_path,
        {
            "a.rego": f'{head} {args}["a.b"] as x\n\nallow contains x if true\n',
            "b.rego": f"{head} {args}.a.b as x\n\nallow contains x if true\n",
            "c.rego": (
                'package guardrail.policy\n\nallow contains "c" if {\n\tsome x in [1]\n\tx =='
                " 1\n}\n"
            ),
        },
    )
    assert findings(folder) == []
    with Workbench() as bench:
        bench.load(compiled(folder).texts, None)
        given = call_input(**{"a.b": "one", "a": {"b": "two"}}).decode()
        assert bench.rule("data.guardrail.policy.allow", given) == ["c", "one", "two"]


def test_an_import_with_the_name_of_a_rule_is_refused(tmp_path: Path) -> None:
    """Which one is meant would depend on the engine."""
    write(
        tmp_path,
        {
            "a.rego": (
                "package guardrail.policy\n\nimport input.action as x\n\nallow contains x.name\n\nx"
                " := 1\n"
            )
        },
    )
    assert codes(findings(tmp_path)) == ["import-clash"]


def test_windows_line_ends_keep_their_lines(tmp_path: Path) -> None:
    """CRLF files merge like any other."""
    text = ALLOW.replace("\n", "\r\n") + 'deny contains "x" if false\r\n'
    (tmp_path / "a.rego").write_bytes(text.encode())
    module = next(m for m in compiled(tmp_path).modules if m.package == ("guardrail", "policy"))
    number = next(
        i
        for i, line in enumerate(module.text.splitlines(), 1)
        if line.startswith('deny contains ["x"]')
    )
    assert module.place(number).line == 4


ODD = ["account  id", "montant\u00a0HT", "a.b", 'quote " here', "tab\\there", "# none", "\u2028"]


@pytest.mark.parametrize("key", ODD)
def test_an_import_is_hoisted_with_its_texts_as_they_are(tmp_path: Path, key: str) -> None:
    """Blanks and signs in a key are part of the key."""
    args = "input.action.properties.args"
    written = json.dumps(key, ensure_ascii=False)
    text = (
        f"package guardrail.policy\n\nimport {args}[{written}] as x\nimport  {args}.y\n\nallow"
        ' contains x if y == "z"\n'
    )
    with Workbench() as bench:
        bench.load(compiled(write(tmp_path, {"p.rego": text})).texts, None)
        given = call_input(**{key: "found", "y": "z"}).decode()
        assert bench.rule("data.guardrail.policy.allow", given) == ["found"]


@pytest.mark.parametrize("text", ["a\r\nb", "\r", "a\rb", "a\r\n\r\nb # no comment", "a\n\nb"])
def test_line_ends_in_a_raw_text_stay_as_they_are(tmp_path: Path, text: str) -> None:
    """Those of the file around it may be changed, those of a text are part of the text."""
    policy = (
        f"{ALLOW}\n# `\n\nx := `{text}`\n\ny contains `{text}` if true\n\nz contains [`{text}`,"
        f" lower(`{text}`)] if true\n"
    )
    (tmp_path / "p.rego").write_bytes(policy.replace("\n\n", "\r\n\n", 2).encode())
    with Workbench() as bench:
        bench.load(compiled(tmp_path).texts, None)
        assert bench.rule("data.guardrail.policy.x", "{}") == text
        assert bench.rule("data.guardrail.policy.y", "{}") == [text]
        assert bench.rule("data.guardrail.policy.z", "{}") == [[text, text.lower()]]


def test_a_package_s_name_may_hold_any_sign(tmp_path: Path) -> None:
    """It is written as the author wrote it."""
    text = 'package guardrail.policy["a\\"b"]\n\nx := 1\n'
    write(tmp_path, {"a.rego": ALLOW, "b.rego": text})
    with Workbench() as bench:
        bench.load(compiled(tmp_path).texts, None)
        assert bench.query('x := data.guardrail.policy["a\\"b"].x')["result"]


def test_a_rule_goes_through_every_element_also_if_its_member_is_written_out(
    tmp_path: Path,
) -> None:
    """The raw engine leaves the rule with the first success, where OPA fails for a later element
    and nothing is allowed.
    """
    body = 'if { some v in input.action.properties.args.xs; lower(v) == "a" }'
    assert raw(
        f'package t\nx contains "r" {body}',
        "data.t.x",
        {"action": {"properties": {"args": {"xs": ["a", 5]}}}},
    ) == ["r"]
    heads = ['"r"', "`r`", "5", "-5", "true", "null"]
    rules = "\n".join(f"x contains {head} {body}" for head in heads)
    write(tmp_path, {"p.rego": f"{ALLOW}\n{rules}\n"})
    with Workbench() as bench:
        bench.load(compiled(tmp_path).texts, None)
        assert bench.rule("data.guardrail.policy.x", call_input(xs=["a", "b"]).decode()) == [
            None,
            True,
            -5,
            5,
            "r",
        ]
        with pytest.raises(EngineRefusal):
            bench.rule("data.guardrail.policy.x", call_input(xs=["a", 5]).decode())


HIDING = [
    ("some label in xs", "some label in {xs}; label == {x}"),
    ("some key and value", "some deny, allow in {xs}; allow == {x}; deny == 0"),
    ("some alone", "some label; {xs}[label] == {x}"),
    ("a pattern", "some [label, n] in [[{x}, 1]]; label == {x}; n == 1"),
    ("inside a comprehension", "count([label | some label in {xs}]) == 2; not {x} in label"),
    ("inside every", "every a in {xs} {{ some label in {xs}; label == a }}"),
    ("taken names", "some label in {xs}; label_ := label; label_ == {x}"),
    ("beside fields and texts", 'some label in [{{"label": {x}}}]; label.label == {x}; "label" == "label"'),
    ("read again below", "some label in {xs}; [1 | label == {x}] == [1]"),
]  # fmt: skip


@pytest.mark.parametrize("body", [case[1] for case in HIDING], ids=[case[0] for case in HIDING])
def test_a_declared_variable_hides_the_rule_of_its_name(tmp_path: Path, body: str) -> None:
    """As in OPA. The raw engine fails, or reads the rule, and the deny rule does not fire."""
    written = body.format(xs="input.action.properties.args.xs", x='"x"')
    text = f'{ALLOW}\ndeny contains "hidden" if {{ {written} }}\n'
    folder = write(tmp_path, {"p.rego": text})
    with Workbench() as bench:
        bench.load(compiled(folder).texts, None)
        document = bench.rule("data.guardrail.policy.deny", call_input(xs=["x", "y"]).decode())
    assert document == ["hidden"]


def test_a_variable_in_the_head_hides_the_rule_of_its_name_too(tmp_path: Path) -> None:
    """Where the name stands outside the scope of the variable, it is the rule."""
    text = (
        ALLOW + 'members contains deny if some deny in ["x"]\n\n'
        'by_name[hide] := deny if some hide, deny in {"k": 1}\n\n'
        "both := [count(deny), [deny | some deny in [1]]]\n"
    )
    with Workbench() as bench:
        bench.load(compiled(write(tmp_path, {"p.rego": text})).texts, None)
        assert bench.rule("data.guardrail.policy.members", "{}") == ["x"]
        assert bench.rule("data.guardrail.policy.by_name", "{}") == {"k": 1}
        assert bench.rule("data.guardrail.policy.both", "{}") == [0, [1]]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b'"a\\"b\nc', [b'"a\\"b', b"c"]),
        (b'"a\\\nb', [b'"a\\', b"b"]),
        (b'"\\' * 3, [b'"\\"\\"\\']),
        (b"`a\nb", [b"`a\nb"]),
        (b'"a" "b"', [b'"a"', b'"b"']),
    ],
)
def test_a_string_that_does_not_end_is_one_token(text: bytes, written: list[bytes]) -> None:
    """Otherwise every quote in a hostile file would be followed to the end of its line."""
    assert [token.written for token in tokens(text)] == written
