"""A name marks the value next to it: in another field, in a pair, in a list of arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.core.redaction.name_marks import marks_of_elements
from tests.support.redaction import is_secret, view

SECRET = "plain-word-secret"
_BEGIN, _END = "-----BEGIN " + "RSA PRIVATE KEY-----", "-----END " + "RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "args",
    [
        {"env": [{"name": "SMTP_PASSWORD", "value": SECRET}, {"name": "LOG_LEVEL", "value": "debug"}]},
        {"headers": [{"name": "X-Api-Key", "value": SECRET}]},
        {"headers": [["X-Api-Key", SECRET], ["Accept", "*/*"]]},
        {"headers": ["Accept", "*/*", "Authorization", SECRET]},
        {"params": [{"key": "password", "value": SECRET}]},
        {"parameters": [{"ParameterKey": "DBPassword", "ParameterValue": SECRET}]},
        {"attributes": [{"key": "password", "value": {"stringValue": SECRET}}]},
        {"lines": ["---- BEGIN SSH2 ENCRYPTED " + "PRIVATE KEY ----", SECRET, "---- END SSH2 ENCRYPTED PRIVATE KEY ----", "after"]},
        {"argv": ["mysql", "--password", SECRET, "sales"]},
        {"argv": ["tool", "-password", SECRET, 5]},
        {"lines": [_BEGIN, SECRET, 7, SECRET, _END, "after"]},
        {"lines": [{"n": 1, "text": _BEGIN}, {"n": 2, "text": SECRET}, {"n": 3}, 7, {"n": 4, "text": SECRET}, {"n": 5, "text": _END}, {"n": 6, "text": "after"}]},
        {"lines": [{"text": "Private-Lines: 1"}, {"text": SECRET}, {"text": "Private-MAC: " + SECRET}, {"text": "after"}, {str(n): "after" for n in range(9)}]},
        {"fields": [{"field": "db_password", "text": SECRET}, {"tag": "token", "text": SECRET}, {"column": "password", "value": SECRET}]},
        {"element": "Password field", "ref": "e12", "text": SECRET},
        {"selector": "#password", "input": SECRET},
        {"columns": ["user", "password"], "rows": [["bob", SECRET]]},
        {"fields": ["user", "api_key"], "values": ["bob", SECRET]},
        {"header": ["password", "user"], "data": ((SECRET, "bob"),)},
        {"kty": "EC", "crv": "P-256", "x": "after", "d": SECRET},
        {"kty": "oct", "k": SECRET},
        {"lines": ["PuTTY-User-Key-File-3: ssh-rsa", "Private-Lines: 1", SECRET, "Private-MAC: " + SECRET, "after"]},
    ],
)  # fmt: skip
def test_a_secret_goes_by_the_name_next_to_it(args: dict[str, Any]) -> None:
    """Fields, pairs, headers, options, lines of a private key. What stands around it stays."""
    shown = json.dumps(view(args).value)
    assert SECRET not in shown
    for stays in ("debug", "*/*", "sales", "after"):
        assert (stays in json.dumps(args)) is (stays in shown)


def test_personal_data_goes_by_the_name_next_to_it() -> None:
    """A filter by e-mail, a field of a form."""
    shown = view({"filters": [{"field": "last_name", "op": "eq", "value": "Muller"}]})
    assert "Muller" not in json.dumps(shown.value)
    assert shown.value["filters"][0]["field"] == "last_name"


@pytest.mark.parametrize(
    "args",
    [
        {"a": [["password", "token"], ["page", "two"]]},
        {"a": ["password", "reset"]},
        {"a": ["--password", "--verbose"]},
        {"a": ["--limit", "ten", "cookie", "cake", "x" * 70, "y"]},
        {"a": [["payment_method", "visa"]]},
        {"a": [{"name": "payment_method", "value": "visa"}, {"name": "n", "value": "x"}, {"value": "alone"}]},
        {"a": [["x" * 70, "y-z"]]},
        {"PWD": "/home/app"},
        {"title": "password", "text": "how to set a new one"},
        {"label": "status", "text": "open"},
        {"columns": ["user", "city"], "rows": [["bob", "Rome"]]},
        {"columns": ["user", "password"], "rows": "two"},
        {"a": "text", "d": "x", "k": "v"},
        {"names": ["password"], "text": "b c"},
        {str(index): index for index in range(30)} | {"name": "password", "value": "far"},
    ],
)  # fmt: skip
def test_what_only_stands_next_to_a_word_stays(args: dict[str, Any]) -> None:
    """Names of columns, tags, options without a value, and objects of many fields."""
    assert view(args).value == args


def test_a_value_whose_name_hints_goes_if_it_looks_random() -> None:
    """As below a key of that name."""
    shown = view({"a": {"name": "acme_key", "value": "aB3dE5fG7hI9jK1l"}}).value
    assert is_secret(shown["a"]["value"])


def test_a_private_key_in_one_text_names_no_other_text() -> None:
    """It is whole."""
    assert marks_of_elements([f"{_BEGIN} x {_END}", "next"], pair=False) == {}
    assert marks_of_elements(["Private-Lines: 1\nAAAA", "next"], pair=False) == {}
