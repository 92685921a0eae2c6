"""``doctor`` check: the memory of heads is writable, and agrees with the ledger."""

from __future__ import annotations

import tempfile
from pathlib import Path

from guardrail.anchoring import check_memory, check_missing
from guardrail.anchors.memory import memory_of
from guardrail.config import Settings
from guardrail.errors import AnchorError, KeysError, LedgerOpenError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["memory"]


def memory(settings: Settings) -> Check:
    """Compare the ledger with the head that this machine remembers."""
    found = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    if found is None:
        off = settings.anchors.memory is False
        return Check(
            "memory",
            CheckState.NOTE,
            (
                "off: a lost folder or an older copy of the ledger would not be detected"
                if off
                else "none for a ledger in a temporary directory"
            ),
            "remove [anchors] memory" if off else "",
        )
    try:
        check_missing(settings)
        if settings.ledger.path.exists():
            keys = Keys.load(settings.key_path, signer=settings.keys.signer)
            check_memory(settings, keys.signing(actor={}, epochs=False))
        remembered = found.read()
    except LedgerOpenError as error:
        return Check("memory", CheckState.FAIL, error.message, error.hint)
    except AnchorError as error:
        return Check("memory", CheckState.NOTE, error.message, error.hint)
    except KeysError as error:
        return Check("memory", CheckState.UNKNOWN, error.message, error.hint)
    if not _writable(found.folder):
        return Check(
            "memory",
            CheckState.NOTE,
            f"this user can't write to {found.folder}, so nothing is remembered",
            "run doctor as the user that runs the agents, or set [anchors] memory to a folder of"
            " that user",
        )
    if remembered is None:
        return Check(
            "memory", CheckState.OK, f"nothing yet; a guard stores its heads in {found.folder}"
        )
    return Check("memory", CheckState.OK, f"{remembered.describe()}, in {found.folder}")


def _writable(folder: Path) -> bool:
    """Try to write to *folder* in the same way as a guard, and leave nothing behind. Permissions
    alone do not show whether a write would succeed, especially for root.
    """
    try:
        if folder.is_dir():
            with tempfile.NamedTemporaryFile(dir=folder):
                return True
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryDirectory(dir=folder):
            return True
    except OSError:
        return False
