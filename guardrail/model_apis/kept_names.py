"""Shortens ids that are stored for later requests, because the upstream or the program chooses
them. Performs no I/O.
"""

from __future__ import annotations

import hashlib

__all__ = ["kept_name"]

_LONGEST = 512
"""Maximum number of characters of an id that is stored unchanged."""


def kept_name(name: str) -> str:
    """Return *name*, or a digest of *name* if it is long. Different names have different
    results.
    """
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256\n{len(name)}\n{digest}"
