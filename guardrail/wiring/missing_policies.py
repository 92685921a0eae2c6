"""Suggests the next step if the policies do not exist."""

from __future__ import annotations

from guardrail.config import Settings

__all__ = ["RESTORE", "way_to_policies"]

RESTORE = (
    "restore guardrail.toml and policies/ from version control or a backup; or run guardrail init "
    "OTHER_FOLDER and copy both from there"
)
"""The next step in a project with a ledger but without settings, in which ``init`` refuses to run.
"""


def way_to_policies(settings: Settings) -> str:
    """Return the next step if the policies in *settings* do not exist."""
    if settings.source is not None:
        return "put policies in that folder, or correct path in [policy]"
    if settings.policy.path != Settings().policy.path:
        return "correct the path, or put policies there"
    if settings.ledger.path.exists() or settings.key_path.exists():
        return RESTORE
    return "guardrail init"
