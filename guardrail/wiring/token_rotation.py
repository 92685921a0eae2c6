"""Replaces the key of tokens, and destroys keys that were replaced.

Each step leaves keys that work. A rotation prepares a key (which is live, but not used), records
that it will be used, makes it current, and records that it is current. A key is destroyed after the
record that says so. If a step fails or the process is killed, the same command continues there: a
prepared key is not prepared again, and a missing record is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from guardrail.core.log.record import decode_or_none
from guardrail.core.times import record_time
from guardrail.errors import KeysError
from guardrail.keys.token_file import TokenKeyFile
from guardrail.keys.token_keys import TokenEpoch, TokenSecrets
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.reader import LedgerReader

__all__ = ["DESTROYED", "ROTATED", "Destruction", "KeptKey", "destroy_keys", "rotate_key"]

ROTATED = "token_key_rotated"
DESTROYED = "token_key_destroyed"
_PREPARED, _CURRENT = "prepared", "current"

Admin = Callable[[str, Mapping[str, Any]], object]
"""Writes an ``admin.*`` record durably, from its type and its detail."""


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key that was replaced and is still live."""

    kid: str
    why: str
    """The reason why it was not destroyed."""
    processes: tuple[str, ...] = ()
    """Names of the leases of processes that may still use it."""


@dataclass(frozen=True, slots=True)
class Destruction:
    """The keys that ``destroy_keys`` destroyed, and those that it kept."""

    destroyed: tuple[str, ...]
    kept: tuple[KeptKey, ...]


@dataclass(slots=True)
class _Uses:
    """The facts in a ledger that decide whether a key may be destroyed."""

    named: dict[str, int] = field(default_factory=dict)
    """For each key, the number of the last record that names it."""
    replaced: dict[str, tuple[int, str]] = field(default_factory=dict)
    """For each key, number and time of the last record that states that it was replaced."""
    current: str = ""
    """The key that, according to the last record, is current."""
    starts: dict[str, int] = field(default_factory=dict)
    """For each process, the number of the record of its last start."""


def rotate_key(file: TokenKeyFile, admin: Admin, reason: str | None) -> tuple[str, str]:
    """Make a new key current, and return its name and that of the previous key. Raises
    ``KeysError`` or ``LedgerError``.

    Processes that have the ledger open use the new key for their next sessions. The previous key
    stays live.
    """
    secrets = file.read()
    prepared = secrets.prepared()
    if prepared is not secrets:
        file.replace(prepared)
    fresh = prepared.advanced()
    names = {"token_key": fresh.epoch.kid, "previous": secrets.epoch.kid, "reason": reason}
    admin(ROTATED, {**names, "phase": _PREPARED})
    file.replace(fresh)
    # A process that starts after this record has read the new key.
    admin(ROTATED, {**names, "phase": _CURRENT})
    return fresh.epoch.kid, secrets.epoch.kid


def destroy_keys(
    file: TokenKeyFile,
    reader: LedgerReader,
    admin: Admin,
    reason: str | None,
    *,
    lookup_days: int,
    held: bool,
    now: datetime | None = None,
) -> Destruction:
    """Destroy each key that was replaced and that no record names, or that was replaced more than
    *lookup_days* days ago (0: never for that reason; nor if records are *held* by a legal hold).

    A key is kept if a running process may still use it. Raises ``KeysError`` or ``LedgerError``.
    """
    secrets = file.read()
    # First, because a process that ends while the lines are read may have written a line meanwhile.
    running = _running(reader)
    uses = _uses_of(reader, secrets)
    if uses.current and uses.current not in _names(secrets):
        raise KeysError(
            f"the key folder does not contain the key {uses.current}, which the ledger names as "
            "the current one: the folder is an older copy",
            code="keys.older",
            hint="restore the newest backup of the key folder; if the key is lost, run guardrail "
            "keys rotate first",
        )
    if secrets.replaced and uses.current != secrets.epoch.kid:
        # The process that rotated the key was killed before it wrote this record.
        last = secrets.replaced[-1].kid
        names = {"token_key": secrets.epoch.kid, "previous": last, "reason": reason}
        admin(ROTATED, {**names, "phase": _CURRENT})
        uses = _uses_of(reader, secrets)
    clock = datetime.now(UTC) if now is None else now
    by_age = lookup_days > 0 and not held
    oldest = record_time(clock - timedelta(days=lookup_days)) if by_age else ""
    kept: list[KeptKey] = []
    gone: list[str] = []
    for epoch in secrets.replaced:
        why, processes = _obstacle(secrets, epoch, uses, oldest, running)
        if why:
            kept.append(KeptKey(epoch.kid, why, processes))
            continue
        rule = "lookup_days" if epoch.kid in uses.named else "unnamed"
        admin(DESTROYED, {"token_key": epoch.kid, "rule": rule, "reason": reason})
        secrets = secrets.without(epoch)
        file.destroy(secrets)
        gone.append(epoch.kid)
    return Destruction(tuple(gone), tuple(kept))


def _obstacle(
    secrets: TokenSecrets,
    epoch: TokenEpoch,
    uses: _Uses,
    oldest: str,
    running: tuple[str, ...],
) -> tuple[str, tuple[str, ...]]:
    """Return the reason why the key of *epoch* must be kept, or an empty string, and the processes
    that may use it.
    """
    if not secrets.may_destroy(epoch):
        return "it also protects commitments and heads, because an earlier version made it", ()
    seq, ts = _replacement(secrets, epoch, uses)
    last = uses.named.get(epoch.kid)
    if last is not None and not (oldest and ts and ts < oldest):
        return f"record {last} names it", ()
    # A process that started later has never seen it as the current key.
    users = tuple(name for name in running if uses.starts.get(name, -1) <= seq)
    return ("a running process may still use it", users) if users else ("", ())


def _replacement(secrets: TokenSecrets, epoch: TokenEpoch, uses: _Uses) -> tuple[int, str]:
    """Return number and time of the record that states that *epoch* was replaced.

    If the process that replaced it was killed before it wrote that record, the record of the next
    replacement counts: *epoch* was replaced before it.
    """
    for each in secrets.replaced:
        if each.number >= epoch.number and each.kid in uses.replaced:
            return uses.replaced[each.kid]
    return 0, ""


def _uses_of(reader: LedgerReader, secrets: TokenSecrets) -> _Uses:
    """Read every line. What no record says is thus not taken from a table."""
    uses = _Uses()
    kids = "|".join(re.escape(epoch.kid) for epoch in secrets.replaced) or "(?!)"
    names = re.compile(rf'gr1:[a-z0-9_]+:({kids}):|"key":"({kids})"'.encode())
    latest = ""
    for seq, _, line in reader.lines():
        for match in names.finditer(line):
            uses.named[(match[1] or match[2]).decode()] = seq
        if b'"admin.' not in line:
            continue
        record = decode_or_none(line) or {}
        detail: Any = record.get("detail")
        # If the clock was set back, a key was nevertheless replaced after all earlier records.
        latest = max(latest, str(record.get("ts")))
        if record.get("type") == "admin.start":
            uses.starts[_process(record)] = seq
            continue
        rotated = record.get("type") == f"admin.{ROTATED}" and isinstance(detail, Mapping)
        if rotated and detail.get("phase") == _CURRENT:
            uses.current = str(detail.get("token_key"))
            uses.replaced[str(detail.get("previous"))] = seq, latest
    return uses


def _names(secrets: TokenSecrets) -> set[str]:
    """Return the names of the live and of the destroyed keys."""
    return {epoch.kid for epoch in secrets.epochs} | set(secrets.destroyed)


def _process(record: Mapping[str, Any]) -> str:
    origin = record.get("origin")
    return str(origin.get("process")) if isinstance(origin, Mapping) else ""


def _running(reader: LedgerReader) -> tuple[str, ...]:
    """Return the names of the other processes that have the ledger open, or may have."""
    leases = Leases(leases_path(reader.path))
    ended = {ProcessState.DEAD, ProcessState.OWN}
    return tuple(name for name in leases.processes() if leases.process_state(name) not in ended)
