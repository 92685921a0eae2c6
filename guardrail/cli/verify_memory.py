"""Looks up this machine's remembered head of a ledger under verification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.options import settings_for
from guardrail.errors import AnchorError, ConfigError

if TYPE_CHECKING:
    from guardrail.review.verify import OutsideHead, VerifyReport

__all__ = ["headline_end", "memory_way_out", "remembered_heads"]

_SOURCE = "this machine's memory of heads"


def remembered_heads(
    config: Path | None, ledger: Path | None, path: Path, notices: list[str]
) -> list[OutsideHead]:
    """Return the head that this machine remembers of the ledger at *path*, or an empty list. If the
    memory can't be read, append the reason to *notices*.

    If the settings can't be read, the memory at its default location is used.
    """
    from guardrail.anchors.memory import memory_of
    from guardrail.config import AnchorSettings
    from guardrail.keys.log_key import verify_signature
    from guardrail.review.verify import OutsideHead

    try:
        settings = settings_for(config, ledger).anchors
    except ConfigError:
        settings = AnchorSettings()
    memory = memory_of(settings, path, verify_signature)
    try:
        found = None if memory is None else memory.read()
    except AnchorError as error:
        notices.append(f"Not compared: {error.message} ({error.hint}).")
        return []
    if found is None:
        return []
    return [OutsideHead(_SOURCE, found.note, found.head, remembered=found.key.public.hex())]


def headline_end(report: VerifyReport) -> str:
    """Return the end of the headline for a missing or torn ledger whose records a head covers."""
    from guardrail.review.verify.report import Recall

    if report.exit_code != 1:
        return ""
    if report.recall is Recall.CONTRADICTS:
        return ", although this machine remembers records of it"
    return ", although an external head covers records of it"


def memory_way_out(path: Path, report: VerifyReport) -> str:
    """Return the step that resolves a contradiction with the memory if the change was intended, or
    an empty string if there is no contradiction.
    """
    from guardrail.review.verify.report import Recall

    if report.recall is not Recall.CONTRADICTS:
        return ""
    return f"if the ledger was removed or replaced deliberately: guardrail anchor forget {path}"
