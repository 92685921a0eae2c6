"""Another process that has no key: it exchanges records of a ledger for others, and puts them
back.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

EXCHANGE = """
import sqlite3, sys
path, where, old, new = sys.argv[1:]
db = sqlite3.connect(path, timeout=10)
view = "SELECT *, json_extract(line, '$.approval.ordinal') AS ordinal FROM records"
found = f"SELECT seq FROM ({view}) WHERE {where}"
rows = db.execute(f"SELECT seq, leaf, line FROM record WHERE seq IN ({found})").fetchall()
for seq, leaf, line in rows:
    changed = (seq, leaf, line.replace(old, new))
    db.execute("REPLACE INTO record (seq, leaf, line) VALUES (?, ?, ?)", changed)
db.commit()
print("hidden", flush=True)
sys.stdin.readline()
for row in rows:
    db.execute("REPLACE INTO record (seq, leaf, line) VALUES (?, ?, ?)", row)
db.commit()
"""


@contextlib.contextmanager
def hidden(db: Path, where: str, old: str, new: str) -> Iterator[None]:
    """Let the records that *where* selects say *new* in place of *old* meanwhile."""
    other = subprocess.Popen(
        [sys.executable, "-c", EXCHANGE, str(db), where, old, new],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "hidden"
    try:
        yield
    finally:
        other.communicate("back\n")
        assert other.returncode == 0
