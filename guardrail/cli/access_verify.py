"""Verifies the access log of a ledger in the same run as the ledger itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.reading import recorded_in
from guardrail.errors import GuardrailError

if TYPE_CHECKING:
    from guardrail.review.verify import OutsideHead, VerifyReport
    from guardrail.review.verify.report import Progress

__all__ = ["AccessLogVerification", "access_log_verification", "combined_exit_code"]

_RANK = {0: 0, 5: 1, 3: 2, 1: 3}
"""Exit codes, best first."""


class AccessLogVerification:
    """An access log, the heads to compare it with, and the result of its verification."""

    def __init__(self, path: Path, heads: Sequence[OutsideHead]) -> None:
        self.path = path
        self.heads = tuple(heads)
        self.report: VerifyReport
        """The result, set by ``verify``."""

    def verify(self, kept: Sequence[OutsideHead], *, jobs: int, progress: Progress | None) -> None:
        """Verify the access log against the heads from the command line and against *kept*, the
        heads from anchors. Findings never raise an exception.
        """
        from guardrail.review.verify import verify_ledger

        heads = [*self.heads, *kept]
        self.report = verify_ledger(self.path, heads=heads, jobs=jobs, progress=progress)


def access_log_verification(
    ledger: Path, heads: Sequence[OutsideHead]
) -> AccessLogVerification | None:
    """Return the access log that recorded this command, with the *heads* that belong to it. Return
    None if there is no access log, or if *ledger* is itself the access log.
    """
    path = recorded_in()
    if (
        path is None
        or not os.path.exists(path)
        or os.path.realpath(path) == os.path.realpath(ledger)
    ):
        return None
    log = _access_log_name(path)
    return AccessLogVerification(
        path, [each for each in heads if log and each.head and each.head.origin == log]
    )


def _access_log_name(path: Path) -> str:
    """Return the name of the access log at *path*, or an empty string if the file is not an access
    log or can't be read.

    Heads that belong to the ledger must not be compared with a different file, such as the ledger
    itself under the access log's name.
    """
    from guardrail.access_log.log import HOLDS
    from guardrail.review.verify import readable

    try:
        with readable(Path(os.path.realpath(path))) as reader:
            return reader.log if reader.genesis.get("holds") == HOLDS else ""
    except (GuardrailError, OSError):
        return ""


def combined_exit_code(code: int, readers: AccessLogVerification | None) -> int:
    """Return the combined exit code for both results.

    An access log that is not anchored does not affect the ledger's code. Otherwise, the first
    recorded read of an anchored ledger would change the exit code. If the access log can't be
    opened, the code is 5.
    """
    from guardrail.review.verify import VerifyState

    if readers is None or readers.report.exit_code in {0, 5}:
        return code
    other = 5 if readers.report.state is VerifyState.UNREADABLE else readers.report.exit_code
    return max(code, other, key=lambda each: _RANK.get(each, len(_RANK)))
