"""``verify`` answers for every file, even if it has fields or bytes that no writer writes."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log import fields
from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference
from guardrail.core.log.record import Draft, dumps, leaf_hash
from guardrail.errors import LedgerOpenError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.seal import Seal
from guardrail.review.verify import OutsideHead, VerifyState, verify_ledger
from guardrail.review.verify.uses import Uses
from tests.review.verify.test_verify_approvals import Record, bad, log
from tests.support.ledgers import LOG, head_at, make, reopen, whole_call

END_OF_TIME = "9999-12-31T23:59:59.999999Z"
GONE = object()
VALUES = [GONE, None, 1 << 70, "", [None], {"id": 1}, END_OF_TIME, "approval.granted"]


def places(value: object, depth: int = 2) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value inside *value*."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for key, each in inner:
        yield (key,)
        if depth > 1 and isinstance(each, dict | list):
            yield from ((key, *rest) for rest in places(each, depth - 1))


def with_value(record: Record, path: tuple[Any, ...], value: object) -> Record:
    changed = copy.deepcopy(record)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    if value is GONE:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return changed


def judge_lines(records: list[Record]) -> int:
    """Link *records*, and return the number of those that are good."""
    prev, rows = "0" * 64, []
    for seq, record in enumerate(records):
        line = dumps({**record, "prev": prev} if record.get("prev") is not None else record)
        prev = leaf_hash(line).hex()
        rows.append((seq, None, line))
    audit, uses = Audit(verify_signature), Uses()
    for seq, record, line in audit.take_rows(rows):
        if uses.fault(record, line) is not None:
            return seq
    return audit.chain.next_seq


def test_any_field_about_an_approval_may_be_missing_or_of_any_type(tmp_path: Path) -> None:
    with log(tmp_path) as made:
        records = made.records()
    assert judge_lines(records) == len(records)
    steps = [made.request, made.granted, made.used]
    for record in steps:
        at = records.index(record)
        seen = set()
        for path in places(record):
            for value in VALUES:
                changed = with_value(record, path, value)
                seen.add(judge_lines([*records[:at], changed, *records[at + 1 :]]))
        assert at in seen


def test_an_answer_without_its_approval_is_the_first_bad_record(tmp_path: Path) -> None:
    """And an approval that never expires is one that has not expired."""
    with log(tmp_path) as made:
        approval, request = made.second()
        leaf = leaf_hash(dumps(request)).hex()
        of = {"approval__id": approval, "request__leaf": leaf, "request__seq": request["seq"]}
        made.write(made.granted, expires=END_OF_TIME, **of)
        made.use(approval)
        assert (made.report().state, made.report().approvals_used) == (VerifyState.NOT_ANCHORED, 2)
        wrong = made.write(made.granted, approval=None)
        bad(made.report(), wrong, "missing or malformed fields")


@pytest.mark.parametrize("changed", ["'60', '1e999'", "'Z\"', '\"'"], ids=["interval", "zone"])
def test_a_heartbeat_that_no_writer_wrote_is_the_first_bad_record(
    changed: str, tmp_path: Path
) -> None:
    db = tmp_path / "a.db"
    detail = {"interval_s": 60, "anchors": []}
    with make(db) as writer:
        for _ in range(2):
            record = fields.admin(LOG, "heartbeat", actor={}, where={}, detail=detail)
            writer.append(Draft.build(record))
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER record_no_update")
        connection.execute(f"UPDATE record SET line = replace(line, {changed}) WHERE seq = 2")
        (trigger,) = _sql_of(tmp_path / "b.db", "record_no_update")
        connection.execute(trigger)
    report = verify_ledger(db)
    assert (report.first_bad, report.differs, report.exit_code) == (2, Difference.LEAF, 1)


def _sql_of(db: Path, name: str) -> tuple[str]:
    make(db).close()
    with closing(sqlite3.connect(db)) as connection:
        found: tuple[str] = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
    return found


@pytest.mark.parametrize(
    ("text", "damaged"),
    [(b"TABLE tile (", b"TABLE tile \xff"), (b"record_no_update", b"record_no_upda\xff\xff")],
    ids=["message", "name"],
)
def test_a_schema_that_is_not_text_is_damage(text: bytes, damaged: bytes, tmp_path: Path) -> None:
    """In SQLite's message about it as well as in what a query returns."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
    head = OutsideHead.parse("kept", str(head_at(db, 3)))
    whole = db.read_bytes()
    assert text in whole
    db.write_bytes(whole.replace(text, damaged))
    report = verify_ledger(db)
    assert (report.state, report.exit_code) == (VerifyState.DAMAGED, 3)
    assert verify_ledger(db, heads=[head]).exit_code == 1
    for opening in (lambda: LedgerReader.open(db), lambda: reopen(db)):
        with pytest.raises(LedgerOpenError) as caught:
            opening()
        assert caught.value.code == "ledger.damaged"


def test_a_seal_of_any_depth_is_a_seal(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    Seal("a", 1, "", "why", "", {}).write(db)
    (seal,) = tmp_path.iterdir()
    seal.write_text("[" * 50_000)
    found = Seal.read(db)
    assert found is not None
    assert found.last_seq == -1
