"""Finds secrets that stand beside their name, with something other than an equals sign or a colon
between the two: in calls, in macros, in settings, and in sentences.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from guardrail.core.redaction.expressions import is_name, is_reference
from guardrail.core.redaction.key_forms import MAX_NAME, words
from guardrail.core.redaction.key_names import KeyInfo, classify
from guardrail.core.redaction.spans import Hit

__all__ = ["name_info", "neighbours"]

_KEYWORD = re.compile(r"pass|pwd|secret|token|key|auth|cred|pin|otp")
_LEFT = re.compile(r"[\w.\-]{0,60}")
_RIGHT = re.compile(r"[\w\-]{0,40}")
_WORD_LEFT = re.compile(r" ([a-zA-Z]{2,16})(?![\w\-.])")
_LITERAL = r"(?P<q>\\?[\"'`])(?P<v>[^\"'`\s\\\x00\x01]{4,256})(?P=q)"
# After a name: setPassword("x"), set(DB_PASSWORD "x"), String("token", "x"), #define PWD "x", secret <- "x"
_BESIDE = re.compile(
    rf"(?:\\?[\"'`])?(?:[ \t]{{0,4}}(?:\(|,|<-)[ \t]{{0,4}}@?|[ \t]{{1,8}}){_LITERAL}"
)
# After an option: --vault-token x, -encryptionKey x
_OPTION = re.compile(r"[ \t]{1,4}[\"']?(?P<v>[^\s\"'`\-$<{%|&;>\x00\x01][^\s\"'`\x00\x01]{3,255})")
# A name and a value alone on a line.
_LINE = re.compile(
    r"[ \t]{1,16}(?P<v>[^\s\"'=:,;(\x00\x01][^\s\"'\x00\x01]{4,255})[ \t\r]{0,8}(?=[\n\x00]|\Z)"
)
_SENTENCE = re.compile(
    r"[ \t]{1,2}(?:is|was|are|=>|->)[ \t]{1,2}[\"'`]?(?P<v>[^\s\"'`,;\x00\x01]{6,256})"
)
_BRACKETED = re.compile(r" ?[=:] ?\[(?P<v>[^\s\[\]\"',\x00\x01]{5,256})\]")
_VERBS = frozenset(
    {"get", "has", "is", "find", "validate", "check", "parse", "reset", "verify", "decode", "hash", "compare", "forgot", "change", "update", "delete", "remove", "revoke", "require", "test", "mock"}
)  # fmt: skip
_SYMBOL = re.compile(r"[0-9!@#$%^&*+=~]")
_MIXED = re.compile(r"[a-z][A-Z]")


def neighbours(text: str, low: str, present: Collection[str]) -> Iterator[Hit]:
    """Yield the secrets beside a name that means a secret. *low* is *text* in lower case, and
    *present* lists the keywords that it contains.
    """
    end = 0
    for keyword in _KEYWORD.finditer(low) if present else ():
        if keyword.start() < end:
            continue
        back = _LEFT.match(text[max(0, keyword.start() - 60) : keyword.start()][::-1])
        start = keyword.start() - (0 if back is None else back.end())
        rest = _RIGHT.match(text, keyword.end())
        end = keyword.end() if rest is None else rest.end()
        name = text[start:end]
        if len(name) <= MAX_NAME and _follows(text, start, end):
            found = _beside(text, start, end, name)
            if found is not None:
                yield Hit(*found.span("v"), "secret", "neighbour")
                end = found.end("v")


def _follows(text: str, start: int, end: int) -> bool:
    """Return True if what follows a name could be one of the forms below. Nearly always, it is an
    equals sign, a colon or the end.
    """
    return text[end : end + 1] in _BETWEEN and start < end


_BETWEEN = frozenset(" \t(,<\"'`\\=:[")


def _beside(text: str, start: int, end: int, name: str) -> re.Match[str] | None:
    """Return the match of the value beside *name*, or None if there is no secret."""
    plain = name.lstrip("-")
    if not _names_secret(plain):
        # "The auth token is x"
        word = _WORD_LEFT.match(text[max(0, start - 18) : start][::-1])
        if word is None or not _names_secret(f"{word.group(1)[::-1]} {plain}"):
            return None
    found = _BESIDE.match(text, end)
    if found is not None and _is_literal(found.group("v")):
        return found
    if name[0] == "-" and text[start - 1 : start] in _BEFORE_OPTION:
        found = _OPTION.match(text, end)
        if found is not None and not is_reference(found.group("v")):
            return found
    if _is_compound(plain) and _starts_line(text, start):
        found = _LINE.match(text, end)
        if found is not None and _looks_chosen(found.group("v")):
            return found
    for pattern in (_SENTENCE, _BRACKETED):
        found = pattern.match(text, end)
        if found is not None and _looks_chosen(found.group("v").rstrip(".)!?")):
            return found
    return None


_BEFORE_OPTION = frozenset(" \t\n\x00\"'[,") | {""}


def _is_compound(name: str) -> bool:
    return any(sign in name for sign in "_-.")


def _starts_line(text: str, start: int) -> bool:
    line = text[max(0, start - 16) : start].rstrip(" \t")
    return not line or line[-1] in "\n\x00"


@lru_cache(maxsize=2048)
def _names_secret(name: str) -> bool:
    parts = words(name)
    return bool(parts) and parts[0] not in _VERBS and classify(name).cls == "secret"


def _is_literal(value: str) -> bool:
    """Return True if a quoted word can be a secret: not a word, a name of a field or a reference."""
    if (value.isalpha() and not _MIXED.search(value)) or is_reference(value) or is_name(value):
        return False
    return _looks_chosen(value) or "-" in value


def _looks_chosen(value: str) -> bool:
    """Return True if *value* has a digit, a symbol, mixed case, or consists of several words."""
    if not value or is_reference(value) or value[-1] in "(;{" or "://" in value:
        return False
    chosen = _SYMBOL.search(value) or _MIXED.search(value)
    return (chosen is not None and "(" not in value) or value.count("-") > 1


_PARTIAL = frozenset({"string", "String", "str", "key", "keys", "Key", "code"})
_LONG_VALUE = re.compile(r"[=:][ \t]{0,4}[\"'`]?[^\s\"'`]{8}")
_TYPES = frozenset({"string", "String", "str"})
_WORD_BACK = re.compile(r"[ \t]{1,4}([\w\-]{2,40})")


def name_info(text: str, start: int, name: str, at: int) -> KeyInfo:
    """Return the classification of *name*, or of the two words that end with it: ``secret key:``, or
    ``var storageKey string =``. The separator is at *at*.
    """
    info = classify(name)
    if info.cls is not None or name not in _PARTIAL or _LONG_VALUE.match(text, at) is None:
        return info
    back = _WORD_BACK.match(text[max(0, start - 44) : start][::-1])
    if back is None:
        return info
    first = back.group(1)[::-1]
    return classify(first if name in _TYPES else f"{first} {name}")
