"""Finds secrets after a label that stands alone: in Markdown, in a cell, or in the line above."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.key_names_foreign import ends_phrase
from guardrail.core.redaction.spans import Hit

__all__ = ["labels"]

# The label begins a line or a cell, and the value ends one: **Password:** X, | Password | X |,
# "Password - X", or "Password:" with X in the next line or in the line after it.
_LABEL = re.compile(
    r"(?:^|(?<=[\n|\x00]))[ \t>#|*_`\-+]{0,8}(?P<n>[^\W\d_][\w \t\-/]{2,40}?)(?:[ \t](?:is|ist|lautet|es|est|is))?"
    r"(?:(?P<bold>[ \t]{0,2}(?:[*_`]{1,3}[ \t]{0,2}:|:[ \t]{0,2}[*_`]{1,3})[ \t]{1,4})"
    r"|[ \t]{1,4}(?:[\u2192\u21d2\u2013\u2014|\-]|[\-=]>)[ \t]{1,4}"
    r"|[*_`]{0,3}[ \t]{0,4}:[*_`]{0,3}[ \t]{0,4}\r?\n(?:[ \t]{0,4}\r?\n)?[ \t>*\-]{0,8}"
    r"|[ \t]{0,4}\r?\n[=\-]{3,40}[ \t]{0,4}\r?\n)"
    r"[`*\"']{0,3}(?P<v>[^\s`|\"'\x00\x01]{4,128})[`*\"']{0,3}[ \t]{0,4}(?=[\r\n|\x00]|\Z)"
)
# The next field, or the type of a column.
_FIELD = re.compile(r"[\w.\-]+[:=(]")
_SIGN = re.compile(r"[0-9!@#$%^&*+]")
_SYMBOL = re.compile(r"[!@#$%^&*+;(){}\[\]<>~?]")
_MIXED = re.compile(r"(?=[^\x00]*[0-9])[^\x00]*[A-Za-z]")
# Letters and digits that alternate, which does not happen in names with a number.
_RANDOM = re.compile(r"(?:[A-Za-z]+[0-9]+){2}|(?:[0-9]+[A-Za-z]+){2}")


def labels(text: str) -> Iterator[Hit]:
    """Yield the secrets with such a label in *text*."""
    for match in _LABEL.finditer(text):
        value = match.group("v").rstrip("*")
        if (
            not _is_likely(value, bold=match.group("bold") is not None)
            or "://" in value
            or is_reference(value)
            or _FIELD.match(value)
        ):
            continue
        name = match.group("n").strip()
        if classify(name).cls == "secret" or ends_phrase(
            text, match.start("n") + name.rfind(" ") + 1, name.rpartition(" ")[2]
        ):
            yield Hit(match.start("v"), match.start("v") + len(value), "secret", "label")


def _is_likely(value: str, *, bold: bool) -> bool:
    """Return True if *value* can be a secret. After a label in bold, a digit or a sign is enough. In
    the other forms, a name can be the title of anything.
    """
    if bold:
        return _SIGN.search(value) is not None
    if _MIXED.match(value) is None:
        return False
    return _SYMBOL.search(value) is not None or (
        len(value) >= 8 and _RANDOM.search(value) is not None
    )
