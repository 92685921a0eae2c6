"""Keeps the sources of loaded policies next to the ledger (``guardrail.ledger.kept_policies``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.config import Settings
from guardrail.ledger.kept_policies import KeptPolicies, PolicyHold, SourceKind
from guardrail.policy.kept_sources import data_bytes, module_bytes

if TYPE_CHECKING:
    from guardrail.policy.engine import LoadedEngine

__all__ = ["keep_sources"]


def keep_sources(settings: Settings, engine: LoadedEngine) -> PolicyHold:
    """Keep the sources of the policies that *engine* evaluates. They are durable when this returns.

    The returned hold protects them from deletion. Nothing is kept if records don't identify the
    policies by digest, or if this machine does not have the policies. Raises ``LedgerError``.
    """
    sources = engine.sources
    if sources is None or engine.identity.digest != sources.digest:
        return PolicyHold()
    files = {SourceKind.MODULES: module_bytes(sources)}
    if settings.policy.keep_data and engine.identity.data in (None, sources.data_digest):
        files[SourceKind.DATA] = data_bytes(sources)
    return KeptPolicies(settings.ledger.path).keep(files)
