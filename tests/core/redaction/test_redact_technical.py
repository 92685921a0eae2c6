"""Values that look like part of a program, and values that only resemble them."""

from __future__ import annotations

import json

import pytest

from tests.support.redaction import view

SCHEMA = {"email": {"type": "string", "format": "email"}, "password": {"type": "string"}}


@pytest.mark.parametrize(
    "args",
    [
        {"conf": "location / { proxy_pass http://backend:8080; }"},
        {"conf": "  fastcgi_pass unix:/run/php/php8.1-fpm.sock;\n  proxy_pass http://10.0.0.7x:80/a;\n"},
        {"proxy_pass": "http://backend:8080", "uwsgi_pass": "app:9000"},
        {"schema": {"properties": SCHEMA}},
        {"body": json.dumps(SCHEMA)},
        {"address": "0x7fff5fbff8c0", "note": "address: 0x7fff5fbff8c0"},
        {"pin": "GPIO17", "note": "led pin: GPIO17"},
        {"tan": 0.57735, "colour": "tan"},
        {"note": "The Passenger Load Factor rose. Driver Update Available."},
        {"note": "This is Machine Learning at scale"},
        {"note": "this room is the best,\nTable View"},
    ],
)  # fmt: skip
def test_parts_of_a_program_stay(args: dict[str, object]) -> None:
    """Their form shows that the name does not mean personal data or a secret."""
    assert view(args).value == args


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ({"conf": "proxy_pass http://bob:hunter2zz@backend:8080;"}, "hunter2zz"),
        ({"env": "PROXY_PASS=hunter2zz"}, "hunter2zz"),
        ({"proxy_pass": "hunter2zz:x!"}, "hunter2zz"),
        ({"conf": "ftp_pass http://hunter2zz:80"}, "hunter2zz"),
        ({"password": {"type": "string", "default": "hunter2zz"}}, "hunter2zz"),
        ({"email": {"type": "work", "format": "bob.at.home"}}, "bob.at.home"),
        ({"address": "0x" + "1f" * 20}, "1f1f"),
        ({"pin": "GPIO17x"}, "GPIO17x"),
        ({"tan": "482913"}, "482913"),
        ({"tan": 482913}, "482913"),
        ({"note": "see you.\n\nBest,\nInes Weber"}, "Ines Weber"),
        ({"note": "see you\nBest\nInes"}, "Ines"),
        ({"note": "All the best,\nInes Weber"}, "Ines Weber"),
        ({"note": "This is Anna Bauer from Bonn"}, "Anna Bauer"),
        ({"note": "Passenger Anna Bauer called"}, "Anna Bauer"),
    ],
)
def test_values_that_resemble_them_are_removed(args: dict[str, object], value: str) -> None:
    """Also the ends of letters, and one-time codes of banks."""
    assert value in str(args)
    assert value not in json.dumps(view(args).value)


@pytest.mark.parametrize("name", ["union_member", "is_union_member", "is_pregnant"])
def test_a_flag_about_a_special_category_is_removed(name: str) -> None:
    """The flag itself is the personal data."""
    assert view({name: True}).value[name] is not True
    assert view({f"{name}_count": True}).value == {f"{name}_count": True}


def test_a_schema_or_policy_removes_even_the_name_of_a_type() -> None:
    """Only the name of a key is a guess."""
    args = {"password": {"type": "string"}}
    schema = {"properties": {"password": {"writeOnly": True}}}
    assert "string" not in json.dumps(view(args, schema=schema).value)
    assert "string" not in json.dumps(view(args, "/password").value)
