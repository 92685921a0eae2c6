"""Renames rules that have the name of a keyword, ``as.x := 1``, which the embedded engine can't
read.
"""

from __future__ import annotations

import re

from guardrail.policy.rego.rewriting.splices import Splice, spliced
from guardrail.policy.tokens import tokens

__all__ = ["PREFIX", "without_keyword_names"]

PREFIX = "__keyword_"
"""Beginning of the new names. ``reserved_names`` refuses it in the author's text."""
_KEYWORDS = frozenset(
    [
        b"as",
        b"contains",
        b"default",
        b"else",
        b"every",
        b"false",
        b"if",
        b"import",
        b"in",
        b"not",
        b"null",
        b"package",
        b"some",
        b"true",
        b"with",
    ]
)
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*\Z")
_USED = re.compile(rf"\b(?:{b'|'.join(sorted(_KEYWORDS)).decode()})\.[A-Za-z_]")


def without_keyword_names(text: str) -> str:
    """Return *text* with each keyword that is followed by a dot and a name replaced by a name. Only
    a reference can have this form.
    """
    if not _USED.search(text):
        return text
    written = list(tokens(text.encode("utf-8")))
    splices = []
    for index, token in enumerate(written[:-2]):
        dot, name = written[index + 1], written[index + 2]
        if (
            token.written in _KEYWORDS
            and (dot.written, dot.start, name.start) == (b".", token.end, dot.end)
            and _NAME.match(name.written)
            and (not index or written[index - 1].written != b".")
        ):
            splices.append(Splice(token.start, token.end, PREFIX.encode() + token.written))
    return spliced(text, splices)
