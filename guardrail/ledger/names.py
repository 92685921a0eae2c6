"""Whose a session is: the record that says it, as the index finds it."""

from __future__ import annotations

from guardrail.core.claims import TYPES

__all__ = ["FIRST"]

FIRST = (
    "SELECT seq, CAST(line AS BLOB) FROM record WHERE session = ? "  # noqa: S608 - constants
    f"AND type IN ({', '.join(repr(each) for each in TYPES)}) "
    "AND NOT (cause IS 'identity' AND json_extract(line, '$.decision.detail') IS 'session') "
    "ORDER BY seq LIMIT 1"
)
"""Finds the first record that says whose a session is."""
