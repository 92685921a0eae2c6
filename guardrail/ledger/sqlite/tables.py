"""The tables, the triggers and the view of a log: all objects in its database."""

from __future__ import annotations

__all__ = ["SCHEMA", "SHOWN"]

SHOWN: dict[str, tuple[str, ...]] = {
    "ts": ("ts",),
    "type": ("type",),
    "tenant": ("tenant",),
    "session": ("session",),
    "principal": ("principal", "id"),
    "agent": ("agent", "id"),
    "call": ("call",),
    "tool": ("tool", "name"),
    "effect": ("decision", "effect"),
    "cause": ("decision", "cause"),
    "status": ("status",),
}
"""The columns of the view ``records``, each with the path in the line of the value that it shows.
"""

_COLUMNS = ",\n".join(
    f"  json_extract(line, '$.{'.'.join(path)}') AS {name}" for name, path in SHOWN.items()
)

SCHEMA: dict[str, str] = {
    "record": """CREATE TABLE record (
  seq INTEGER PRIMARY KEY CHECK (seq >= 0),
  leaf BLOB NOT NULL CHECK (length(leaf) = 32),
  line TEXT NOT NULL
) STRICT""",
    # Each call has one row, so its id is used only once, and the call has at most one outcome. Open
    # calls come after all others, next to the newest ids: a commit writes one page of this table.
    "call": """CREATE TABLE call (
  open INTEGER NOT NULL CHECK (open IN (0, 1)),
  call TEXT NOT NULL,
  decision INTEGER NOT NULL,
  outcome INTEGER,
  process TEXT,
  host TEXT,
  pid INTEGER,
  PRIMARY KEY (open, call)
) STRICT, WITHOUT ROWID""",
    # Other names under which a writer finds records. Most records have no row here.
    "place": """CREATE TABLE place (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  number INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (kind, name, number)
) STRICT, WITHOUT ROWID""",
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
    # For people who open the file with another program. guardrail never reads it.
    "records": f"""CREATE VIEW records AS SELECT
  seq,
{_COLUMNS},
  line
FROM record""",  # noqa: S608 - constants
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
