"""``verify`` takes most records on a short way. Whatever the log is like, it says what it says if
each record goes the long way.
"""

from __future__ import annotations

import copy
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log.chain import Chain, Difference
from guardrail.ledger.sqlite.tables import SCHEMA
from guardrail.review.verify import VerifyReport, parts, stream, verify_export, verify_ledger
from guardrail.review.verify.sessions import Sessions
from guardrail.system.ids import new_ulid
from tests.support.attacks import Forgery, Scene
from tests.support.export_mutations import change, vector
from tests.support.ledgers import LOG, SIGNING, common, make

VECTORS = Path(__file__).parents[2] / "vectors"
Record = dict[str, Any]
Verify = Callable[[], VerifyReport]


def _one_by_one(
    chain: Chain, rows: Iterable[tuple[int, bytes | None, bytes]], leaves: list[bytes]
) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    for seq, leaf, line in rows:
        record = chain.take(seq, leaf, line)
        if record is None:
            return
        leaves.append(chain.leaf)
        yield seq, record, line


def both(verify: Verify) -> tuple[VerifyReport, VerifyReport]:
    """Return the report, and that of the long way."""
    short = verify()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chain, "take_rows", _one_by_one)
        # No session was seen just now, so that every decision is compared.
        patch.setattr(Sessions, "recent", property(lambda _: {}, lambda _, __: None), raising=False)
        return short, verify()


def test_exports_that_someone_changed_are_judged_the_same(tmp_path: Path) -> None:
    """By accident, without a key, or with the keys of the log."""
    rng = random.Random("exports")
    names = ["log", "epochs", "prunable", "order-throttled"]
    names += [path.stem for path in (VECTORS / "exports").glob("owner-*.jsonl")]
    names += [path.stem for path in (VECTORS / "exports").glob("settings-*.jsonl")]
    bases = [vector(VECTORS, name, "log") for name in sorted(names)]
    export, found = tmp_path / "e.jsonl", set()
    for _ in range(300):
        changed = change(rng, rng.choice(bases))
        export.write_bytes(changed.export)
        one, other = both(partial(verify_export, export, key=changed.key))
        assert one == other
        found.add(one.differs)
    assert len(found) > 3


def _records(forgery: Forgery, rng: random.Random, count: int) -> list[Record]:
    """Return a log's records: calls of four sessions that run at the same time, some of which
    nobody may have or finishes, and records about the log.
    """
    made = forgery.records()
    running: list[tuple[str, int]] = []
    for seq in range(len(made), count):
        call, step = new_ulid(), rng.random()
        session = f"s-{rng.randrange(4)}"
        if step < 0.45 and running:
            call, decided = running.pop(rng.randrange(len(running)))
            record = common("call.outcome", call, "p", session)
            record |= {"decision_seq": decided, "status": "ok", "result": None}
        elif step < 0.95:
            record = common("call.decision", call, "p", session)
            effect, cause = rng.choice([("allow", "policy")] * 4 + [("deny", "identity")])
            record |= {"tool": {"name": "t"}, "input": {"n": rng.choice([1, 1.5, 2**70, "\u2028"])}}
            record["decision"] = {"effect": effect, "cause": cause, "detail": "session"}
            if effect == "allow":
                running.append((call, seq))
        else:
            type_ = rng.choice(["admin.start", "admin.heartbeat", "admin.config_changed"])
            record = {"v": 1, "log": LOG, "type": type_, "detail": {"config": "c"}}
        ts = f"2026-01-01T00:{seq // 60:02}:{seq % 60:02}.000000Z"
        made.append({**record, "seq": seq, "ts": ts})
    return made


_FIELDS = ("session", "tenant", "type", "call", "decision", "decision_seq", "origin", "principal")
_WITHIN = {"decision": ("effect", "cause"), "principal": ("id", "issuer"), "origin": ("process",)}
_VALUES: tuple[Any, ...] = (
    None,
    True,
    7,
    -1,
    2**70,
    "",
    "x",
    [],
    {},
    "gr1:principal:-:" + "a" * 24,
)
_TABLES = (
    "DELETE FROM call WHERE decision = {0}",
    "UPDATE call SET decision = decision + 1 WHERE decision BETWEEN {0} AND {0} + 2",
    "UPDATE call SET outcome = {0} WHERE decision BETWEEN {0} AND {0} + 2 AND open = 0",
    "INSERT OR IGNORE INTO call SELECT 1 - open, call, {0}, NULL, 'p', 'h', 1 FROM call LIMIT 1",
    "DELETE FROM place WHERE number IN (0, {0})",
    "UPDATE place SET seq = seq + 1 WHERE kind = 'session'",
    "UPDATE tile SET hashes = zeroblob(8192) WHERE level = {0} % 2",
    "UPDATE record SET leaf = zeroblob(32) WHERE seq = {0}",
    "DELETE FROM record WHERE seq = {0}",
)


def _changed(rng: random.Random, records: Sequence[Record]) -> list[Record]:
    """Return *records* with one value that is another, or missing."""
    made = list(records)
    at = rng.randrange(1, len(made))
    record = made[at] = copy.deepcopy(made[at])
    name = rng.choice([each for each in _FIELDS if each in record] or ["type"])
    part, keys = record, _WITHIN.get(name, ())
    if keys and rng.random() < 0.8:
        part, name = record[name], rng.choice(keys)
    part[name] = rng.choice(_VALUES)
    if rng.random() < 0.2:
        del part[name]
    return made


def _as_blob(db: Path, seq: int) -> None:
    """Store the line of record *seq* as bytes, which its table does not allow."""
    stored = sqlite3.connect(db, isolation_level=None)
    (sql,) = stored.execute("SELECT sql FROM sqlite_schema WHERE name = 'record'").fetchone()
    loose = "UPDATE sqlite_schema SET sql = ? WHERE name = 'record'"
    for text in (sql.removesuffix(" STRICT"), sql):
        stored.execute("PRAGMA writable_schema = ON")
        stored.execute(loose, (text,))
        stored.close()
        stored = sqlite3.connect(db, isolation_level=None)
        if text != sql:
            stored.execute("DROP TRIGGER record_no_update")
            stored.execute(f"UPDATE record SET line = CAST(line AS BLOB) WHERE seq = {seq}")
            stored.execute(SCHEMA["record_no_update"])
    stored.close()


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("seq", [0, 300, 511, 560, 599])
def test_a_line_of_another_type_is_found(
    tmp_path: Path, seq: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is, although its bytes and its hash are right."""
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    monkeypatch.setattr(stream, "CHUNK", 128)
    db = tmp_path / "a.db"
    make(db).close()
    forgery = Forgery(db, Scene(tmp_path), SIGNING)
    forgery.rewrite(_records(forgery, random.Random("types"), 600))
    assert verify_ledger(db, jobs=jobs).exit_code == 5
    _as_blob(db, seq)
    report = verify_ledger(db, jobs=jobs)
    assert (report.exit_code, report.differs, report.first_bad) == (1, Difference.ROWS, seq)


def test_ledgers_that_someone_changed_are_judged_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their lines, with every hash made anew and signed, or in their tables."""
    monkeypatch.setattr(stream, "CHUNK", 64)
    rng = random.Random("ledgers")
    base = tmp_path / "base.db"
    make(base).close()
    forgery = Forgery(base, Scene(tmp_path), SIGNING)
    records = _records(forgery, rng, 300)
    forgery.rewrite(records)
    one, other = both(lambda: verify_ledger(base))
    assert one == other
    assert (one.exit_code, one.live_calls + len(one.dead_calls) > 0) == (5, True)
    found = set()
    for number in range(24):
        db = Path(shutil.copyfile(base, tmp_path / f"{number}.db"))
        changed = Forgery(db, Scene(tmp_path), SIGNING)
        if number % 2:
            changed.naively(rng.choice(_TABLES).format(rng.randrange(len(records))))
        else:
            try:
                changed.rewrite(_changed(rng, records))
            except (KeyError, TypeError):  # the tables can't be filled from such a record
                continue
        since = rng.choice((0, 0, 0, 100, 256))
        one, other = both(partial(verify_ledger, db, since=since))
        assert one == other
        found.add(one.differs)
    assert len(found) > 3
