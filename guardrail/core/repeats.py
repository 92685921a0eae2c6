"""Recognises repeated calls by the ids that the framework assigns to them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["Repeat", "names_of"]


class Repeat(StrEnum):
    """The state of the earlier call. Also used as the detail of the ``duplicate`` cause."""

    SUCCEEDED = "succeeded"
    """The call ran, and succeeded or at least returned."""
    RUNNING = "running"
    """The call was allowed, and has no outcome yet."""


def names_of(record: Mapping[str, Any]) -> list[str]:
    """Return the names that identify the call of *record*: its framework's id within its session,
    and within its thread. The list is empty if the call has no such id.
    """
    origin = record.get("origin")
    if not isinstance(origin, Mapping) or not isinstance(origin.get("call_id"), str):
        return []
    scopes = (("session", record.get("session")), ("thread", origin.get("thread")))
    return [
        repr((kind, record.get("tenant"), scope, origin["call_id"]))
        for kind, scope in scopes
        if isinstance(scope, str)
    ]
