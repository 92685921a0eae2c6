"""The form of a key: its words, and whether it looks like a field name."""

from __future__ import annotations

import re

from guardrail.core.redaction.key_names_foreign import folded
from guardrail.core.redaction.marks import normalised

__all__ = ["MAX_NAME", "is_field_name", "words"]

MAX_NAME = 80
"""Maximum number of characters of a key that are read."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPLIT = re.compile(r"[^a-z0-9]+")
_FIELD_NAME = re.compile(r"[A-Za-z_$@][A-Za-z_$\-]{0,39}[0-9]{0,2}\Z")


def is_field_name(name: str) -> bool:
    """Return True if *name* looks like a field name, and not like data."""
    return _FIELD_NAME.match(name) is not None


def words(name: str) -> list[str]:
    """Return the words of a key in lower case. Splits at camel case, hyphens, underscores and
    spaces alike, and removes accents.
    """
    name = name[:MAX_NAME]
    if "\x1b" in name:
        name = normalised(name)
    if not name.isascii():
        name = folded(name)
    return [part for part in _SPLIT.split(_CAMEL.sub("_", name).lower()) if part]
