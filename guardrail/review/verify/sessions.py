"""Checks that the records of each session have one owner, and that each change of settings was
recorded.

A guard checks both before it writes. Verification checks them again, from verified lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.core.claims import Owner, owner_of
from guardrail.core.log.record import MALFORMED
from guardrail.core.redaction.marks import MARK_PREFIX

__all__ = ["Sessions", "Starts"]

_MOST = 200_000
"""Maximum number of sessions compared at the same time. The oldest are forgotten first."""


class Sessions:
    """Takes a log's records in order, and finds sessions with two owners."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._first: dict[bytes, tuple[Owner, int]] = {}
        self._owners: dict[Owner, Owner] = {}
        self.recent: dict[str, tuple[object, ...]] = {}
        """The last owner of sessions that were taken, by session id: tenant, principal id, agent
        id, and issuer or None. Another record with the same values would change nothing. Callers
        may empty it.
        """

    def take(self, record: Mapping[str, Any]) -> str:
        """Take the next verified record. Describe how it contradicts an earlier record, or return
        an empty string.
        """
        try:
            owner = owner_of(record)
            if owner is None or not all(isinstance(part, str) for part in owner):
                return ""
            wrong = self.join(_key(record["session"]), owner, record["seq"])
            if not wrong:
                self.recent[record["session"]] = (*owner[:3], record["principal"].get("issuer"))
            return wrong
        except MALFORMED:
            return ""  # the writer of the record states no owner

    def join(self, session: bytes, owner: Owner, seq: int) -> str:
        """Do the same as ``take``, but identify the session by its key."""
        found = self._first.get(session)
        if found is None:
            if len(self._owners) >= self._most:
                self._owners.clear()
            owner = self._owners.setdefault(owner, owner)  # many sessions have the same few owners
            self._first[session] = (owner, seq)
            if len(self._first) > self._most:
                del self._first[next(iter(self._first))]
                self.recent.clear()
            return ""
        if all(map(_same, owner, found[0])):
            return ""
        return f"the session belongs to a different owner, according to record {found[1]}"

    def __iter__(self) -> Iterator[tuple[bytes, Owner, int]]:
        """Yield the key, the owner and the first record of each session, in the order of these
        records.
        """
        for session, (owner, seq) in self._first.items():
            yield session, owner, seq


def _key(session: str) -> bytes:
    return hashlib.blake2b(session.encode("utf-8", "replace"), digest_size=16).digest()


def _same(one: str, other: str) -> bool:
    """Return True if two recorded values may be the same. A value may be a token in one record and
    clear text in another.
    """
    return one == other or one.startswith(MARK_PREFIX) is not other.startswith(MARK_PREFIX)


class Starts:
    """Takes a log's records in order, and finds starts with changed settings that were not
    recorded.
    """

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None
        self._changed = False

    @staticmethod
    def concerns(record: Mapping[str, Any]) -> bool:
        """Return True if ``take`` would examine this record."""
        return record["type"] in ("admin.start", "admin.config_changed")

    def take(self, record: Mapping[str, Any]) -> str:
        """Take the next verified record. Return the earlier record that it contradicts, or an empty
        string.
        """
        if not self.concerns(record):
            return ""
        if record["type"] == "admin.config_changed":
            self._changed = True
            return ""
        detail = record.get("detail")
        config = detail.get("config") if isinstance(detail, Mapping) else None
        digest = config if isinstance(config, str) else ""
        last, changed = self._last, self._changed
        self._last, self._changed = (digest, record["seq"]), False
        if changed or last is None or last[0] == digest:
            return ""
        return (
            f"a guard started with settings that differ from the start at record {last[1]}, but no "
            "record in between says that they changed"
        )
