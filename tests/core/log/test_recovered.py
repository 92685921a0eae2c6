"""What a record about a recovery says of those before it, and what heads from before it leave of
that.
"""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.log.recovered import Loss, Recovered


def said(**detail: Any) -> Recovered:
    return Recovered.of(40, {"ts": "2026-01-01T00:00:00.000000Z", "detail": detail})


def test_a_record_names_what_no_head_vouched_for() -> None:
    """First and last record, and how many were lost behind them."""
    found = said(doubt={"first": 12, "last": 39}, lost=3)
    assert (found.seq, found.first, found.last, found.lost) == (40, 12, 39, 3)
    assert found.ts == "2026-01-01T00:00:00.000000Z"
    assert said(doubt=None, lost=0).beyond([]) is None


@pytest.mark.parametrize(
    "doubt",
    [
        7,
        "12-39",
        {},
        {"first": 12},
        {"first": True, "last": 39},
        {"first": -1, "last": 39},
        {"first": 12, "last": 40},
        {"first": 20, "last": 12},
        {"first": 1.0, "last": 2.0},
    ],
)
def test_what_is_not_said_well_counts_against_all_records_before(doubt: object) -> None:
    """A record that nobody can read must not be the better one."""
    assert (said(doubt=doubt).first, said(doubt=doubt).last) == (0, 39)


def test_records_of_before_that_say_no_range_are_judged_by_their_head() -> None:
    """A head that was wrong vouched for nothing."""
    assert said(head="not that of the records").last == 39
    assert said(head=None).beyond([]) is None
    assert said().beyond([]) is None


@pytest.mark.parametrize("detail", [None, [], "x"])
def test_a_record_without_detail_says_nothing(detail: object) -> None:
    """Nothing was found, as far as it says."""
    assert Recovered.of(40, {"detail": detail}).beyond([]) is None


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([], (12, 39)),
        ([5], (12, 39)),
        ([12], (12, 39)),
        ([20], (20, 39)),
        ([20, 30, 25], (30, 39)),
        ([40], None),
        ([41], (12, 39)),
        ([1000], (12, 39)),
        ([41, 39], (39, 39)),
    ],
)
def test_only_a_head_from_before_the_recovery_covers(
    sizes: list[int], left: tuple[int, int] | None
) -> None:
    """A later one is over what was taken over, and says nothing about who wrote it."""
    found = said(doubt={"first": 12, "last": 39}).beyond(sizes)
    assert (None if found is None else (found.first, found.last)) == left


@pytest.mark.parametrize("lost", [3, True, -1, "3", None])
def test_records_that_were_lost_are_covered_by_no_head(lost: object) -> None:
    """One that was over them would not fit any more."""
    found = said(doubt=None, lost=lost).beyond([40])
    assert (found is not None) == (lost == 3 and lost is not True)


def test_a_log_that_a_recovery_began_holds_none_of_the_records_before() -> None:
    """Its first record behind line 0 says so."""
    detail = {"action": "restart", "lost": 3, "doubt": {"first": 0, "last": 0}}
    found = Recovered.of(1, {"detail": detail})
    assert found.restarted
    assert (found.first, found.last) == (0, -1)
    left = found.beyond([1, 100])
    assert left is not None
    assert (left.first > left.last, left.lost) == (True, 3)
    assert not Recovered.of(2, {"detail": detail}).restarted


@pytest.mark.parametrize(
    ("detail", "loss", "lossy", "text"),
    [
        ({"lost": 0, "loss": "none_known"}, Loss.NONE_KNOWN, False, "no record is known to be"),
        ({"lost": 1, "loss": "none_known"}, Loss.AT_LEAST, True, "at least 1 record was"),
        ({"lost": 3000}, Loss.AT_LEAST, True, "at least 3,000 records were"),
        ({"lost": 0, "loss": "unknown"}, Loss.UNKNOWN, True, "the number of lost records"),
        ({"lost": 0, "loss": 7}, Loss.UNKNOWN, True, "the number of lost records"),
        ({"lost": 0}, Loss.UNKNOWN, True, "the number of lost records"),
    ],
)
def test_a_number_of_lost_records_is_never_exact(
    detail: dict[str, object], loss: Loss, text: str, *, lossy: bool
) -> None:
    """A new log that does not say that none is known may have lost some; one that goes on may too,
    and that is no reservation.
    """
    new = Recovered.of(1, {"detail": {"action": "restart", **detail}})
    assert (new.loss, new.lossy) == (loss, lossy)
    assert new.loss_text.startswith(text)
    assert (new.beyond([1, 2]) is not None) == (new.within(0, 5) is not None) == lossy
    assert new.within(2, 5) is None
    goes_on = said(doubt=None, **detail)
    assert goes_on.lossy == (goes_on.lost > 0)
    assert (goes_on.loss is Loss.UNKNOWN) == (detail.get("loss") == "unknown")


@pytest.mark.parametrize(
    ("begin", "end", "left"),
    [
        (0, 100, (12, 39, 3)),
        (20, 30, (20, 29, 0)),
        (0, 13, (12, 12, 0)),
        (39, 41, (39, 39, 3)),
        (40, 41, (40, 39, 3)),
        (0, 12, None),
        (41, 50, None),
    ],
)
def test_of_a_part_only_its_own_records_are_left(
    begin: int, end: int, left: tuple[int, int, int] | None
) -> None:
    """What was lost stood where the record about it stands."""
    found = said(doubt={"first": 12, "last": 39}, lost=3).within(begin, end)
    assert (None if found is None else (found.first, found.last, found.lost)) == left
