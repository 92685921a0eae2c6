"""A redactor with makers of tokens and marks that need no key, for tests."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from typing import Any

from guardrail.core.redaction.limits import UNCUT
from guardrail.core.redaction.normal_forms import NORMAL_FORM, normal_form
from guardrail.core.redaction.redactor import Limits, Redactor, View
from guardrail.core.redaction.session_memory import Memory

_counter = itertools.count()


def _b32(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest[:15]).decode("ascii").lower()


def token(cls: str, value: str) -> str:
    """Return a token, equal for equal values."""
    return f"gr1:{cls}:k1:{_b32(f'{cls}/{normal_form(NORMAL_FORM, cls, value)}')}"


def mark(cls: str) -> str:
    """Return a mark that no other equals."""
    return f"gr1:{cls}:-:{_b32(str(next(_counter)))}"


def redactor(**limits: int) -> Redactor:
    """Return a redactor with these limits."""
    return Redactor(token=token, mark=mark, limits=Limits(**limits))


REDACTOR = redactor()
MEASURED = redactor(string=UNCUT.string, searched=UNCUT.searched)
"""Cuts no string that detectors search. What is cut off is neither found nor changed."""


def view(
    args: Any,
    *redact: str,
    schema: dict[str, Any] | None = None,
    memory: Memory | None = None,
    declared: bool = True,
    by: Redactor = REDACTOR,
) -> View:
    """Return what is recorded of *args*."""
    known = Memory() if memory is None else memory
    return by.inspect(args, schema=schema, declared=declared, memory=known).view(redact)


def is_secret(value: object) -> bool:
    """Return whether *value* is a random mark of class ``secret`` and nothing else."""
    return isinstance(value, str) and re.fullmatch(r"gr1:secret:-:[a-z2-7]{24}", value) is not None
