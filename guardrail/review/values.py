"""Reads single values from a record. A value that is missing or has the wrong type counts as
absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["integer", "moment", "number", "obj", "seconds_between", "text"]

_TS = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,6}"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def obj(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Return the object at *path*, or an empty object."""
    here: Any = value
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def text(value: Mapping[str, Any], *path: str) -> str:
    """Return the string at *path*, or an empty string."""
    here = obj(value, *path[:-1]).get(path[-1])
    return here if isinstance(here, str) else ""


def number(value: Mapping[str, Any], *path: str) -> float | None:
    """Return the number at *path*, or None."""
    here = obj(value, *path[:-1]).get(path[-1])
    return here if isinstance(here, int | float) and not isinstance(here, bool) else None


def integer(value: Mapping[str, Any], *path: str) -> int | None:
    """Return the integer at *path*, or None."""
    here = obj(value, *path[:-1]).get(path[-1])
    return here if isinstance(here, int) and not isinstance(here, bool) else None


def moment(ts: str) -> datetime | None:
    """Return the time of a record's ``ts``, or None if it is malformed."""
    if _TS.fullmatch(ts) is None:
        return None
    try:
        return datetime.fromisoformat(ts)
    except ValueError:
        return None


def seconds_between(start: str, end: str) -> float | None:
    """Return the number of seconds from one record's ``ts`` to another's, which is negative if the
    clock was set back.
    """
    first, last = moment(start), moment(end)
    return None if first is None or last is None else (last - first).total_seconds()
