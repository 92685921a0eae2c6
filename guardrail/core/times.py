"""The format of times in records (RFC 3339)."""

from __future__ import annotations

from datetime import datetime

__all__ = ["record_time"]


def record_time(moment: datetime) -> str:
    """Return *moment*, a time in UTC, in the form used in records: RFC 3339 with microseconds and
    ``Z``.
    """
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
