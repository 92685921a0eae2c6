"""``doctor`` check: running guards use the settings that are in the file now."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.result import Check, CheckState
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
    in_force: dict[str, tuple[object, object]] = {}
    with LedgerReader.open(path) as reader, reader.snapshot():
        for record in _starts_and_reloads(reader, alive):
            digest = obj(record, "detail").get("config")
            if isinstance(digest, str):
                process = text(record, "origin", "process")
                in_force[process] = (digest, obj(record, "origin").get("pid"))
    now = settings.digest()
    others = sorted({str(pid) for digest, pid in in_force.values() if digest != now})
    if others:
        return Check(
            "running",
            CheckState.NOTE,
            f"process {', '.join(others)} runs with other settings than these",
            "guardrail policy reload shows which settings it applies and which need a restart",
        )
    return Check("running", CheckState.OK, f"{len(in_force)} running with these settings")


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
