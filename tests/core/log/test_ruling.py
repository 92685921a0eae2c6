"""A head that was kept is compared with the log that there is now."""

from __future__ import annotations

import pytest

from guardrail.core.log.checkpoint import Checkpoint
from guardrail.core.log.ruling import Ruling, rule

LOG = "guardrail/test"


@pytest.mark.parametrize(
    ("log", "head", "size", "fits", "signed", "ruling"),
    [
        ("guardrail/other", 2, 3, True, True, Ruling.REPLACED),
        (LOG, 4, 3, True, True, Ruling.TRUNCATED),
        ("", 4, 3, True, True, Ruling.TRUNCATED),
        (LOG, 0, 3, True, True, Ruling.EMPTY),
        (LOG, 2, 3, None, True, Ruling.EMPTY),
        (LOG, 2, 3, False, True, Ruling.FORKED),
        (LOG, 2, 3, False, False, Ruling.FORKED),
        (LOG, 3, 3, True, True, Ruling.COVERED),
        (LOG, 3, 3, True, False, Ruling.KEY_UNKNOWN),
    ],
)
def test_a_head_covers_a_log_or_contradicts_it(
    log: str, head: int, size: int, fits: bool | None, signed: bool, ruling: Ruling
) -> None:
    """If the log contradicts it, its signer does not matter."""
    kept = Checkpoint(LOG, head, bytes(32))
    found = rule(kept, log=log, size=size, fits=lambda _: fits, signed=lambda: signed)
    assert found is ruling
