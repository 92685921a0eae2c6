"""The check of ``doctor`` that running guards use the current settings in the file."""

from __future__ import annotations

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, Life
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.result import Check, State
from guardrail.review.records import obj, text

__all__ = ["running"]


def running(settings: Settings) -> Check:
    """Compare the settings that each living process recorded with the current ones."""
    path = settings.ledger.path
    if not path.exists():
        return Check("running", State.OK, "no guard has run yet")
    leases = Leases(leases_path(path))
    alive = {name for name in leases.names() if leases.life(name) is Life.ALIVE}
    if not alive:
        return Check("running", State.OK, "no guard is running")
    in_force: dict[str, tuple[object, object]] = {}
    with LedgerReader.open(path) as reader, reader.snapshot():
        found = [*reader.admin("admin.start"), *reader.admin("admin.policy_loaded")]
    for _, line in sorted(found):
        record = decode(line)
        process = text(record, "origin", "process")
        digest = obj(record, "detail").get("config")
        if process in alive and isinstance(digest, str):
            in_force[process] = (digest, obj(record, "origin").get("pid"))
    now = settings.digest()
    others = sorted({str(pid) for digest, pid in in_force.values() if digest != now})
    if others:
        return Check(
            "running",
            State.NOTE,
            f"process {', '.join(others)} runs with other settings than these",
            "guardrail policy reload says which of them it applies and which need a restart",
        )
    return Check("running", State.OK, f"{len(in_force)} running with these settings")
