"""Values of records are read one by one, whatever they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.review.values import moment, seconds_between

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=ZONES), st.sampled_from(["", "Z"]))
def test_every_time_stamp_of_a_record_is_a_time(when: datetime, zone: str) -> None:
    """RFC 3339 with a fraction of a second, in UTC or with an offset."""
    if zone:
        when = when.replace(tzinfo=UTC)
    text = when.isoformat(timespec="microseconds")
    assert moment(text.replace("+00:00", "Z") if zone else text) == when


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("2026-03-01T09:30:00.5Z", 500_000), ("2026-03-01T09:30:00.05Z", 50_000)],
)
def test_a_fraction_has_up_to_six_digits(text: str, microseconds: int) -> None:
    """The digits after the point are a fraction, not a number of microseconds."""
    found = moment(text)
    assert found is not None
    assert found.microsecond == microseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-01",
        "2026-03-01T09:30:00Z",
        "2026-03-01 09:30:00.5Z",
        "2026-03-01T09:30:00.5",
        "2026-03-01T09:30:00.1234567Z",
        "2026-W09-7T09:30:00.5Z",
        "2026-02-30T09:30:00.5Z",
        "2026-03-01T24:30:00.5Z",
        "2026-03-01T09:30:60.5Z",
        "0000-03-01T09:30:00.5Z",
        "2026-03-01T09:30:00.5+25:00",
        "٢٠٢٦-03-01T09:30:00.5Z",
        "2026-03-01T09:30:00.5Z\n",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    """A record may hold anything."""
    assert moment(text) is None
    assert seconds_between(text, "2026-03-01T09:30:00.5Z") is None
