"""``guardrail.lib``: complete tests, the same answers on both engines, and the examples of the
documentation.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail.authoring.check import check
from guardrail.authoring.test import run_tests
from guardrail.policy.cross_check.generated import generated_inputs
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.sources import installed_folder, load_policies
from tests.support.policies import ALLOW, write
from tests.support.rego.comparison import Reference
from tests.support.rego.libraries import (
    BothEngines,
    coverage,
    documented,
    surviving_conditions,
)
from tests.support.rego.unusual_values import value

PAGE = installed_folder().parent / "docs" / "policy-library.md"
OTHERS = {
    "mail": ("domains",),
    "flow": ("session", "identity"),
    "urls": ("domains",),
    "duty": ("session", "identity"),
    "approval": ("identity",),
    "time": ("time_errors_test",),
}
"""The modules that a module uses."""
OTHER_MODULES = ("session", "identity", "tenant", "time")
"""Modules that other tests compare on both engines."""
MORE = {
    "args": {"value"},
    "time": {"clock", "date", "weekday", "within_hours", "working_hours", "offset"},
}
"""Functions without a default: those of ``time`` fail the decision."""
CALLS = {
    "args": [
        "has(input.x)",
        "value(input.x, input.z)",
        "text(input.x)",
        "list(input.x)",
        "number_within(input.x, 0, input.z)",
    ],
    "domains": ["normal(input.x)", "matches(input.x, input.y)", "maybe_matches(input.x, input.y)"],
    "mail": [
        "address(input.x)",
        "domain(input.x)",
        "addresses(input.x)",
        "recipients",
        "recipients_in(input.y)",
        "is_internal(input.x, input.y)",
        "all_internal(input.y)",
        "maybe_external(input.y)",
        "outside(input.y)",
        "known(input.x, input.y)",
        "maybe_unknown(input.y)",
    ],
    "amounts": [
        "number(input.x)",
        "whole(input.x)",
        "minor_units(input.x, input.z)",
        "total(input.y)",
        "at_most(input.x, input.z)",
        "over_limit(input.x, input.z)",
        "argument(input.x)",
        "currency(input.x)",
        "at_most_in(input.z, input.x, input.y)",
        "over_limit_in(input.z, input.x, input.y)",
    ],
    "flow": [
        "maybe_carries(input.scope, input.y)",
        "free_of(input.scope, input.y)",
        "carries_only(input.scope, input.y)",
        "maybe_leaks(input.scope, input.y)",
    ],
    "paths": [
        "inside(input.x, input.z)",
        "normal(input.x)",
        "under(input.x, input.z)",
        "is_relative(input.x)",
    ],
    "urls": [
        *(f"{name}(input.x)" for name in ("host", "origin", "scheme", "path", "secure")),
        *("is_public(input.x)", "maybe_private(input.x)"),
        "host_in(input.x, input.y)",
        "maybe_host_in(input.x, input.y)",
        "under(input.x, input.z)",
    ],
    "sql": [
        *(f"{name}(input.x)" for name in ("kinds", "kind", "single", "read_only", "maybe_writes")),
        "only(input.x, input.y)",
    ],
    "duty": ["maybe_conflict(input.scope, input.y, input.z)"],
    "approval": ["by_others(input.z)", "maybe_own", "is_other(input.x)"],
}
"""The calls of each module that are compared. Every documented function has one."""
VALUES: dict[str, list[Any]] = {
    "args": ["to", "Cc", "/amount", ["a"], "ann", 0, 1, 5],
    "domains": [
        ["a.com"],
        ["*.a.com", "b.org"],
        ["", "*."],
        *("a.com", "A.com.", "x.a.com", "b.org", "x..a.com", "ä.com", "10.0.0.1", "a_b.com"),
    ],
    "mail": [
        ["a.com", "*.b.org"],
        ["ann@a.com", "x@x.b.org"],
        ["to", "cc"],
        *("Ann <ann@A.com>", "ann@a.com", '"A, B" <x@x.b.org>, ann@a.com', "a@b@a.com", "a.com"),
    ],
    "amounts": [
        {"EUR": 100, "USD": 12.5},
        [1, 2, 3],
        *("12.50", "0.05", "eur", "USD", "/amount", "0012", "12.345", "1e3", 0, 1, 2, 12.5, 100),
    ],
    "paths": ["/", "/srv", "/srv/a", "/srv//./a", "/srv/../a", "srv/a", "/srv/a%2fb", "/srv/a\\b"],
    "urls": [
        ["a.com", "*.a.com", "10.0.0.1"],
        ["b.org"],
        *("https://a.com/x", "https://A.com:443/x/y", "http://x.a.com", "http://b.org", "a.com/x"),
        *("http://10.0.0.1/", "http://[::1]:80/", "http://[2606:4700::1]", "http://u@a.com"),
        *("wss://b.org:99999/", "https://a.com/x/../y", "https://a.com/%2e", "http://127.1"),
    ],
    "sql": [
        ["select"],
        ["insert", "update", "delete", "ddl"],
        *(
            "select 1",
            "select a, 'b' from t -- c\n",
            "insert into t (a) values (1)",
            "drop table t",
        ),
        *("update t set a = 1", "delete from t", "select 1; delete from t", "select evil(1)"),
        *("with x as (select lower(a) from t) select * from x", "select 'a", "/* a */ select 1"),
    ],
    "duty": [["send", "x"], ["x"], ["other", "send"], 3600, 86_400, 86_400],
    "approval": ["ann", "Ann ", "bob", "bot", 1, 2, 1],
    "flow": [["untrusted"], ["secret", "x"], {"send": ["untrusted"], "x": []}, {"send": "x"}, {}],
}
"""Values with which the functions of a module have more than one answer."""
INPUTS = 1_500
OTHER = ('"other"', '{"other"}')
"""The kind of a statement that is not known."""
IMPLIED = {
    "args": {"is_object(input.action.properties.args)"},
    "time": {"is_string(text)", "start < end", "end != start"},
    "amounts": {"is_number(value)", "is_string(code)", "is_string(text)", "is_object(limits)"},
    "domains": {"is_string(text)", "is_string(domain)", "regex.match(`^[A-Za-z0-9.-]+$`, text)"},
    "flow": {"is_object(sinks)"},
    "paths": {"is_string(path)", "is_string(folder)"},
    "urls": {
        "is_string(url)",
        "is_ipv6(text)",
        'contains(text, ":")',
        'startswith(authority, "[")',
        'not startswith(authority, "[")',
    },
    "sql": {"is_string(text)"},
    "duty": set(),
    "approval": {"is_number(number)", "is_string(id)"},
    "mail": {
        "is_string(text)",
        "is_string(name)",
        "regex.match(`^[A-Za-z_-]+$`, name)",
        "is_object(input.action.properties.args)",
    },
}
"""Conditions that are false only where a later condition is false as well, or raises an error."""


@pytest.fixture
def bench() -> Iterator[Workbench]:
    with Workbench() as opened:
        yield opened


def public(name: str) -> set[str]:
    """Return the functions and rules of the module *name* that policies may use."""
    return {*documented(name), *MORE.get(name, ())} - {"state"}


def asking(expressions: list[str]) -> str:
    """Return a policy with the values of *expressions* in the list ``answers``."""
    body = "".join(f"\t{each},\n" for each in expressions)
    return f"package guardrail.policy\n\nanswers := [\n{body}]\n"


def questions(engines: BothEngines, name: str) -> Iterator[dict[str, Any]]:
    """Yield inputs with the arguments of the calls of the module *name*."""
    r = random.Random(name)

    def argument() -> Any:
        chosen = r.choice([value(r), *(r.choice(VALUES[name]) for _ in range(5))])
        if isinstance(chosen, str) and r.random() < 0.2:
            place = r.randrange(len(chosen) + 1)
            chosen = chosen[:place] + r.choice("@.,;<> \"'a0é%\n/\\:[") + chosen[place:]
        return chosen

    for text in generated_inputs(engines.parsed, INPUTS, name):
        asked: dict[str, Any] = json.loads(text)
        asked |= {"x": argument(), "y": argument(), "z": argument()}
        asked["scope"] = r.choice(["session", "principal", "agent", "team"])
        args = asked["action"]["properties"]["args"]
        args |= {each: argument() for each in r.sample(["to", "Cc", "/amount"], 2)}
        if r.random() < 0.05:
            asked["action"]["properties"]["args"] = value(r)
        for section in ("session", "principal_state", "agent_state"):
            kept = r.choice([["untrusted"], ["secret"], [], ["*"], value(r)])
            asked["context"][section]["labels"] = kept
        asked["resource"]["id"] = r.choice(["send", "x", "other"])
        people = [{"id": argument()} for _ in range(r.randrange(3))]
        approval = {"valid": r.random() < 0.9, "approvers": people}
        asked["context"]["approval"] = r.choice([approval, approval, approval, value(r)])
        yield asked


@pytest.mark.parametrize("name", CALLS)
def test_both_engines_have_the_same_answers_which_are_never_undefined(
    tmp_path: Path, bench: Workbench, reference: Reference, name: str
) -> None:
    """Nor errors, for whatever input."""
    called = {re.split(r"\W", each)[0] for each in CALLS[name]}
    assert called == public(name)
    text = asking([f"data.guardrail.lib.{name}.{each}" for each in CALLS[name]])
    engines = BothEngines(tmp_path, text, bench, reference)
    seen: list[set[str]] = [set() for _ in CALLS[name]]
    for asked in questions(engines, name):
        for known, answer in zip(seen, engines.value(asked), strict=True):
            known.add(json.dumps(answer))
    # Every question had more than one answer.
    assert [len(known) > 1 for known in seen] == [True] * len(seen)


@pytest.mark.parametrize("name", CALLS)
def test_the_tests_of_the_library_cover_every_line(opa_program: Path, name: str) -> None:
    assert coverage(opa_program, name) == (100, None)


def test_the_tests_of_local_time_cover_every_line_that_does_not_fail(opa_program: Path) -> None:
    """OPA does not count a line that fails the decision as covered."""
    lines = (installed_folder() / "lib" / "time.rego").read_text("utf-8").splitlines()
    _, missed = coverage(opa_program, "time")
    rows = {row for each in missed for row in range(each["start"]["row"], each["end"]["row"] + 1)}
    failing = {n for n, line in enumerate(lines, 1) if "else := to_number(" in line}
    assert rows == failing


@pytest.mark.parametrize("name", [*CALLS, *OTHER_MODULES])
def test_the_tests_of_the_library_pass_on_the_embedded_engine(tmp_path: Path, name: str) -> None:
    """``opa test`` runs them as well. Their tables have hundreds of hostile arguments."""
    text = (installed_folder() / "lib" / f"{name}_test.rego").read_text("utf-8")
    package = f"package guardrail.lib.{name}_test\n"
    assert package in text
    tests = text.replace(package, "package guardrail.policy_test\n")
    report = run_tests([write(tmp_path, {"p.rego": ALLOW, "p_test.rego": tests})])
    assert report.ok
    assert len(report.results) == text.count("\ntest_")


@pytest.mark.parametrize("name", [*CALLS, "time"])
def test_a_test_of_the_library_fails_without_any_one_of_its_conditions(
    tmp_path: Path, opa_program: Path, name: str
) -> None:
    found = surviving_conditions(opa_program, name, tmp_path, OTHERS.get(name, ()))
    assert found <= IMPLIED[name]


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_that_is_not_known_denies(name: str) -> None:
    """Each function says in its name which of its answers is safe."""
    for function, fallback in documented(name).items():
        denying = function.startswith(("maybe_", "over_"))
        safe = {"true"} if denying else {"false", "9000000000000000", '""', '{""}', "[]", *OTHER}
        assert fallback in safe, function


def rows() -> dict[str, str]:
    """Return the functions in the tables of the page, and the example of each."""
    text = PAGE.read_text("utf-8")
    found = re.findall(r"^\| `lib\.(\w+\.\w+)[^|]*\|[^|]*\| `([^|]*)` \|$", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\| `", text, re.MULTILINE))
    assert len(dict(found)) == len(found)
    return dict(found)


def test_the_page_has_every_function() -> None:
    names = [*CALLS, *OTHER_MODULES]
    own = {file.stem for file in (installed_folder() / "lib").glob("*.rego")}
    assert set(names) == {name for name in own if not name.endswith("_test")}
    every = {f"{name}.{each}" for name in names for each in public(name)}
    assert rows().keys() == every


def test_the_examples_of_the_page_are_true(
    tmp_path: Path, bench: Workbench, reference: Reference
) -> None:
    examples = rows()
    text = asking(
        [re.sub(r"\blib\.", "data.guardrail.lib.", example) for example in examples.values()]
    )
    shown = re.search(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    answers = BothEngines(tmp_path, text, bench, reference).value(json.loads(shown[1]))
    assert dict(zip(examples, answers, strict=True)) == dict.fromkeys(examples, True)
    assert [name for name, example in examples.items() if f"lib.{name}" not in example] == []


def test_the_policy_of_the_page_is_accepted(tmp_path: Path) -> None:
    shown = re.search(r"```rego\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    folder = write(tmp_path, {"p.rego": shown[1]})
    assert check([folder]).findings == ()
    assert load_policies([folder]).state_reads == {"recent", "session", "principal_state"}
    bodies = re.findall(r"\{\n(.*?)\n\}", shown[1], re.DOTALL)
    assert [body.count("\n") + 1 <= 3 for body in bodies] == [True] * 3
