"""Secrets go by the field before theirs and by their column; what is no value stays."""

from __future__ import annotations

import pytest

from guardrail.core.detectors import scan_secrets


def _left(text: str) -> str:
    for hit in reversed(scan_secrets(text)):
        text = text[: hit.start] + "#" + text[hit.end :]
    return text


@pytest.mark.parametrize(
    "text",
    [
        "- name: DB_PASSWORD\n  value: Qz7", 'name = "DB_PASSWORD"\n    value = "Qz7"', "{'name': 'password', 'value': 'Qz7'}", '\\"name\\": \\"password\\", \\"value\\": \\"Qz7\\"',
        "key: api_key\nvalue: 'Qz7 x'", ":key => 'token', :val => 'Qz7'",
    ],
)  # fmt: skip
def test_a_value_goes_by_the_field_before_it(text: str) -> None:
    """In YAML, JSON within text, and code; the name stays."""
    left = _left(text)
    assert "Qz7" not in left
    assert "#" in left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("INSERT INTO users (id, `password`, x) VALUES (1, 'Qz7', 2), (2, 'it''s', 3)", "INSERT INTO users (id, `password`, x) VALUES (1, '#', 2), (2, '#', 3)"),
        ("insert into u(name,password)values('a',crypt('Qz7', gen_salt('bf')))", "insert into u(name,password)values('a',crypt('#', gen_salt('bf')))"),
        ('INSERT INTO "u" ("name","pin") VALUES (\'a\', 1234)', 'INSERT INTO "u" ("name","pin") VALUES (\'a\', #)'),
        ("REPLACE INTO u (a, password) VALUES (now(), N'Qz7');", "REPLACE INTO u (a, password) VALUES (now(), N'#');"),
        ('insert into [dbo].[u] (password) values ("Qz7")', 'insert into [dbo].[u] (password) values ("#")'),
        ("insert into u (password) values ('Qz7', 5), ('x')", "insert into u (password) values ('#', 5), ('x')"),
        ("insert into u (password, a) values ('Qz7'), ('Qz8', 5", "insert into u (password, a) values ('#'), ('#', 5"),
    ],
)  # fmt: skip
def test_a_value_goes_by_its_column(text: str, left: str) -> None:
    """In every row, in quotes, as a number, or in a call that hashes it."""
    assert _left(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "- name: TOKEN_COUNT\n  value: 5", 'name: "password", value: ""', "key: token, value: ${TOKEN}", "key=password value=$PASSWORD", "name: password\ntype: string\nvalue: x", "name: password, value: string",
        "INSERT INTO t (id, token) VALUES (1, NULL), (2, DEFAULT)", "INSERT INTO settings (key, value) VALUES ('theme', 'dark')", "INSERT INTO u (name, password) VALUES (?, ?)",
        "INSERT INTO u (name, password) VALUES (:name, :password)", "INSERT INTO u (name, password) VALUES (%s, %s)", "INSERT INTO u (password) SELECT password FROM v",
        "INSERT INTO u (password) VALUES (now())", "INSERT INTO u (password) VALUES ('')", "values go into it",
    ],
)  # fmt: skip
def test_counts_parameters_and_other_columns_stay(text: str) -> None:
    """And what is empty, or a reference."""
    assert _left(text) == text
