"""Verify finds sessions with two owners, and starts with other settings that no record tells of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log.chain import Difference
from guardrail.core.log.record import Draft
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import OutsideHead, VerifyReport, parts, verify_export, verify_ledger
from guardrail.review.verify.sessions import Sessions
from guardrail.system.ids import new_ulid
from tests.support.ledgers import KEYS, LOG, common, head_at, make


def of(principal: str, session: str = "s", *, token: bool = False, detail: str = "") -> Draft:
    """Return a denial of a call of *principal* in *session*, which claims nothing before it is
    written.
    """
    record = common("call.decision", new_ulid(), "p", session)
    record["principal"] = {
        **record["principal"],
        "id": f"gr1:{principal}" if token else principal,
    }
    record.update(
        tool={"name": "x", "server": None, "schema": None, "declared": True},
        input={},
        decision={
            "effect": "deny",
            "cause": "identity" if detail else "policy",
            "detail": detail,
            "rules": [],
            "labels": [],
        },
    )
    return Draft.build(record)


def admin(type_: str, **said: Any) -> Draft:
    return Draft.build(
        {"v": 1, "log": LOG, "type": f"admin.{type_}", "actor": {}, "origin": {}, "detail": said}
    )


def start(config: str) -> Draft:
    return admin("start", config=config)


def verified(db: Path, *drafts: Draft, jobs: int = 1) -> VerifyReport:
    with make(db) as writer:
        for draft in drafts:
            writer.append(draft)
    return verify_ledger(db, key=KEYS.public, jobs=jobs)


def test_a_session_with_two_owners_is_found_with_both_records(tmp_path: Path) -> None:
    """Whoever wrote the records had the keys of the log: all else is right."""
    report = verified(tmp_path / "a.db", of("alice"), of("bob", "t"), of("alice"), of("bob"))
    assert (report.exit_code, report.first_bad) == (1, 4)
    assert report.differs is Difference.SESSION
    assert "record 1" in report.detail


@pytest.mark.parametrize(
    ("drafts", "found"),
    [
        ([of("alice"), of("alice", token=True), of("alice")], False),
        ([of("alice", token=True), of("bob", token=True)], True),
        ([of("alice"), of("bob", detail="session"), of("alice")], False),
        ([of("bob", detail="session"), of("alice")], False),
        ([of("alice"), of("bob", detail="ended")], True),
    ],
)
def test_what_is_one_owner(tmp_path: Path, drafts: list[Draft], found: bool) -> None:
    """A token may stand for an id, and a refused call makes nobody an owner."""
    assert (verified(tmp_path / "a.db", *drafts).exit_code == 1) is found


@pytest.mark.parametrize(
    ("drafts", "bad"),
    [
        ([start("a"), start("a"), admin("config_changed"), start("b"), start("b")], None),
        ([start("a"), start("b")], 2),
        ([start("a"), admin("config_changed"), start("b"), start("a")], 4),
        ([admin("config_changed"), start("a"), start("b")], 3),
        ([start("a"), admin("config_changed"), admin("config_changed"), start("a")], None),
        ([start("a"), admin("start")], 2),
        ([start("b")], None),
    ],
)
def test_a_change_of_settings_that_no_record_tells_of_is_found(
    tmp_path: Path, drafts: list[Draft], bad: int | None
) -> None:
    """By the number of the start, and that of the start before it."""
    report = verified(tmp_path / "a.db", *drafts)
    assert report.first_bad == bad
    if bad is not None:
        assert report.exit_code == 1
        assert report.differs is Difference.SETTINGS
        assert "at record" in report.detail


@pytest.mark.parametrize(
    ("last", "differs"),
    [(of("bob"), Difference.SESSION), (start("b"), Difference.SETTINGS), (of("alice"), None)],
)
@pytest.mark.parametrize("early", [5, 300])
def test_it_is_found_in_parts_of_a_large_ledger_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last: Draft,
    differs: Difference | None,
    early: int,
) -> None:
    """Also where the two records stand in different parts."""
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    fill = [of("carol", f"s-{n}") for n in range(600)]
    drafts = [of("alice"), start("a"), *fill[:early], last, *fill[early:]]
    report = verified(tmp_path / "a.db", *drafts, jobs=2)
    assert report.differs is differs
    assert report.first_bad == (None if differs is None else early + 3)


def test_an_export_says_it_too(tmp_path: Path) -> None:
    """By its lines alone."""
    db = tmp_path / "a.db"
    verified(db, of("alice"), of("bob"))
    head = OutsideHead.parse("kept", str(head_at(db, 3)).encode())
    with LedgerReader.open(db) as reader:
        (tmp_path / "a.jsonl").write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines()))
    report = verify_export(tmp_path / "a.jsonl", heads=[head])
    assert (report.exit_code, report.differs, report.first_bad) == (1, Difference.SESSION, 2)


def test_only_so_many_sessions_are_compared_at_a_time() -> None:
    """Memory does not grow without end; those that began first are forgotten."""
    sessions = Sessions(most=3)
    for number in range(5):
        assert sessions.join(b"%d" % number, ("t", f"p-{number}", "bot", ""), number) == ""
    assert sessions.join(b"0", ("t", "other", "bot", ""), 9) == ""
    assert "record 4" in sessions.join(b"4", ("t", "other", "bot", ""), 10)
    assert sessions.take({"type": "call.decision", "session": "s", "seq": 1}) == ""
