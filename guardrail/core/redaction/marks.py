"""Recognises guardrail's own marks in recorded text, and converts text to the form that detectors
read.

A mark is ``gr1:<class>:<key id>:<24 characters>``: either a token, which is equal for equal values,
or a random mark (key id ``-``). A mark is never redacted again. A caller that writes a mark into an
argument can therefore put 120 bits of its choice into a record.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = [
    "CLASS_NAME",
    "FILLER",
    "KEY_ID",
    "MARK_PREFIX",
    "is_class_name",
    "is_mark",
    "is_mark_key",
    "marks_in",
    "mask_marks",
    "needs_normalising",
    "normalised",
]

MARK_PREFIX = "gr1:"
_ESCAPE = "\x1b"
FILLER = "\x01"
"""Replaces a mark while detectors examine a text. No detector treats it as part of a value."""

CLASS_NAME = r"[a-z][a-z0-9_]{0,31}"
"""Pattern of the name of a class, in marks and in settings."""
KEY_ID = r"[A-Za-z0-9_.~-]{1,32}"
"""Pattern of the key id in a mark; ``-`` in a random mark."""

# A mark ends after its 24 characters, whatever follows: it replaces a value, so a word or another
# mark can follow directly.
_MARK = re.compile(rf"gr1:{CLASS_NAME}:{KEY_ID}:[a-z2-7]{{24}}")
_CLASS = re.compile(CLASS_NAME)
_MARK_KEY = re.compile(_MARK.pattern + r"(?:-[0-9]{1,6})?")
# Format characters (category Cf) and other characters without width, which split a word that
# readers see as one.
_INVISIBLE = re.compile(
    "[\x00\x01\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Control sequences of terminals (ECMA-48), as in coloured logs.
_CONTROLS = re.compile(
    "\x1b\\[[0-9;:?]{0,32}[ -/]{0,4}[@-~]|\x1b\\][^\x07\x1b\x00]{0,256}(?:\x07|\x1b\\\\)|\x1b[@-Z=>]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def is_class_name(text: str) -> bool:
    """Return True if *text* can be the name of a class."""
    return _CLASS.fullmatch(text) is not None


def is_mark(text: str) -> bool:
    """Return True if *text* is exactly one of guardrail's own marks."""
    return text.startswith(MARK_PREFIX) and _MARK.fullmatch(text) is not None


def marks_in(text: str, start: int) -> Iterator[str]:
    """Yield the marks and tokens in *text* that begin at *start* or later."""
    return (match.group() for match in _MARK.finditer(text, start))


def is_mark_key(text: str) -> bool:
    """Return True if *text* is a mark that replaces a key. Such a mark ends with a number if two
    keys of an object would otherwise have the same mark.
    """
    return text.startswith(MARK_PREFIX) and _MARK_KEY.fullmatch(text) is not None


def mask_marks(text: str) -> str:
    """Return *text* with each of guardrail's own marks overwritten; length and positions are
    unchanged.
    """
    return _MARK.sub(lambda match: FILLER * (match.end() - match.start()), text)


def normalised(text: str) -> str:
    """Return *text* in NFKC without invisible characters and control sequences; a lone surrogate
    becomes U+FFFD.
    """
    if _ESCAPE in text:
        text = _CONTROLS.sub("", text)
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return _SURROGATES.sub("\ufffd", _INVISIBLE.sub("", text))


def needs_normalising(text: str) -> bool:
    """Return True if ``normalised`` could change *text*."""
    return not text.isascii() or "\x00" in text or FILLER in text or _ESCAPE in text
