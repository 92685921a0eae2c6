"""Recognises short names that no detector of secrets reports, without loading the detectors.

Loading the detectors takes longer than everything else that most commands do.
"""

from __future__ import annotations

import re

__all__ = ["is_plain_name"]

# A number, a word of at most four letters followed by numbers ("S-1", "last"), a call id (ULID) or
# a UUID.
_PLAIN = re.compile(
    r"[0-9]{1,15}"
    r"|[A-Za-z]{1,4}(?:[-_]?[0-9]{1,8})?"
    r"|[0-7][0-9A-HJKMNP-TV-Z]{25}"
    r"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
)


def is_plain_name(text: str) -> bool:
    """Return True if the form of *text* alone shows that ``scan_secrets`` finds nothing in it."""
    return _PLAIN.fullmatch(text) is not None
