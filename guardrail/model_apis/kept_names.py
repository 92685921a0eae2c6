"""Shortens the ids that are kept for later requests, because an upstream or a program chooses
them. Performs no I/O.
"""

from __future__ import annotations

import hashlib

__all__ = ["kept_name"]

_LONGEST = 512
"""Maximum number of characters of an id that is kept as it is."""


def kept_name(name: str) -> str:
    """Return *name*, or a digest of it if it is long. Different names have different results."""
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256\n{len(name)}\n{digest}"
