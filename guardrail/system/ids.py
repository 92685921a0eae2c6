"""Call and session ids: ULIDs, 26 characters, sortable by time."""

from __future__ import annotations

import os
import time

__all__ = ["new_ulid"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


def new_ulid() -> str:
    """Return a new ULID: 48 bits of Unix time in milliseconds and 80 random bits, in Crockford's
    base32.
    """
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
