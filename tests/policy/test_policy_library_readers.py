"""``guardrail.lib`` and programs that act on the same texts: it never finds another host, another
recipient, or a harmless query where they find something else.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from email.utils import getaddresses
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.sources import load_policies
from tests.support.policies import write

TEXTS = 6_000
PER_CALL = 500
ASKED = """package guardrail.policy

hosts := [data.guardrail.lib.urls.host(text) | some text in input.texts]

addresses := [data.guardrail.lib.mail.addresses(text) | some text in input.texts]

read_only := [data.guardrail.lib.sql.read_only(text) | some text in input.texts]
"""
URLS = ["http", "https", "HTTP", "ws", ":", ":", "//", "//", "/", "\\", "@", "?", "#", "a.com", "b.org", "A.com.", "evil", ".", "%2e", "%40", "127.1", "0x7f.1", "10.0.0.1", "[::1]", "[", "]", ":80", ":0", ":99999", " ", "\t", "é", "。", "x", "/a", "http://a.com", "https://b.org/"]  # fmt: skip
MAILS = ["ann@a.com", "bob@evil.org", "ann", "@", "a.com", "evil.org", "<", ">", '"', "(", ")", ",", ";", ":", " ", "\\", ".", "Ann ", "é", "\n", "<ann@a.com>", '"Lee, Ann" ', "!", "%", "[", "]"]  # fmt: skip
SQL = ["select ", "select ", "select a from t", "a", " from t", "delete from t", "drop table t", "insert into t values (1)", "update t set a = 2", "; ", ";", "'", "''", '"', '""', "`", "[", "]", "--", "-- ", "\n", "/*", "*/", " /* x */ ", " ", "(", ")", ",", "1", "with x as (", " replace into t values (3)", "pragma user_version = 5", "/**/", "/*!", "\\", "#", "$$", "e'", "attach 'x' as y", "union ", " where ", "count(", "*", "load_extension('x')", "vacuum", "create table u (a)"]  # fmt: skip


def texts(parts: list[str], seed: str) -> Iterator[list[str]]:
    r = random.Random(seed)
    for _ in range(0, TEXTS, PER_CALL):
        yield ["".join(r.choices(parts, k=r.randrange(1, 8))) for _ in range(PER_CALL)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    with Workbench() as opened:
        compiled = compile_policies(load_policies([write(tmp_path, {"p.rego": ASKED})]), opened)
        opened.load(compiled.texts, compiled.data)
        yield opened


def answers(bench: Workbench, rule: str, parts: list[str]) -> Iterator[tuple[str, object]]:
    """Yield each text that is made of *parts*, and the value of *rule* for it."""
    for each in texts(parts, rule):
        found = bench.rule(f"data.guardrail.policy.{rule}", json.dumps({"texts": each}))
        assert isinstance(found, list)
        yield from zip(each, found, strict=True)


def test_urllib_finds_the_same_host(bench: Workbench) -> None:
    read = 0
    for text, host in answers(bench, "hosts", URLS):
        if host:
            whole = text if "//" in text else f"//{text}"
            assert (urlsplit(whole).hostname or "").rstrip(".") == host, text
            read += 1
    assert read > TEXTS / 100


def test_the_standard_library_finds_the_same_recipients(bench: Workbench) -> None:
    read = 0
    for text, found in answers(bench, "addresses", MAILS):
        assert isinstance(found, list)
        if found and "" not in found:
            theirs = {address.lower() for _, address in getaddresses([text.replace(";", ",")])}
            assert theirs - {""} <= set(found), text
            read += 1
    assert read > TEXTS / 100


def test_sqlite_only_reads(bench: Workbench) -> None:
    """What counts as a query, never changes anything in a real database."""
    harmless = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
    done: list[int] = []

    def authorized(action: int, *_: object) -> int:
        done.append(action)
        return sqlite3.SQLITE_OK if action in harmless else sqlite3.SQLITE_DENY

    ran = 0
    for text, read_only in answers(bench, "read_only", SQL):
        if not read_only:
            continue
        with sqlite3.connect(":memory:") as database:
            database.execute("create table t (a)")
            database.set_authorizer(authorized)
            run: Callable[[], object]
            for run in (lambda: database.executescript(text), lambda: database.execute(text)):  # noqa: B023
                done.clear()
                try:
                    run()
                    ran += 1
                except sqlite3.Error:
                    pass
                # executescript ends a transaction first.
                assert set(done) <= harmless | {sqlite3.SQLITE_TRANSACTION}, text
        database.close()
    assert ran > 20
