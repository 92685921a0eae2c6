"""The chain, without any disk."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.log.chain import Chain, Difference, Head, Report, verify
from guardrail.core.log.record import GENESIS_PREV, Draft, leaf_hash

Row = tuple[int, bytes, bytes]


def build(count: int = 8, log: str = "l") -> list[Row]:
    """Return a log of *count* lines: genesis, then calls, each with its outcome."""
    rows: list[Row] = []
    prev = GENESIS_PREV
    for seq in range(count):
        number, outcome = divmod(seq - 1, 2)
        fields: dict[str, object] = {"v": 1, "log": log, "type": "genesis"}
        if not seq:
            fields.update(
                profile="sha256-json-lines/1", key={"type": "ed25519", "public": "ab" * 32}
            )
        else:
            fields["call"] = f"c{number}"
            fields["type"] = "call.outcome" if outcome else "call.decision"
            if outcome:
                fields.update(decision_seq=seq - 1, status="ok")
            else:
                fields.update(decision={"effect": "allow"})
        line = Draft.build(fields).finish(
            seq=seq, prev=prev, ts=f"2026-01-01T00:00:{seq:02}.000000Z"
        )
        rows.append((seq, leaf_hash(line), line))
        prev = rows[-1][1].hex()
    return rows


def rechain(rows: list[Row], change: Callable[[int, dict[str, object]], None]) -> list[Row]:
    """Return *rows* changed by someone who recomputes all hashes."""
    out: list[Row] = []
    prev = GENESIS_PREV
    for place, (seq, _, line) in enumerate(rows):
        record = json.loads(line)
        record["prev"] = prev
        change(place, record)
        text = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        out.append((seq, leaf_hash(text), text))
        prev = out[-1][1].hex()
    return out


def found(report: Report) -> tuple[int | None, Difference | None]:
    return report.first_bad, report.differs


def test_an_intact_log_has_no_bad_record() -> None:
    """Every line counts, and the last one's leaf is the head's."""
    rows = build()
    report = verify(rows)
    assert found(report) == (None, None)
    assert (report.records, report.last_seq, report.log) == (8, 7, "l")
    assert report.leaf == rows[-1][1]
    assert dict(report.open_calls) == {"c3": 7}


def test_an_empty_log_has_no_records() -> None:
    """Nothing is proved about nothing."""
    report = verify([])
    assert (report.records, report.last_seq, report.log) == (0, -1, "")


@given(place=st.integers(0, 7), data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_is_found_at_its_record(place: int, data: st.DataObject) -> None:
    """Whatever byte of whatever line changes, its own record is named first."""
    rows = build()
    seq, leaf, line = rows[place]
    at = data.draw(st.integers(0, len(line) - 1))
    flip = data.draw(st.integers(1, 255))
    rows[place] = (seq, leaf, line[:at] + bytes([line[at] ^ flip]) + line[at + 1 :])
    assert found(verify(rows)) == (place, Difference.LEAF)


def test_a_changed_leaf_is_found_at_its_record() -> None:
    """The stored hash is compared with the line, not believed."""
    rows = build()
    rows[3] = (3, bytes(32), rows[3][2])
    assert found(verify(rows)) == (3, Difference.LEAF)


def test_an_edit_with_its_own_hash_breaks_the_next_link() -> None:
    """Recomputing one leaf is not enough."""
    rows = build()
    line = rows[3][2].replace(b'"allow"', b'"deny!"')
    rows[3] = (3, leaf_hash(line), line)
    assert found(verify(rows)) == (4, Difference.PREV)


@pytest.mark.parametrize("place", range(1, 7))
def test_a_deleted_record_is_found(place: int) -> None:
    """What comes after it is out of order; renumbered, its link is broken."""
    rows = build()
    del rows[place]
    assert found(verify(rows)) == (place, Difference.SEQUENCE)
    renumbered = [(seq, leaf, line) for seq, (_, leaf, line) in enumerate(rows)]
    assert found(verify(renumbered)) == (place, Difference.NUMBER)


def test_an_inserted_record_is_found() -> None:
    """One that was there before, put in again elsewhere, stands at the wrong place."""
    rows = build()
    rows.insert(4, rows[2])
    assert found(verify(rows)) == (4, Difference.SEQUENCE)


def test_records_in_another_order_are_found() -> None:
    """Two that changed places are named at the first of them."""
    rows = build()
    rows[3], rows[4] = rows[4], rows[3]
    assert found(verify(rows)) == (3, Difference.SEQUENCE)


def test_a_record_of_another_log_is_found() -> None:
    """Even where its hashes were recomputed."""

    def change(place: int, record: dict[str, object]) -> None:
        if place == 5:
            record["log"] = "m"

    assert found(verify(rechain(build(), change))) == (5, Difference.LOG)


@pytest.mark.parametrize(
    ("place", "field", "value", "differs"),
    [
        (0, "type", "admin.start", Difference.GENESIS),
        (4, "type", "genesis", Difference.GENESIS),
        (4, "v", 2, Difference.VERSION),
        (4, "v", None, Difference.VERSION),
        (4, "v", 1.0, Difference.VERSION),
        (4, "v", True, Difference.VERSION),
        (4, "seq", 4.0, Difference.NUMBER),
        (4, "ts", None, Difference.LINE),
        (4, "ts", "2026-01-01T00:00:04Z", Difference.LINE),
        (4, "decision_seq", 3.0, Difference.CALL),
        (3, "call", ["c"], Difference.CALL),
        (3, "decision", "allow", Difference.CALL),
        (3, "decision", {"effect": None}, Difference.CALL),
        (4, "seq", 5, Difference.NUMBER),
        (1, "seq", True, Difference.NUMBER),
        (4, "seq", "4", Difference.NUMBER),
        (4, "log", None, Difference.LINE),
        (4, "type", 7, Difference.LINE),
        (4, "call", "c9", Difference.CALL),
        (4, "decision_seq", 1, Difference.CALL),
        (4, "call", None, Difference.CALL),
        (0, "prev", "1" * 64, Difference.PREV),
    ],
)
def test_a_wrong_field_is_found_although_hashes_were_recomputed(
    place: int, field: str, value: object, differs: Difference
) -> None:
    """What a line says about itself must agree with its place."""

    def change(at: int, record: dict[str, object]) -> None:
        if at == place:
            record[field] = value

    assert found(verify(rechain(build(), change))) == (place, differs)


def test_a_second_decision_about_an_open_call_is_found() -> None:
    """One call, one decision."""

    def change(place: int, record: dict[str, object]) -> None:
        if place == 3:
            record["call"] = "c0"
        if place == 2:
            record["type"] = "admin.start"

    assert found(verify(rechain(build(), change))) == (3, Difference.CALL)


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"null", b"{", b"{}\n{}", b'{"a":1}\r', b"\xff", b"{" + b" " * 70_000 + b"}"],
)
def test_bytes_that_are_no_record_are_found(line: bytes) -> None:
    """Not JSON, not an object, several lines, too long."""
    assert found(verify([(0, leaf_hash(line), line)])) == (0, Difference.LINE)


def test_an_export_without_hashes_is_verified_by_its_links() -> None:
    """An edited line shows in the link of the one after it."""
    rows: list[tuple[int, bytes | None, bytes]] = [(seq, None, line) for seq, _, line in build()]
    assert found(verify(rows)) == (None, None)
    rows[3] = (3, None, rows[3][2].replace(b'"allow"', b'"deny!"'))
    assert found(verify(rows)) == (4, Difference.PREV)


def test_verification_can_begin_behind_a_known_head() -> None:
    """From there on everything is verified, and calls that were open before may end."""
    rows = build()
    head = Head("l", 4, rows[3][1])
    assert found(verify(rows[4:], after=head)) == (None, None)
    assert found(verify(rows[4:], after=Head("l", 4, bytes(32)))) == (4, Difference.PREV)
    assert found(verify(rows[4:], after=Head("m", 4, rows[3][1]))) == (4, Difference.LOG)


@pytest.mark.parametrize(("named", "first_bad"), [(3, None), (4, 6), (5, 6)])
def test_behind_a_known_head_only_calls_from_before_may_end_unseen(
    named: int, first_bad: int | None
) -> None:
    """An outcome of a decision that should have been seen, and was not, is found there as well."""

    def change(place: int, record: dict[str, object]) -> None:
        if place == 6:
            record["call"], record["decision_seq"] = "c9", named

    rows = rechain(build(), change)
    assert verify(rows[4:], after=Head("l", 4, rows[3][1])).first_bad == first_bad


def test_time_that_goes_back_is_only_noticed() -> None:
    """Clocks do that."""

    def change(place: int, record: dict[str, object]) -> None:
        if place in (3, 6):
            record["ts"] = "2025-01-01T00:00:00.000000Z"

    report = verify(rechain(build(), change))
    assert report.first_bad is None
    assert (report.backwards, report.first_backwards) == (2, 3)


def test_nothing_is_taken_after_the_first_bad_record() -> None:
    """The report stays with what was found first."""
    rows = build()
    chain = Chain()
    assert chain.take(*rows[0]) is not None
    chain.reject(0, Difference.ROWS, "wrong")
    assert chain.take(*rows[1]) is None
    chain.reject(1, Difference.INDEX, "wrong too")
    assert found(chain.report()) == (0, Difference.ROWS)
    assert chain.report().records == 0
