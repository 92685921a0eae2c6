"""Opens proved reads of a ledger, for commands that show facts on which decisions depend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.ledger.proved import ProvedReader
    from guardrail.ledger.reader import LedgerReader

__all__ = ["proved_reader"]


def proved_reader(reader: LedgerReader, settings: Settings) -> ProvedReader | None:
    """Return a reader that shows only records covered by the log's signed head, or None if the
    log's keys are missing.
    """
    from guardrail.errors import KeysError
    from guardrail.identity.actor import current_actor
    from guardrail.ledger.proved import Proofs, ProvedReader
    from guardrail.wiring.opening import load_keys

    try:
        keys = load_keys(settings)
    except KeysError:
        return None
    key = reader.genesis.get("key")
    if not isinstance(key, dict) or key.get("public") != keys.public:
        return None  # the keys belong to another log
    signing = keys.signing(actor=current_actor(), epochs=False)
    return ProvedReader(reader, Proofs(signing, reader.log))
