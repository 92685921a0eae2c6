"""Lints that know the tools' schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.authoring.tools_file import load_tools
from guardrail.errors import ConfigError
from tests.support.lints import FIRST, look, said

TRANSFER: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "to"],
    "properties": {
        "amount": {"type": "number"},
        "to": {"$ref": "#/$defs/payee"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "currency": {"type": "string", "default": "EUR"},
        "lines": {"type": "array", "items": {"type": "object", "required": ["price"], "properties": {"price": {"type": "integer"}, "tax": {"type": "number"}}}},
    },
    "$defs": {"payee": {"type": "object", "required": ["iban"], "properties": {"iban": {"type": "string"}, "bic": {"type": "string"}}}},
}  # fmt: skip
MAIL: dict[str, Any] = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "size": {"type": "integer"}},
}
TOOLS = {"transfer": TRANSFER, "mail": MAIL}
ARGS = "input.action.properties.args"
ON_TRANSFER = 'input.resource.id == "transfer"'


@pytest.mark.parametrize(
    ("condition", "codes"),
    [
        (f"{ARGS}.amount > 5", set()),
        (f"{ON_TRANSFER}; {ARGS}.amount > 5", set()),
        (f'{ON_TRANSFER}; {ARGS}.to.iban == "x"', set()),
        (f'{ON_TRANSFER}; {ARGS}.to.bic == "x"', {"optional-argument"}),
        (f'{ARGS}.to.iban == "x"', {"optional-argument"}),
        (f'{ARGS}.currency == "x"', set()),
        (f'{ARGS}.note == "x"', {"optional-argument"}),
        (f'is_string({ARGS}.note); {ARGS}.note > "x"', set()),
        (f"{ARGS}.size == 5", {"optional-argument"}),
        (f"object.get({ARGS}, \"size\", 0) > 5", set()),
        (f"{ON_TRANSFER}; {ARGS}.size == 5", {"undeclared-argument"}),
        (f"{ARGS}.ammount > 5", {"undeclared-argument", "untyped-comparison"}),
        (f'input.resource.id == "other"; {ARGS}.amount > 5', {"optional-argument", "undeclared-tool", "untyped-comparison"}),
        (f'input.resource.id in ["transfer", "mail"]; {ARGS}.amount > 5', {"optional-argument", "untyped-comparison"}),
        (f'input.resource.id in {{"transfer"}}; {ARGS}.amount > 5', set()),
        (f"money; {ARGS}.amount > 5", set()),
        (f"listed; {ARGS}.amount > 5", set()),
        (f"{ON_TRANSFER}; small", set()),
        (f"{ON_TRANSFER}; data.guardrail.lib.args.has(\"lines\"); some l in {ARGS}.lines; l.price > 5", set()),
        (f"{ON_TRANSFER}; data.guardrail.lib.args.has(\"lines\"); some l in {ARGS}.lines; l.tax > 5", {"optional-argument"}),
    ],
)  # fmt: skip
def test_what_a_schema_promises_needs_no_guard(
    tmp_path: Path, condition: str, codes: set[str]
) -> None:
    """Of the tools that the rule can be about: required, or with a default, and of a type."""
    (tmp_path / "data.json").write_text(json.dumps({"paying": ["transfer"]}))
    body = (
        f'deny contains "d" if {{ {condition} }}\n\nmoney if {ON_TRANSFER}\n\n'
        f"listed if input.resource.id in data.paying\n\nsmall if {ARGS}.amount < 5\n"
    )
    assert {code for _, code in said(tmp_path, body, TOOLS)} == codes


def test_a_misspelt_argument_comes_with_the_name_that_may_be_meant(tmp_path: Path) -> None:
    """From all tools in question."""
    report = look(tmp_path, f'deny contains "d" if {ARGS}.ammount == 5\n', TOOLS)
    assert "did you mean 'amount'?" in {lint.hint for lint in report.lints}


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ('input.resource.id == "transfr"', '"transfr", so'),
        ('"transfr" == input.resource.id', '"transfr", so'),
        ('input.resource.id in {"mail", "pay", "wire"}', '"pay", "wire", so'),
        ('not input.resource.id in ["pay"]', '"pay", so'),
        ("input.resource.id in data.paying", '"a", "b", "c", "d" and 1 more, so'),
    ],
)
def test_a_tool_that_the_file_lacks_is_named_where_the_policy_names_it(
    tmp_path: Path, condition: str, words: str
) -> None:
    """Once, in the rule that has the condition; a similar name of the file is suggested."""
    (tmp_path / "data.json").write_text(json.dumps({"paying": [*"abcde", "mail"]}))
    body = f'deny contains "d" if {{\n\tpaying\n\tinput.subject.id == "x"\n}}\n\npaying if {condition}\n'
    report = look(tmp_path, body, TOOLS)
    found = [lint for lint in report.lints if lint.code == "undeclared-tool"]
    found = [lint for lint in found if '"any"' not in lint.message]  # the rule before the body
    assert [lint.line - FIRST + 1 for lint in found] == [6]
    assert f"the tools file has no schema for {words}" in found[0].message
    similar = "did you mean 'transfer'?"
    assert (found[0].hint == similar) is ("transfr" in condition)
    assert {code for _, code in said(tmp_path, body)} == set()


def test_a_schema_file_is_read(tmp_path: Path) -> None:
    """As it is."""
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    assert load_tools(tmp_path / "tools.json") == TOOLS


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 5}', "[" * 100_000, '{"a": {"type": "string"}}', '{"a": {"$ref": "http://x/y"}}']
)  # fmt: skip
def test_a_schema_file_that_a_guard_would_not_take_is_refused(tmp_path: Path, text: str) -> None:
    """With what it should be, or why."""
    (tmp_path / "tools.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_tools(tmp_path / "tools.json")
    assert caught.value.code == "config.tools"


def test_a_schema_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Like any other file of settings."""
    with pytest.raises(ConfigError, match="No such file"):
        load_tools(tmp_path / "none.json")
