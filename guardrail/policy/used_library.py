"""Finds the modules of guardrail's library that policies use, so that a guard loads no others.

The answer may contain a module that is never called, but never lacks one that is: a call of a
missing function would be refused, and a missing rule would be undefined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["used_names"]

_NAME = re.compile(r"\blib\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)")
_COMPUTED = re.compile(r"\bdata\s*\[|\bguardrail\b[\"`]?\s*\[|\blib\b(?!\s*\.\s*[A-Za-z_])")
"""References that may reach a module without its name after ``lib.``."""


def used_names(library: Mapping[str, str], texts: Iterable[str]) -> frozenset[str]:
    """Return the names in *library*, which maps the name of each module to its text, that *texts*
    use, and those that these modules use in turn. Names in comments count, too.
    """
    used: set[str] = set()
    waiting = [*texts]
    while waiting:
        text = waiting.pop()
        if _COMPUTED.search(text):
            return frozenset(library)
        new = (library.keys() & set(_NAME.findall(text))) - used
        used |= new
        waiting += [library[name] for name in sorted(new)]
    return frozenset(used)
