"""Creates the tables of an index. sqlite-utils creates the file that people open; a temporary index
has only the columns that commands search.
"""

from __future__ import annotations

import sqlite3

from guardrail.review.index.rows import COLUMNS, DISPLAYED, LOCATORS, SEARCHED

__all__ = ["APPLICATION_ID", "FORMAT", "OBJECTS", "create_temporary", "create_whole"]

APPLICATION_ID = 0x6772_6978
"""``grix``"""
FORMAT = 1
"""``user_version``. An index in an earlier format is rebuilt; one of a later format is not
used.
"""
_INDEXES = {
    "record_by_call": ("call",),
    "record_by_session": ("session", "tenant", "principal", "agent"),
    "record_by_type": ("type",),
    "record_by_approval": ("approval", "ordinal"),
    "record_by_tool": ("tool",),
}
_ABOUT: dict[str, type] = {
    "id": int,
    "ledger": str,
    "log": str,
    "genesis": str,
    "first": int,
    "next": int,
    "leaf": str,
    "records": int,
    "updated": str,
}
_SESSION = ("session", "tenant", "principal", "agent")
# Without statistics, SQLite may prefer the index on the type. The unary + rules that index out.
_CALLS = """
SELECT
  began.seq, began.ts, began.session, began.tenant, began.principal, began.agent, began.tool,
  began.effect, began.cause, began.detail, began.rules, began.message, began.args, began.removed,
  ended.status, ended.ms, ended.error, ended.seq AS outcome_seq, began.call
FROM record AS began LEFT JOIN record AS ended
  ON ended.call = began.call AND +ended.type = 'call.outcome' AND ended.decision_seq = began.seq
WHERE began.type IN ('call.decision', 'call.rejected')
"""
_SESSIONS = """
SELECT
  session.session, session.tenant, session.principal, session.agent,
  min(record.ts) AS started, max(record.ts) AS ended,
  sum(record.type IN ('call.decision', 'call.rejected')) AS calls,
  sum(record.effect IS 'deny') AS denied,
  sum(record.effect IS 'require_approval') AS approvals,
  sum(record.type = 'call.rejected') AS rejected,
  sum(record.status IS 'error' AND record.type = 'call.outcome') AS errors,
  sum(record.status IS 'unknown' AND record.type = 'call.outcome') AS unknown,
  session.first_seq, session.last_seq
FROM session JOIN record USING (session, tenant, principal, agent)
GROUP BY session.session, session.tenant, session.principal, session.agent
"""
_FTS = ("", "_data", "_idx", "_docsize", "_config")
OBJECTS = frozenset(
    {
        *(("table", name) for name in ("about", "record", "session", "token")),
        *(("table", f"record_fts{part}") for part in _FTS),
        *(("index", name) for name in (*_INDEXES, "session_by_first", "token_by_seq")),
        ("view", "calls"),
        ("view", "sessions"),
    }
)
"""Type and name of each object in the file."""
_TYPES = {int: "INTEGER", str: "TEXT", float: "REAL"}


def create_whole(connection: sqlite3.Connection) -> None:
    """Create the tables, the indexes, the full-text search and the views. Raises
    ``sqlite3.Error``.
    """
    from sqlite_utils import Database

    db = Database(connection, execute_plugins=False)
    record = db.table("record")
    record.create({name: COLUMNS[name] for name in DISPLAYED}, pk="seq")
    for name, columns in _INDEXES.items():
        record.create_index(columns, index_name=name)
    record.enable_fts(SEARCHED)
    keys = [("seq", "record", "seq")]
    token = db.table("token")
    token.create({"token": str, "class": str, "seq": int}, pk=("token", "seq"), foreign_keys=keys)
    token.create_index(("seq",), index_name="token_by_seq")
    session = db.table("session")
    numbers = {"first_seq": int, "last_seq": int}
    session.create({**dict.fromkeys(_SESSION, str), **numbers}, pk=_SESSION)
    session.create_index(("first_seq",), index_name="session_by_first")
    db.table("about").create(dict(_ABOUT), pk="id")
    db.create_view("calls", _CALLS)
    db.create_view("sessions", _SESSIONS)
    _number(connection)


def create_temporary(connection: sqlite3.Connection) -> None:
    """Create the tables that commands search, with only the columns that the commands need. Raises
    ``sqlite3.Error``.
    """
    _create(connection, "record", LOCATORS, "seq")
    for name in ("record_by_call", "record_by_session", "record_by_type", "record_by_approval"):
        connection.execute(f"CREATE INDEX {name} ON record ({', '.join(_INDEXES[name])})")
    columns = {**dict.fromkeys(_SESSION, str), "first_seq": int, "last_seq": int}
    _create(connection, "session", columns, ", ".join(_SESSION))
    _create(connection, "about", _ABOUT, "id")
    _number(connection)


def _create(
    connection: sqlite3.Connection, table: str, columns: dict[str, type] | object, key: str
) -> None:
    assert isinstance(columns, dict)
    types = ", ".join(
        f"{name} {_TYPES[kind]}" + (" PRIMARY KEY" if name == key else "")
        for name, kind in columns.items()
    )
    rest = "" if key in columns else f", PRIMARY KEY ({key})"
    connection.execute(f"CREATE TABLE {table} ({types}{rest})")


def _number(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
