"""``doctor`` check: running guards use the settings now in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.core.times import record_time
from guardrail.errors import KeysError
from guardrail.keys.log_key import Keys
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.result import Check, CheckState, without_doctor
from guardrail.review.terminal import one_line
from guardrail.review.values import obj, text

__all__ = ["running"]


def running(settings: Settings) -> Check:
    """Compare the settings recorded by each running process with the current ones."""
    path = settings.ledger.path
    if not path.exists():
        return Check("running", CheckState.OK, "no guard has run yet")
    leases = Leases(leases_path(path))
    alive = {
        name for name in leases.processes() if leases.process_state(name) is ProcessState.ALIVE
    }
    if not alive:
        return Check("running", CheckState.OK, "no guard is running")
    in_force: dict[str, _InForce] = {}
    with LedgerReader.open(path) as reader, reader.snapshot():
        for record in _starts_and_reloads(reader, alive):
            digest = obj(record, "detail").get("config")
            if isinstance(digest, str):
                process = text(record, "origin", "process")
                in_force[process] = _InForce.parse(record, digest)
    try:
        keys = Keys.load(settings.key_path, signer=settings.keys.signer)
    except KeysError as error:
        return Check(
            "running",
            CheckState.UNKNOWN,
            "the settings of running guards can be compared only with the log's keys: "
            f"{error.message}",
            without_doctor(error.hint),
        )
    now = settings.digest(keys.tenant("default"))
    others = sorted({each.pid for each in in_force.values() if each.digest != now})
    waiting = [each for each in in_force.values() if each.restart]
    changed = _changed(settings)
    stale = sorted({each.pid for each in in_force.values() if each.since < changed})
    if others:
        return Check(
            "running",
            CheckState.NOTE,
            f"process {', '.join(others)} runs with different settings",
            "guardrail policy reload shows which settings it applies and which need a restart",
        )
    if stale:
        return Check(
            "running",
            CheckState.NOTE,
            f"{settings.source} was changed after process {', '.join(stale)} read it; the settings "
            "that govern calls are the same",
            "guardrail policy reload shows which settings it applies and which need a restart",
        )
    if waiting:
        names = sorted({name for each in waiting for name in each.restart})
        return Check(
            "running",
            CheckState.NOTE,
            f"process {', '.join(sorted({each.pid for each in waiting}))} does not use the values "
            f"of {one_line(', '.join(names))} in {settings.source}",
            "restart it",
        )
    return Check("running", CheckState.OK, f"{len(in_force)} running with these settings")


@dataclass(frozen=True, slots=True)
class _InForce:
    """The settings most recently recorded by a running process."""

    digest: str
    pid: str
    since: str
    """The time at which the process read them."""
    restart: tuple[str, ...]
    """Settings in the file that need a restart."""

    @classmethod
    def parse(cls, record: dict[str, Any], digest: str) -> _InForce:
        names = obj(record, "detail").get("restart")
        return cls(
            digest,
            str(obj(record, "origin").get("pid")),
            text(record, "ts"),
            tuple(str(each) for each in names) if isinstance(names, list) else (),
        )


def _changed(settings: Settings) -> str:
    """Return the time at which the settings file was last changed, in the form used in records, or
    an empty string if there is no file.
    """
    try:
        stamp = None if settings.source is None else settings.source.stat().st_mtime
    except OSError:
        stamp = None
    return "" if stamp is None else record_time(datetime.fromtimestamp(stamp, UTC))


def _starts_and_reloads(reader: LedgerReader, alive: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the records that state the settings of the processes *alive*, oldest first."""
    starts = [(seq, decode(line)) for seq, line in reader.admin("admin.start")]
    mine = [(seq, each) for seq, each in starts if text(each, "origin", "process") in alive]
    yield from (each for _, each in mine)
    if not mine:
        return
    # Reloads are not in the index of the records about the log itself.
    for _, _, line in reader.lines(mine[0][0]):
        if b'"admin.policy_loaded"' in line:
            record = decode(line)
            loaded = text(record, "type") == "admin.policy_loaded"
            if loaded and text(record, "origin", "process") in alive:
                yield record
