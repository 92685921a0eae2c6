"""A damaged database file raises SQLite's errors, and no others."""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import guardrail
from guardrail.system.sqlite import SQLiteConnection

STATEMENTS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "one": lambda opened: opened.execute("SELECT * FROM t"),
    "many": lambda opened: opened.executemany("INSERT INTO t VALUES (?)", [(1,)]),
    "script": lambda opened: opened.executescript("SELECT * FROM t;"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_message_that_is_not_text_is_an_error_of_the_database(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file)) as made:
        made.execute("CREATE TABLE t (a)")
    file.write_bytes(
        file.read_bytes().replace(b"CREATE TABLE t (a)", b"CREATE TABLE t \xff\xff\xff")
    )
    with (
        closing(sqlite3.connect(file, factory=SQLiteConnection)) as opened,
        pytest.raises(sqlite3.DatabaseError) as caught,
    ):
        STATEMENTS[name](opened)
    assert caught.value.sqlite_errorname == "SQLITE_CORRUPT"


def test_every_file_is_opened_so() -> None:
    root, opened = Path(guardrail.__file__).parent, 0
    for module in root.rglob("*.py"):
        source = module.read_bytes()
        for node in ast.walk(ast.parse(source)) if b"sqlite3.connect" in source else ():
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "sqlite3.connect":
                continue
            text = ast.unparse(node)
            opened += "factory=SQLiteConnection" in text
            assert "factory=SQLiteConnection" in text or "':memory:'" in text, module
    assert opened
