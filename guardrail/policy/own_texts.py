"""Recognises texts that a policy contains in its source or its data, as opposed to texts that it
builds from the input.
"""

from __future__ import annotations

import json
import threading

from guardrail.policy.sources import PolicySet, installed_modules
from guardrail.policy.tokens import string_value, tokens

__all__ = ["OwnTexts"]


class OwnTexts:
    """The texts that policies contain. Thread-safe. The sources are read at the first query."""

    def __init__(self, policies: PolicySet | None) -> None:
        """If *policies* is None, because only an OPA server has them, only the texts of guardrail's
        own modules are known.
        """
        self._policies = policies
        self._lock = threading.Lock()
        self._literals: frozenset[str] | None = None

    def in_source(self, text: str) -> bool:
        """Return True if *text* is exactly one string in the source of a module."""
        literals = self._literals
        if literals is None:
            with self._lock:
                literals = self._literals = frozenset(_literals(self._policies))
        return text in literals

    def in_data(self, text: str) -> bool:
        """Return True if *text* is exactly one string in the data, or a key."""
        if self._policies is None:
            return False
        return json.dumps(text, ensure_ascii=False) in self._policies.data


def _literals(policies: PolicySet | None) -> set[str]:
    found: set[str] = set()
    for source in installed_modules() if policies is None else policies.modules:
        for token in tokens(source.text.encode("utf-8", "surrogatepass")):
            text = string_value(token.written.decode("utf-8", "surrogatepass"))
            if text is not None:
                found.add(text)
    return found
