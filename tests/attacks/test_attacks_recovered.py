"""Recovery makes nothing good that nobody vouched for: what it took over stays a reservation,
whatever comes afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from guardrail.core.log.checkpoint import SignedNote
from guardrail.core.log.record import decode
from guardrail.core.words import numbers
from guardrail.errors import LedgerError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance.recover import recover
from guardrail.ledger.maintenance.recovery_plan import Action
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.seal import Seal
from guardrail.ledger.tree import edge_at, node_reader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.proofs import HeadRelation, compare_heads, log_key, make_proof
from guardrail.review.terminal import clock
from guardrail.review.verify import (
    OutsideHead,
    VerifyReport,
    parts,
    read_segment_records,
    verify_export,
    verify_ledger,
    verify_segment,
)
from tests.support.attacks import (
    KEYS,
    LOG,
    SIGNING,
    Forgery,
    Scene,
    decision_near,
    forged_records,
    head_row,
    with_another_tool,
)
from tests.support.ledgers import ACTOR, FAST, GENESIS, head_at, make, note, whole_call

SIZE = 300
"""Records of the log before somebody changes it."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A log of so many records."""
    path = tmp_path / "a.db"
    with make(path) as writer:
        for _ in range((SIZE - 2) // 2):
            whole_call(writer)
        writer.append(note())
    return path


def append(forged: Forgery) -> None:
    found = forged.records()
    forged.rewrite([*found, *forged_records(found)], head=head_row(forged.db))


def append_under_a_forged_head(forged: Forgery) -> None:
    found = forged.records()
    forged.rewrite([*found, *forged_records(found)])


def edit_the_end(forged: Forgery) -> None:
    found = forged.records()
    at = decision_near(found, SIZE - 10)
    found[at] = with_another_tool(found[at])
    forged.rewrite(found, since=at)


def cut(forged: Forgery) -> None:
    forged.rewrite(forged.records()[: SIZE - 9], head=head_row(forged.db))


def cut_and_append(forged: Forgery) -> None:
    found = forged.records()
    forged.rewrite([*found[: SIZE - 9], *forged_records(found)], head=head_row(forged.db))


def take_the_head(forged: Forgery) -> None:
    edit_the_end(forged)
    forged.naively("DELETE FROM head")


def with_a_seal(forged: Forgery) -> None:
    append(forged)
    genesis = {**GENESIS, "v": 1, "log": LOG, "type": "genesis"}
    Seal(LOG, -1, "0" * 64, "a test", "2026-01-01T00:00:00.000000Z", genesis).write(forged.db)


FORGERIES: tuple[tuple[Callable[[Forgery], None], tuple[int, int], int], ...] = (
    (append, (SIZE, SIZE + 1), 0),
    (append_under_a_forged_head, (0, SIZE + 1), 0),
    (edit_the_end, (0, SIZE - 1), 0),
    (cut, (0, SIZE - 10), 9),
    (cut_and_append, (0, SIZE - 8), 7),
    (take_the_head, (0, SIZE - 1), 0),
    (with_a_seal, (SIZE, SIZE + 1), 0),
)
"""What somebody without a key did; the records that nobody vouched for then; how many are gone."""


def kept(db: Path, size: int) -> OutsideHead:
    return OutsideHead.parse("kept elsewhere", str(head_at(db, size)))


def recovered(db: Path) -> int:
    """Recover as the command does, and go on; return the number of the record about it."""
    done = recover(db, who=ACTOR, reason="a test", signing=SIGNING, verify=verify_signature)
    assert done.plan.action is Action.CONTINUE
    assert done.receipt is not None
    with LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer:
        for _ in range(20):
            whole_call(writer)
    return done.receipt.seq


def verified(db: Path, *heads: OutsideHead, jobs: int = 1) -> VerifyReport:
    return verify_ledger(db, key=KEYS.public, heads=heads, jobs=jobs)


@pytest.mark.parametrize(
    ("forge", "taken", "lost"), FORGERIES, ids=[each[0].__name__ for each in FORGERIES]
)
def test_what_a_recovery_took_over_is_named_for_ever(
    db: Path,
    monkeypatch: pytest.MonkeyPatch,
    forge: Callable[[Forgery], None],
    taken: tuple[int, int],
    lost: int,
) -> None:
    """Exit 5 with the records and the time, however many heads cover them afterwards, and by
    several processes too.
    """
    forge(Forgery(db, Scene(db.parent), None))
    assert verified(db).exit_code == 1
    seq = recovered(db)
    with LedgerReader.open(db) as reader:
        ts = clock(decode(reader.record(seq) or b"")["ts"])
        size = reader.size()
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    for heads in ([], [kept(db, seq + 1)], [kept(db, size), kept(db, 50)]):
        for jobs in (1, 2):
            report = verified(db, *heads, jobs=jobs)
            assert report.exit_code == 5
            (found,) = report.recovered
            first = max(taken[0], 50) if len(heads) == 2 else taken[0]
            assert (found.seq, found.first, found.last, found.lost) == (seq, first, taken[1], lost)
            said = [line for line in report.not_proved if line.startswith("RECOVERED")]
            assert any(f"{numbers(first, taken[1])} " in line and ts in line for line in said)
            assert len(said) == (2 if lost else 1)


@pytest.mark.parametrize(
    ("forge", "taken", "lost"), FORGERIES, ids=[each[0].__name__ for each in FORGERIES]
)
def test_a_head_from_before_the_recovery_covers_what_it_is_over(
    db: Path, forge: Callable[[Forgery], None], taken: tuple[int, int], lost: int
) -> None:
    """Up to the record about it; what was lost stays lost."""
    forge(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    report = verified(db, kept(db, seq), kept(db, seq + 5))
    assert taken[1] == seq - 1
    assert report.exit_code == (5 if lost else 0)
    assert [(each.first > each.last, each.lost) for each in report.recovered] == (
        [(True, lost)] if lost else []
    )


@pytest.mark.parametrize("hidden", [False, True])
def test_what_a_recovery_took_over_is_proved_by_a_head_from_before_it_alone(
    db: Path, hidden: bool
) -> None:
    """Later heads of the log are over whatever it took over, so they give no proof of it; other
    records keep theirs. The same holds if no row leads to the record of the recovery.
    """
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    if hidden:
        Forgery(db, Scene(db.parent), None).naively("DELETE FROM place")
    with LedgerReader.open(db) as reader:
        later, before, small = (head_at(db, each) for each in (reader.size(), seq, SIZE))
        for heads in ([], [later], [small], [SignedNote(before.text, ())]):
            for taken in (SIZE, seq - 1):
                with pytest.raises(LedgerError) as refused:
                    make_proof(reader, taken, later, heads)
                assert refused.value.code == "ledger.recovered"
                assert f"record {seq}" in refused.value.message
        proof = make_proof(reader, SIZE, later, [later, before, small])
        assert proof.note.text == before.text
        for untouched in (7, SIZE - 1, seq, seq + 1):
            assert make_proof(reader, untouched, later, [before]).index == untouched


def test_a_table_that_was_made_anew_is_no_reservation(db: Path) -> None:
    """Its lines were under a good head all the time."""
    Forgery(db, Scene(db.parent), None).naively("DELETE FROM tile")
    recovered(db)
    report = verified(db, kept(db, SIZE + 5))
    assert (report.exit_code, report.recovered) == (0, ())


def test_an_export_says_it_as_well(db: Path, tmp_path: Path) -> None:
    """The lines alone are enough."""
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    export = tmp_path / "a.jsonl"
    with LedgerReader.open(db) as reader:
        export.write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines()))
    for size, code in ((seq, 0), (seq + 1, 5), (SIZE, 5)):
        report = verify_export(export, key=KEYS.public, heads=[kept(db, size)])
        assert (report.exit_code, len(report.recovered)) == (code, code // 5)


def part_of(db: Path, first: int, last: int) -> Path:
    """Write records *first* to *last* as the copy of a segment is written, with the tree before
    them.
    """
    path = db.with_name(f"part-{first}-{last}.jsonl")
    with LedgerReader.open(db) as reader:
        edge = edge_at(first, node_reader(reader.storage))
        path.write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines(first, last + 1)))
    beside = {"first": first, "log": LOG, "edge": [root.hex() for root in edge.roots]}
    path.with_suffix(".json").write_text(json.dumps(beside))
    return path


Range = tuple[int, int]


@pytest.mark.parametrize(
    ("first", "last", "size", "taken", "untold", "code"),
    [
        (100, SIZE + 1, None, (SIZE, SIZE + 1), (100, SIZE + 1), 5),
        (100, SIZE + 1, 250, (SIZE, SIZE + 1), (250, SIZE + 1), 5),
        (100, SIZE + 1, SIZE + 1, (SIZE + 1, SIZE + 1), (SIZE + 1, SIZE + 1), 5),
        (100, SIZE + 1, SIZE + 2, None, None, 0),
        (0, SIZE, None, (SIZE, SIZE), (0, SIZE), 5),
        (100, 250, 200, None, (200, 250), 5),
        (100, 250, 251, None, None, 0),
    ],
)
def test_a_part_that_ends_before_the_record_about_a_recovery_names_what_it_took_over(
    db: Path,
    first: int,
    last: int,
    size: int | None,
    taken: Range | None,
    untold: Range | None,
    code: int,
) -> None:
    """By the ledger, with its time; without one it can't be told, and the answer says of which
    records.
    """
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    assert seq == SIZE + 2
    heads = [] if size is None else [kept(db, size)]
    path = part_of(db, first, last)
    with LedgerReader.open(db) as reader:
        ts = clock(decode(reader.record(seq) or b"")["ts"])
        sealing = read_segment_records(reader)

    report = verify_segment(path, key=KEYS.public, heads=heads, segment_records=sealing)
    assert [(each.seq, each.first, each.last) for each in report.recovered] == (
        [] if taken is None else [(seq, *taken)]
    )
    assert report.exit_code == (5 if taken or size is None else 0)
    assert report.uncovered is None
    said = [line for line in report.not_proved if line.startswith("RECOVERED")]
    assert len(said) == (taken is not None)
    assert all(ts in line for line in said)

    alone = verify_segment(path, key=KEYS.public, heads=heads)
    pruned = replace(sealing, first=last + 2)
    behind = verify_segment(path, key=KEYS.public, heads=heads, segment_records=pruned)
    assert (alone.exit_code, alone.uncovered) == (code, untold)
    assert behind.uncovered == untold
    assert ["were pruned" in each for each in behind.notices if "--segment" in each] == [True]
    assert not [each for each in alone.notices if "were pruned" in each]
    for each in (alone, behind):
        said = [line for line in each.not_proved if line.startswith("NOT COVERED")]
        assert len(said) == (untold is not None)
        assert all(f"{numbers(*untold)} " in line for line in said if untold)


def test_a_part_names_what_a_recovery_took_over_of_its_own_records_alone(db: Path) -> None:
    """Also if the record about it stands in the part."""
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    for first, taken in (
        (0, (SIZE, SIZE + 1)),
        (280, (SIZE, SIZE + 1)),
        (SIZE + 1, (SIZE + 1,) * 2),
    ):
        (found,) = verify_segment(part_of(db, first, seq + 9)).recovered
        assert (found.first, found.last) == taken
    assert verify_segment(part_of(db, seq, seq + 9)).recovered == ()


def test_records_that_were_lost_are_named_where_they_stood(db: Path) -> None:
    """In the part that begins with the record about the recovery, and in none before."""
    cut(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    (found,) = verify_segment(part_of(db, seq, seq + 5)).recovered
    assert (found.seq, found.lost, found.first > found.last) == (seq, 9, True)
    with LedgerReader.open(db) as reader:
        sealing = read_segment_records(reader)
    (before,) = verify_segment(part_of(db, 0, seq - 1), segment_records=sealing).recovered
    assert (before.first, before.last, before.lost) == (0, seq - 1, 0)


def test_an_export_of_a_part_says_of_which_records_nothing_can_be_told(
    db: Path, tmp_path: Path
) -> None:
    """Cut before the record about the recovery it looks like an export that was made then."""
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    export = tmp_path / "a.jsonl"
    with LedgerReader.open(db) as reader:
        export.write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines(0, seq)))
    for heads, untold in (
        ([], (0, seq - 1)),
        ([kept(db, 50)], (50, seq - 1)),
        ([kept(db, seq)], None),
    ):
        report = verify_export(export, key=KEYS.public, heads=heads)
        assert report.uncovered == untold
        assert any(line.startswith("NOT COVERED") for line in report.not_proved) is bool(untold)


def test_reading_the_last_records_alone_names_what_was_taken_over_before_them(db: Path) -> None:
    """If the record about it can't be decoded, that is all before it."""
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    (found,) = verify_ledger(db, key=KEYS.public, since=seq + 5).recovered
    assert (found.seq, found.first, found.last) == (seq, SIZE, SIZE + 1)
    twice = '{"type":"admin.recovered","type":"admin.recovered"}'
    Forgery(db, Scene(db.parent), None).naively(
        f"UPDATE record SET line = '{twice}' WHERE seq = {seq}"
    )
    (found,) = verify_ledger(db, key=KEYS.public, since=seq + 5).recovered
    assert (found.seq, found.first, found.last) == (seq, 0, seq - 1)


def test_two_heads_are_no_word_for_what_a_recovery_took_over_between_them(db: Path) -> None:
    """They continue each other; the records are named unless the old head covers them."""
    append(Forgery(db, Scene(db.parent), None))
    seq = recovered(db)
    with LedgerReader.open(db) as reader:
        key, size = log_key(reader), reader.size()

        def compared(old: int, new: int) -> list[Range]:
            answer = compare_heads(head_at(db, old), head_at(db, new), reader, key)
            assert answer.relation is HeadRelation.CONSISTENT
            return [(each.first, each.last) for each in answer.recovered]

        assert compared(50, size) == compared(seq + 1, size) == [(SIZE, SIZE + 1)]
        assert compared(SIZE + 1, size) == [(SIZE + 1, SIZE + 1)]
        assert compared(seq, size) == []
        assert compared(50, SIZE) == []


def test_a_log_that_was_begun_by_a_recovery_says_so(db: Path) -> None:
    """It holds none of the old records: a notice, and a reservation for what was lost, whatever
    heads it has itself.
    """
    Forgery(db, Scene(db.parent), None).naively(
        "UPDATE record SET leaf = zeroblob(32) WHERE seq = 9"
    )
    done = recover(db, who=ACTOR, reason="a test", signing=SIGNING, verify=verify_signature)
    assert done.plan.action is Action.RESTART
    for heads in ([], [kept(db, 2)]):
        report = verified(db, *heads)
        assert report.exit_code == 5
        assert [(each.seq, each.lost) for each in report.recovered] == [(1, SIZE - 9)]
        assert any("A recovery began this log" in line for line in report.notices)
        said = [line for line in report.not_proved if line.startswith("RECOVERED")]
        assert [f"at least {SIZE - 9} records were lost" in line for line in said] == [True]
