"""Makes the recorded form of what a reader requested: names, subjects and free text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from guardrail.core.redaction.marks import MARK_PREFIX
from guardrail.core.redaction.plain_names import is_plain_name
from guardrail.keys.tenant_keys import TenantKeys

__all__ = ["SelectedNames", "printable"]

_MAX_TEXT = 500
"""Maximum number of characters recorded for one part of a selector."""
_NO_PRINCIPALS = ("agent", "tool")
"""Kinds of subjects that are always in the clear."""


class SelectedNames:
    """Makes the recorded forms of the names and texts of a read."""

    def __init__(self, tokens: TenantKeys, *, hide_principals: bool) -> None:
        """If *hide_principals* is set, a principal's id is recorded as a token of the access
        log's keys.
        """
        self._tokens = tokens
        self._hide = hide_principals

    def selector(
        self, names: Mapping[str, object], subjects: Collection[str], texts: Mapping[str, object]
    ) -> dict[str, Any]:
        """Return the field ``selector``. *subjects* are the keys of *names* whose value names a
        principal, an agent or a tool.
        """
        found = {
            name: self._subject(value) if name in subjects else self._name(value)
            for name, value in names.items()
        }
        return found | {name: self._text(value) for name, value in texts.items()}

    def text(self, words: str) -> str:
        """Return free text with sensitive values removed, so that it may be recorded."""
        from guardrail.core.redaction.redactor import Redactor
        from guardrail.core.redaction.session_memory import Memory

        memory = Memory()
        redactor = Redactor(token=self._tokens.value_token, mark=self._tokens.mark)
        clean = redactor.text(printable(words), memory)
        return clean if redactor.gate([clean], memory) is None else self._tokens.mark("secret")

    def _subject(self, value: object) -> Any:
        text = str(value)
        kind, colon, id_ = text.partition(":")
        # Whatever is mistyped may be a principal's id.
        if not self._hide or value is None or text == "all" or (colon and kind in _NO_PRINCIPALS):
            return self._name(value)
        shown = "principal:" if colon and kind == "principal" else ""
        if shown and id_.strip().startswith(MARK_PREFIX):
            return self._name(value)
        return shown + self._tokens.token("principal", id_.strip() if shown else text)

    def _name(self, value: object) -> Any:
        """Return the recorded form of a name. Unless the name contains a secret, it is unchanged,
        so that readers of the access log can see it.
        """
        if isinstance(value, bool | int) or value is None:
            return value
        if isinstance(value, list | tuple):
            return [self._name(item) for item in value]
        text = printable(str(value))
        if is_plain_name(text):
            return text
        from guardrail.core.redaction.detectors.scan import scan_secrets
        from guardrail.core.redaction.marks import normalised

        if scan_secrets(normalised(text)):
            return self._tokens.mark("secret")
        return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"

    def _text(self, value: object) -> Any:
        if isinstance(value, bool | int) or value is None:
            return value
        if isinstance(value, list | tuple):
            return [self._text(item) for item in value]
        return self.text(str(value))


def printable(text: str) -> str:
    """Return *text* with everything that is not valid Unicode, such as bytes in a file name,
    escaped.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
