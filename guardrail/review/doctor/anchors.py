"""``doctor`` check: the configured anchors are usable, and none of them lags behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail.anchors.configured import configured, is_configured
from guardrail.anchors.state import AnchorState, read_state, state_path
from guardrail.config import Settings
from guardrail.core.log.checkpoint import NoteKey
from guardrail.core.words import counted
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["anchors"]

_SLACK = 3
"""Number of intervals without a new head after which an anchor counts as behind."""


def anchors(settings: Settings, *, clock: Callable[[], float] = time.time) -> Check:
    """Check the anchors in *settings* without contacting them. Raises ``GuardrailError`` if they
    are unusable.
    """
    if not is_configured(settings.anchors):
        return Check(
            "anchors",
            CheckState.NOTE,
            "none: a truncated, rolled back or deleted ledger would not be detected",
            "set file or witness in [anchors] (docs/anchors.md)",
        )
    if not settings.ledger.path.exists():
        return Check("anchors", CheckState.NOTE, "configured, but there is no ledger yet")
    with LedgerReader.open(settings.ledger.path) as reader:
        log, size = reader.log, reader.size()
        public = str(reader.genesis.get("key", {}).get("public", ""))
    made = configured(
        settings.anchors,
        ledger=settings.ledger.path,
        key=NoteKey(log, bytes.fromhex(public)),
        verify=verify_signature,
        certificates=_certificates,
    )
    state = read_state(state_path(settings.ledger.path), log)
    return _states_check({each.name: state.of(each.name) for each in made}, settings, size, clock())


def _states_check(
    found: dict[str, AnchorState], settings: Settings, size: int, now: float
) -> Check:
    failing = {name: each for name, each in found.items() if each.code}
    for name, each in failing.items():
        return Check("anchors", CheckState.FAIL, f"{name}: {each.message}", each.hint)
    summary = ", ".join(_describe(name, each, now) for name, each in found.items())
    oldest = max(
        (now - each.behind for each in found.values() if each.behind is not None), default=0.0
    )
    # No record states that anchoring has stopped. A head that is several intervals older than the
    # end of the ledger shows it.
    stale = [
        name
        for name, each in found.items()
        if each.size < size and now - each.time > _SLACK * settings.anchors.interval_s
    ]
    if stale or oldest > _SLACK * settings.anchors.interval_s:
        return Check(
            "anchors",
            CheckState.NOTE,
            f"{summary}; {counted(size, 'record')} now",
            "guardrail anchor (a running guard does this automatically)",
        )
    return Check("anchors", CheckState.OK, f"{summary}; {counted(size, 'record')} now")


def _describe(name: str, each: AnchorState, now: float) -> str:
    if not each.size:
        return f"{name}: nothing yet"
    return f"{name}: {counted(each.size, 'record')}, {max(0.0, now - each.time):,.0f} s ago"


def _certificates(path: Path) -> list[Any]:
    from guardrail.keys.anchor_keys import certificates

    return list(certificates(path))
