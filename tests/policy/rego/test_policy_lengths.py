"""``count`` of a text counts characters in both engines, whatever characters they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.policy.embedded.workbench import Workbench
from tests.support.policies import ALLOW, compiled, write
from tests.support.rego.comparison import Comparison, Reference

ARGUMENT = "input.action.properties.args.x"
VALUES = ["", "ab", "a\U0001f600b", "\U0001f600", "\U00010400e\u0301", "\U0001f1e9\U0001f1ea", "\u65e5", ["\U0001f600"], {"a": 1}, 5, None]  # fmt: skip
USES = {
    "its value": f"r := count({ARGUMENT})",
    "a limit": f"r if count({ARGUMENT}) > 2",
    "its result as an argument": f"r if count({ARGUMENT}, 3)",
    "a name for it": f"r := n if {{\n\tx := {ARGUMENT}\n\tcount(x, n)\n}}",
    "a constant": 'r := count("a\U0001f600b")',
    "a literal and a set": f'r := count([1, 2]) + count({{"a"}}) + count({ARGUMENT})',
    "in a comprehension": f'r := [count(x) | some x in ["a\U0001f600", {ARGUMENT}]]',
    "two in a line": f"r if count({ARGUMENT}) == count({ARGUMENT})",
    "one in another": f'r := count(sprintf("%v", [count({ARGUMENT})]))',
    "in a head": 'r contains count(x) if some x in ["a\U0001f600", "b"]',
    "in a function": f"size(x) := count(x)\n\nr := size({ARGUMENT})",
}


@pytest.fixture(scope="module")
def comparison(reference: Reference) -> Iterator[Comparison]:
    with Workbench(time_limit=5.0) as bench:
        yield Comparison(reference, bench)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_both_engines_count_the_same_characters(comparison: Comparison, use: str) -> None:
    """Also those that UTF-16 writes in two units, and marks that are characters of their own."""
    module = f'package guardrail.policy\n\n{use}\n\nallow contains "any" if r\n'
    calls = [_call(value) for value in VALUES]
    outcome = comparison.run([module], {}, calls, ["r"])
    assert outcome.state == "compared"
    assert not outcome.refused
    assert not outcome.differences


def test_a_rule_that_is_named_count_is_called(comparison: Comparison) -> None:
    """It is not the built-in function, and nothing is replaced."""
    module = "package guardrail.policy.own\n\ncount(x) := 7 if x\n\nr := count(3)\n"
    sources = [f'package guardrail.policy\n\nallow contains "any" if {ARGUMENT}\n', module]
    assert not comparison.run(sources, {}, [_call("a")], []).differences


def test_lines_and_digest_are_those_of_the_author(tmp_path: Path) -> None:
    """The replacement is in the served text alone."""
    text = f'package guardrail.policy\n\ndeny contains "long" if count({ARGUMENT}) > 5 # here\n'
    write(tmp_path, {"a.rego": ALLOW, "b.rego": text})
    done = compiled(tmp_path)
    served = next(one for one in done.modules if one.package == ("guardrail", "policy"))
    line = next(
        number for number, each in enumerate(served.text.split("\n"), 1) if "# here" in each
    )
    assert served.place(line).file.endswith("b.rego")
    assert served.place(line).line == 3
    assert any(each.source.text == text for each in done.parsed)


def _call(value: object) -> str:
    args = {"x": value}
    return json.dumps(
        {
            "subject": {"type": "user", "id": "someone", "properties": {}},
            "action": {"name": "tools/call", "properties": {"args": args, "arg_classes": {}}},
            "resource": {"type": "tool", "id": "t", "properties": {"declared": True}},
            "context": {},
        }
    )
