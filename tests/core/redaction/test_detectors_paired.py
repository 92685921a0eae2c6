"""Secrets go by the field before theirs and by their column; what is no value stays."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.detectors.scan import scan_secrets
from tests.support.detectors import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "- name: DB_PASSWORD\n  value: Qz7", 'name = "DB_PASSWORD"\n    value = "Qz7"', "{'name': 'password', 'value': 'Qz7'}", '\\"name\\": \\"password\\", \\"value\\": \\"Qz7\\"',
        "key: api_key\nvalue: 'Qz7 x'", ":key => 'token', :val => 'Qz7'", "- value: Qz7\n  name: DB_PASSWORD\n", "value: 'Qz7 x',\n  key: api_key", "{'value': 'Qz7', 'name': 'password'}",
        "password: |\n  Qz7 x\n  Qz7\n", "db:\n  - password: >-\n      Qz7\n", '--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nQz7\r\n--b--',
        'Content-Disposition: form-data; name="api_key"; filename="x"\nContent-Type: text/plain\n\nQz7',
        'variable "db_password" {\n  type    = string\n  default = "Qz7"\n}',
    ],
)  # fmt: skip
def test_a_value_goes_by_the_field_next_to_it(text: str) -> None:
    """In YAML, JSON within text, and code, before or after it; the name stays."""
    left = without_secrets(text)
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
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "- name: TOKEN_COUNT\n  value: 5", "- name: A\n  value: x\n- name: PASSWORD\n  value: $PW", "value: 5\nname: port", 'variable "db_password" {\n  default = ""\n}', 'variable "region" {\n  default = "eu"\n}',
        "name: A, value: x, name: PASSWORD, value: $PW", "password: |\n  $DB_PASSWORD\n", "notes: |\n  one two\n", "password: |\nnext: 5\n", 'form-data; name="file"\r\n\r\nx', 'name: "password", value: ""', "key: token, value: ${TOKEN}", "key=password value=$PASSWORD", "name: password\ntype: string\nvalue: x", "name: password, value: string",
        "INSERT INTO t (id, token) VALUES (1, NULL), (2, DEFAULT)", "INSERT INTO settings (key, value) VALUES ('theme', 'dark')", "INSERT INTO u (name, password) VALUES (?, ?)",
        "INSERT INTO u (name, password) VALUES (:name, :password)", "INSERT INTO u (name, password) VALUES (%s, %s)", "INSERT INTO u (password) SELECT password FROM v",
        "INSERT INTO u (password) VALUES (now())", "INSERT INTO u (password) VALUES ('')", "values go into it",
    ],
)  # fmt: skip
def test_counts_parameters_and_other_columns_stay(text: str) -> None:
    """And what is empty, or a reference."""
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("user,password\nbob,Qz7\n", "user,password\nbob,#\n"), ('"id";"passwort";"x"\r\n"1";"Qz7;""a""";"y"\r\n', '"id";"passwort";"x"\r\n"1";"#";"y"\r\n'),
        ("name\tapi_key\na\tQz7\nb\tQz8", "name\tapi_key\na\t#\nb\t#"), ("password,user\nQz7,bob\n\nQz8,x", "password,user\n#,bob\n\nQz8,x"),
        ("| user | password |\n|---|:---|\n| bob | Qz7 |", "| user | password |\n|---|:---|\n| bob | # |"),
        (" user | token \n------+-------\n bob  | Qz7 \n(1 row)\n", " user | token \n------+-------\n bob  | # \n(1 row)\n"),
        ("see below:\nuser,secret\nbob,Qz7", "see below:\nuser,secret\nbob,#"),
    ],
)  # fmt: skip
def test_a_value_goes_by_the_first_line_of_its_table(text: str, left: str) -> None:
    """Of CSV with any of its signs, and of tables with bars; up to an empty line."""
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "user,city\nbob,Rome", "password rules, length, symbols\nmust be long, 12, yes\n", "user, password\nthen click", "token_count,user\n5,bob", "user,password\nbob,\nal,$PW\nx,none",
        "user,password\nwithout a comma", "| password |\n| Qz7 |", "keys,tokens\n",
    ],
)  # fmt: skip
def test_prose_and_other_columns_stay(text: str) -> None:
    """And cells that are empty, or hold a reference; one column alone makes no table."""
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("AUTH Qz7", "AUTH #"), ("x\nAUTH bob Qz7\r\nPING", "x\nAUTH bob #\r\nPING"), ("HELLO 3 AUTH bob Qz7", "HELLO 3 AUTH bob #"), ("CONFIG SET requirepass Qz7", "CONFIG SET requirepass #"),
        ("config set masterauth 'Qz7'", "config set masterauth '#'"), ("net use Z: \\\\h\\s /user:dom\\bob Qz7", "net use Z: \\\\h\\s /user:dom\\bob #"),
        ("net use \\\\h\\s Qz7 /user:bob", "net use \\\\h\\s # /user:bob"), ("NET USE * \\\\h\\s /USER:bob Qz7 /persistent:no", "NET USE * \\\\h\\s /USER:bob # /persistent:no"),
        ("htpasswd -bc f bob Qz7", "htpasswd -bc f bob #"), ("htpasswd -nb bob Qz7 ", "htpasswd -nb bob # "), ("htpasswd -B -C 12 -b f bob Qz7", "htpasswd -B -C 12 -b f bob #"),
        ("bob:{SHA}kd/2Tyuiop=", "bob:{SHA}#"), ("of {SSHA}kd/2Tyuiop=", "of {SSHA}#"), ("setx DB_PASSWORD Qz7", "setx DB_PASSWORD #"), ('setx API_KEY "Qz 7" /M', 'setx API_KEY "#" /M'),
        ("setenv TOKEN_SECRET Qz7", "setenv TOKEN_SECRET #"), ("set -gx DB_PASSWORD Qz7", "set -gx DB_PASSWORD #"), ("FROM x\nENV DB_PASSWORD Qz7\n", "FROM x\nENV DB_PASSWORD #\n"),
        ('proxy_set_header Authorization "Qz7";', 'proxy_set_header Authorization "#";'), ("aws configure set aws_secret_access_key Qz7", "aws configure set aws_secret_access_key #"),
        ("HTTPBasicAuth('bob', 'Qz7')", "HTTPBasicAuth('bob', '#')"), ('server.login("bob", "Qz7")', 'server.login("bob", "#")'), ("EXEC sp_addlogin 'bob', N'Qz7'", "EXEC sp_addlogin 'bob', N'#'"),
        ('new NetworkCredential("bob", "Qz7", "d")', 'new NetworkCredential("bob", "#", "d")'), ("db.auth('bob','Qz7')", "db.auth('bob','#')"),
        ("https://objectstorage.eu.oraclecloud.com/p/Qz7abcdefg/n/x/b/y/o/z", "https://objectstorage.eu.oraclecloud.com/p/#/n/x/b/y/o/z"),
        ("https://f.example/api/x?code=" + "Qz7a" * 12 + "==", "https://f.example/api/x?code=#"), ("curl --proxy-user bob:Qz7 x", "curl --proxy-user # x"),
    ],
)  # fmt: skip
def test_a_password_goes_by_the_command_or_call_that_takes_it(text: str, left: str) -> None:
    """Without a sign between them; the user and the rest stay."""
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "AUTH failed for bob", "we AUTH users", "the AUTH header", "auth is on", "net use is slow", "net use Z: \\\\h\\s", "net use \\\\h\\s /user:bob", "htpasswd -c f bob", "htpasswd -bc f bob $PW", "htpasswd -b f", "a {SHA} digest",
        "setx PATH C:\\bin", "set -x TOKEN_COUNT 5", "ENV DB_PASSWORD $PW", "reset password policy", "asset key value", "server.login(user, password)", "server.login(user, 'mail')", "login('bob', $PW)", "server.login('bob', '$PW')",
        "x?code=SUMMER-2024", "CONFIG SET requirepass $PW", "HELLO AUTH", "sp_password x",
    ],
)  # fmt: skip
def test_commands_without_a_password_stay(text: str) -> None:
    """And prose that holds their words, variables, and short codes."""
    assert without_secrets(text) == text


def test_a_table_counts_whatever_text_it_is_joined_with() -> None:
    """The password that another text speaks of begins no table, and ends none."""
    table = "password,user\nq7z-va1ue,bob\n"
    for other in ("my password is not here: ask", "a key", "token,x"):
        text = f"{other}\x00{table}"
        assert any(text[hit.start : hit.end] == "q7z-va1ue" for hit in scan_secrets(text)), other


def test_a_table_within_a_table_counts_and_lines_without_cells_end_nothing() -> None:
    """A line that names columns again counts from there; a cell that is too long hides its line
    only.
    """
    rows = f"password,user\n{'a' * 600},bob\nuser,token\nq7z-va1ue,k9x-va1ue\n"
    found = {rows[hit.start : hit.end] for hit in scan_secrets(rows) if hit.rule == "column"}
    assert {"q7z-va1ue", "k9x-va1ue"} <= found
    for text in (f"a\n{'b ' * 300}password,user\nx1,y\n", "a,b\nhis password"):
        assert not [hit for hit in scan_secrets(text) if hit.rule == "column"]
