"""The tables, indexes and triggers of a log, which are all the objects in its database."""

from __future__ import annotations

__all__ = ["ADMIN", "COLUMNS", "SCHEMA"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "type": ("type",),
    "ts": ("ts",),
    "call": ("call",),
    "session": ("session",),
    "tenant": ("tenant",),
    "principal": ("principal", "id"),
    "agent": ("agent", "id"),
    "tool": ("tool", "name"),
    "effect": ("decision", "effect"),
    "cause": ("decision", "cause"),
    "status": ("status",),
    "approval": ("approval", "id"),
    "ordinal": ("approval", "ordinal"),
}
"""Generated columns, and the path in the line that each of them extracts."""

ADMIN = (
    "type IN ('admin.start', 'admin.key_rotated', 'admin.heartbeat', 'admin.sealed', "
    "'admin.archived', 'admin.pruned', 'admin.hold', 'admin.recovered')"
)
"""The condition of the index ``record_admin``. A query that should use the index must repeat it in
addition to the type.
"""

_INTEGERS = ("ordinal",)

_GENERATED = ",\n".join(
    f"  {name} {'INTEGER' if name in _INTEGERS else 'TEXT'} "
    f"GENERATED ALWAYS AS (json_extract(line, '$.{'.'.join(path)}')) VIRTUAL"
    for name, path in COLUMNS.items()
)

SCHEMA: dict[str, str] = {
    "record": f"""CREATE TABLE record (
  seq INTEGER PRIMARY KEY CHECK (seq >= 0),
  leaf BLOB NOT NULL CHECK (length(leaf) = 32),
  line TEXT NOT NULL,
{_GENERATED}
) STRICT""",
    # An index on a generated column costs 10 us or more per append, so only fields that reviewers
    # search by, and fields that must be unique, have one.
    "record_call": """CREATE UNIQUE INDEX record_call ON record (call, type)
WHERE type IN ('call.decision', 'call.outcome')""",
    "record_claim": """CREATE INDEX record_claim ON record (call, type)
WHERE type IN ('call.claim', 'call.rejected')""",
    "record_session": """CREATE INDEX record_session ON record (session)
WHERE type IN ('call.decision', 'call.rejected')""",
    # Each step of an approval can be taken only once: if two steps were judged by the same state,
    # one is refused.
    "record_approval": """CREATE UNIQUE INDEX record_approval ON record (approval, ordinal)
WHERE ordinal IS NOT NULL""",
    "record_use": """CREATE UNIQUE INDEX record_use ON record (approval)
WHERE ordinal IS NOT NULL AND type = 'call.decision'""",
    "record_request": """CREATE INDEX record_request ON record (session)
WHERE type = 'call.decision' AND effect = 'require_approval'""",
    "open_call": """CREATE TABLE open_call (
  call TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  process TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    # Records that administration must find without reading the whole log have this index.
    "record_admin": f"CREATE INDEX record_admin ON record (type)\nWHERE {ADMIN}",
    "head": """CREATE TABLE head (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  size INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  edge BLOB NOT NULL,
  note TEXT NOT NULL,
  mac BLOB NOT NULL
) STRICT""",
    "tile": """CREATE TABLE tile (
  level INTEGER NOT NULL,
  number INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, number)
) STRICT""",
    "epoch": """CREATE TABLE epoch (
  public TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  process TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    # Records below this number may be deleted, except line 0. guardrail prune writes a record
    # first.
    "pruned": """CREATE TABLE pruned (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  before INTEGER NOT NULL
) STRICT""",
    # These triggers protect against accidents, not attacks: anyone who can write the file can drop
    # them.
    "record_no_update": """CREATE TRIGGER record_no_update BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'records are never changed'); END""",
    "record_no_delete": """CREATE TRIGGER record_no_delete BEFORE DELETE ON record
WHEN old.seq = 0 OR old.seq >= coalesce((SELECT before FROM pruned), 0)
BEGIN SELECT RAISE(ABORT, 'records are deleted only by guardrail prune'); END""",
}
"""Every object of the database, by name, exactly as ``sqlite_schema`` stores it, because ``verify``
compares the texts.
"""
