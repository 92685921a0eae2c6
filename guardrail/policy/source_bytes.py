"""The serialized form of policy modules: the input for the policies' digest, and the content of the
file in which they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["from_bytes", "to_bytes"]

_LONGEST = 12
"""Maximum number of digits of a length."""


def to_bytes(modules: Iterable[tuple[str, str]]) -> bytes:
    """Serialize *modules* (key, text), in order. Each key and each text is written as its length in
    bytes, in decimal digits, then ``:``, then its UTF-8 bytes.
    """
    parts = []
    for module in modules:
        for text in module:
            raw = text.encode("utf-8")
            parts.append(b"%d:" % len(raw) + raw)
    return b"".join(parts)


def from_bytes(content: bytes) -> list[tuple[str, str]]:
    """Return the modules (key, text) in *content*. Raises ``ValueError`` if ``to_bytes`` can't have
    produced *content*.
    """
    texts, at = [], 0
    while at < len(content):
        colon = content.find(b":", at, at + _LONGEST + 1)
        digits = content[at:colon] if colon > at else b""
        if not digits.isdigit() or (digits.startswith(b"0") and digits != b"0"):
            raise ValueError("a length is missing")
        at = colon + 1 + int(digits)
        if at > len(content):
            raise ValueError("a text is truncated")
        texts.append(content[colon + 1 : at].decode("utf-8"))
    if len(texts) % 2:
        raise ValueError("a module has no text")
    return list(zip(texts[::2], texts[1::2], strict=True))
