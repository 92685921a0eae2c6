"""``doctor`` check: the key folder has the keys of tokens that the newest records name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from guardrail.config import Settings
from guardrail.core.log.record import decode_or_none
from guardrail.errors import LedgerError
from guardrail.review.doctor.result import TAIL, Check, CheckState
from guardrail.review.values import text

if TYPE_CHECKING:
    from guardrail.keys.log_key import Keys

__all__ = ["lost_token_key"]

_KID = re.compile("[a-z2-7]{8}")
"""Name of a key of tokens."""


def lost_token_key(settings: Settings, keys: Keys) -> Check | None:
    """Return the fault if one of the newest records names a key that the key folder neither has nor
    names as destroyed, otherwise None. Then the folder is a copy from before a rotation: new tokens
    are made with an old key, and ``guardrail find`` misses values.

    If the ledger can't be read, other checks report that.
    """
    from guardrail.ledger.reader import LedgerReader

    secrets = keys.secrets
    known = {epoch.kid for epoch in secrets.epochs} | set(secrets.destroyed)
    try:
        with LedgerReader.open(settings.ledger.path) as reader:
            lines = reader.lines(max(0, reader.size() - TAIL))
            records = (decode_or_none(line) or {} for _, _, line in lines)
            named = {text(each, "redaction", "key") for each in records}
    except LedgerError:
        return None
    lost = sorted(filter(_KID.fullmatch, named - known))
    if not lost:
        return None
    found = f"records name the key {lost[0]}, which is not in {settings.key_path}"
    return Check(
        "keys",
        CheckState.FAIL,
        f"{found}: guardrail find can't find their values",
        "restore the newest backup of the key folder; if the key is lost: guardrail keys rotate",
    )
