"""SQL stands in one package: the storage of the ledger. Everyone else uses its named reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.ledger.storage import AppendingStorage, Storage

PACKAGE = Path(__file__).parents[2] / "guardrail"
STORAGE = "ledger/sqlite/"
EXCEPTIONS = {
    # another program than the ledger, on another host, with a store of its own
    "anchors/witness/store.py",
    # the reader's own file, which is not a ledger
    "review/index/build.py",
    "review/index/store.py",
}
SQL = re.compile(
    r"""\b(?:
        SELECT\s.+\s(?:FROM|WHERE)\b | SELECT\s+[\d(*]
        | (?:INSERT|REPLACE)\s+(?:OR\s+\w+\s+)?INTO\b
        | UPDATE\s+\w+\s+SET\b | DELETE\s+FROM\b | FROM\s+record\b | WHERE\s+seq\b | ORDER\s+BY\b
        | (?:CREATE|DROP|ALTER)\s+(?:UNIQUE\s+|TEMP\s+)?(?:TABLE|INDEX|TRIGGER|VIEW)\b
        | PRAGMA\s+\w+ | ATTACH\s+\S | VACUUM\b | SAVEPOINT\s+\w+
        | BEGIN\s+(?:IMMEDIATE|EXCLUSIVE)\b
    )|^(?:BEGIN|COMMIT|ROLLBACK|VACUUM|SELECT)$""",
    re.VERBOSE | re.DOTALL,
)


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string of a module, joined if it is one with values inside."""
    tree = ast.parse(source)
    texts: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts.add(node.value)  # a docstring
        elif isinstance(node, ast.JoinedStr):
            parts = [each for each in ast.walk(node) if isinstance(each, ast.Constant)]
            texts.update(parts)
            yield node.lineno, " ".join(str(each.value) for each in parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in texts:
            value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if isinstance(value, str):
                yield node.lineno, value


def with_sql(folder: Path) -> dict[str, list[int]]:
    """Return the modules outside the storage that hold SQL, and the lines where it stands."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        lines = [line for line, text in strings(path.read_text("utf-8")) if SQL.search(text)]
        if lines and not name.startswith(STORAGE):
            found[name] = lines
    return found


def test_no_module_outside_the_storage_holds_sql() -> None:
    assert with_sql(PACKAGE).keys() == EXCEPTIONS


@pytest.mark.parametrize(
    "line",
    [
        'FOUND = reader.query("SELECT note FROM head WHERE id = 0")',
        'FOUND = ask(f"SELECT max(length({column})) FROM {table}")',
        'FOUND = ask(f"SELECT seq {where}", 1)\nwhere = "FROM record WHERE seq >= ?"',
        'store.execute("INSERT OR IGNORE INTO epoch VALUES (?)", (1,))',
        'store.execute(f"REPLACE INTO {table} VALUES (?)", (1,))',
        'store.execute("UPDATE record SET line = ?", (line,))',
        'store.execute("DELETE FROM call WHERE open = 1")',
        'store.execute("PRAGMA integrity_check(1)")',
        'store.execute("BEGIN IMMEDIATE")',
        'store.execute("COMMIT")',
        'RULE = """CREATE UNIQUE INDEX record_use ON record (approval)"""',
        'class Kept:\n    """Keeps."""\n\n    QUERY = "SELECT seq FROM record"',
    ],
)
def test_sql_in_any_other_module_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "review").mkdir()
    (tmp_path / "review/export.py").write_text(f'"""Exports."""\n{line}\n')
    assert list(with_sql(tmp_path)) == ["review/export.py"]


@pytest.mark.parametrize(
    "line",
    ['"""A docstring: SELECT note FROM head."""', 'TEXT = "Select a key from the folder"', "X = 1"],
)
def test_what_only_mentions_sql_is_not_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "export.py").write_text(f"{line}\n")
    assert with_sql(tmp_path) == {}


def public(class_: type) -> set[str]:
    return {name for name in dir(class_) if not name.startswith("_")}


def test_a_storage_takes_no_query() -> None:
    """What a reader or a writer's code can ask for has a name."""
    for class_ in (LedgerReader, Storage, AppendingStorage):
        assert not public(class_) & {"ask", "connection", "cursor", "execute", "query"}


def test_the_storage_in_sqlite_offers_what_the_protocol_names() -> None:
    """And what its own connection needs: to be opened, and to be closed before a fork."""
    forks = {"after_fork_in_child", "after_fork_in_parent", "before_fork", "retire"}
    assert public(SQLiteStorage) == public(Storage) | forks | {"ask", "objects", "open"}
    assert public(Store) | {"genesis"} == public(AppendingStorage) | {
        "keep_leaves",
        "store_tile",
        "write_head",
    }
