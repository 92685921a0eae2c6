"""Passwords in what names a server, and what looks like one and is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.detectors import without_secrets


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["postgres", "mysql", "amqp", "mongodb+srv", "redis", "https", "ftp", "sqlserver"]),
    st.sampled_from(["bob", "a.b-c", "x%40y", ""]),
    st.lists(st.sampled_from("/?#@:ab1!&=+.,;~%*"), max_size=8).map("".join),
    st.sampled_from(["db.example", "db.example:5432", "10.0.0.5:80", "localhost", "[::1]:5432"]),
    st.sampled_from(["", "/x", "/x?ssl=true", ", next", ")"]),
    st.sampled_from(["{}", "url = '{}'", "DATABASE_URL={}", 'x("{}")', "see {} for it"]),
)  # fmt: skip
def test_the_password_of_a_url_goes_whatever_signs_it_holds(
    scheme: str, user: str, raw: str, host: str, after: str, around: str
) -> None:
    """``/``, ``?``, ``#`` and ``@`` included; the host stays."""
    if scheme == "https":
        raw = raw.replace("@", "")
    left = without_secrets(around.format(f"{scheme}://{user}:Qz{raw}7Qz@{host}{after}"))
    assert "Qz" not in left
    assert host in left


@pytest.mark.parametrize(
    "text",
    [
        "redis://app:12/Qz7@mq:5672", "mongodb://u:p@Qz7/x?Qz7@h1.example:27017,h2.example/x?w=1", "redis://:pa/Qz7@cache:6379/0",
        "sqlplus scott/Qz7@orcl", "jdbc:oracle:thin:scott/Qz7@//h:1521/s", "jdbc:oracle:thin:scott/Qz7@h:1521:orcl", "cx_Oracle.connect('scott/Qz7@db1/svc')",
        "connect sys/Qz7@orcl as sysdba", "scott/Qz7@//h:1521/s", 'scott/"Qz7/@x"@h:1521/svc', "expdp system/Qz7@db directory=x", "rman target sys/Qz7@db", "userid=scott/Qz7@db",
        "scott/Qz7@(DESCRIPTION=(ADDRESS=x))", "root:Qz7@tcp(127.0.0.1:3306)/db", "root:Q/z7@unix(/x)/db".replace("Q/z7", "Qz7"),
        "PWD={a;Qz7}}c}", "Driver={ODBC Driver 17};Server=h;UID=sa;PWD={Qz7 x;y};", "Pwd={Qz7'x\"};Server=h", "PWD = {a}}Qz7};UID=x", "password={Qz7!};", "DSN=x;PWD={{Qz7};UID=u", "PWD={Qz7 }}b}", "PWD={Qz7}}b}",
        "PWD={Qz7}}}", "PWD={a b}}Qz7}", "PWD={Qz7 }}};UID=x",
    ],
)  # fmt: skip
def test_the_password_of_a_connection_goes(text: str) -> None:
    """Oracle's accounts, Go's data source names, ODBC's braces."""
    left = without_secrets(text)
    assert "Qz7" not in left
    assert left != "#"


@pytest.mark.parametrize(
    "text",
    [
        "and/or@example", "a/b@v1.2", "npm i pkg@1.0", "npm i @scope/pkg@1.0", "uses: actions/checkout@v4", "https://medium.com/@user/x", "https://host:8080/@me", "http://host:80/x@y.z",
        "http://h.example:80/?m=a@b.x", "docker pull org/app@sha256:1234abcd", "https://cdn.jsdelivr.net/npm/vue@3/dist/x.js", "see src/app@2x.png", "https://host:{port}/x@y",
        "https://host:$PORT/@me", "postgres://db:5432/app@1", "postgres://db.example:5432/a@b.example", "http://localhost:3000/a@b", "s3://bucket/key@v1", "km/h@sea level", "rsync a/b u@h.example:/x",
        "https://x.example/a:b@c/d@e", "connect to 1/2@x", "connect $USER/$PASS@db", "x://h/@tcp(h)", "$U:$P@tcp(h:1)/db", "://a:/b@c.example", "https://u.example/a?x=1#/b@c.example",
        "redis://h:1/@", "redis://app:x/" + "@!" * 9, "oracle /srv/a@b", "oracle a/b@-",
        "password={password}", "f'password={self.password}'", "password={{ vault }}", "<Input password={state.pw} />", "password={get_pw()}", "pwd={'a': 1}", "PWD={pwd}", "password={x!r:>10}",
        "UID=u;PWD={password}", "password={", "password={a b c}", "token={(x) => y}",
        "f'{{pwd={x}}}'", "pwd={f({a: {}})}", "pwd={{a: {b: 1}}}", "connect: mailto:a/b@example.com", "oracle support: mailto:ops/night@example",
        "- name: Connect to Oracle\n  uses: azure/login@v1", "oracle registry: org/db@sha256:1234abcd", "connect via org/app@latest",
    ],
)  # fmt: skip
def test_what_names_no_password_stays(text: str) -> None:
    """Versions, handles, ports, addresses in paths, templates and code."""
    assert without_secrets(text) == text


def test_a_userinfo_is_not_read_on_over_its_host() -> None:
    """A later address in the path stays, as it is no part of the password."""
    assert without_secrets("https://bob:Qz7@h.example/x/@alice") == "https://#@h.example/x/@alice"
    assert without_secrets("https://bob:Qz7@h/x/@alice") == "https://#@h/x/@alice"
    assert without_secrets("https://bob:Qz7@h") == "https://#@h"
