"""Finds values in XML and HTML: the content of elements, attributes, and values next to the
attribute or element that names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from guardrail.core.redaction.detectors.named import looks_secret
from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.key_names import Scope, classify
from guardrail.core.redaction.key_roles import OF_OWNER, Role
from guardrail.core.redaction.roles import mark_of_role
from guardrail.core.redaction.spans import JOINT, Hit

__all__ = ["markup"]


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TAG = re.compile(
    r"<(?P<n>[^\W\d][\w.\-]{0,63}(?::[\w.\-]{1,63})?)"
    r"(?P<a>(?:[^<>\"'\x00\x01]++|\"[^\"\x00\x01]{0,1024}\"|'[^'\x00\x01]{0,1024}'){0,64})>"
)
_ATTRIBUTE = re.compile(
    r"(?P<k>[\w.\-:]{1,64})\s{0,4}=\s{0,4}"
    r"(?:\\\"(?P<c>[^\"\\\x00]*)\\\"|\\'(?P<d>[^'\\\x00]*)\\'|\"(?P<two>[^\"\x00]*)\"|'(?P<one>[^'\x00]*)'|(?P<bare>[^\s\"'=<>`\\]+))"
)
_NAMING = _word_set(
    "name key k n id property field parameter param option variable setting header attribute"
)
_VALUES = _word_set("value val v content default text data initial-value defaultvalue")
_HOLDERS = _word_set("value val v string data content default integer text secret")
_CALLED = _word_set("name key n param-name parameter-name property field")
# The content of these elements is shown to a reader, whatever the element is called.
_SHOWN = _word_set(
    "a abbr address article aside b body button caption cite code dd details div dl dt em fieldset figure footer form h1 h2 h3 h4 h5 h6 head header html i img label legend li "
    "link main meta nav ol optgroup p pre script section select small span strong style sub summary sup svg table tbody td tfoot th thead time title tr u ul video"
)
_SCHEMA = frozenset({"xs", "xsd", "xsl", "wsdl"})
_PLACEHOLDERS = frozenset(
    {"true", "false", "null", "none", "nil", "string", "required", "optional"}
)
_CDATA = "<![CDATA["
_FAR = 4_096


class _NameHint(NamedTuple):
    cls: str | None
    hints: bool
    role: Role | None = None


_NOTHING = _NameHint(None, hints=False)
_SECRET = _NameHint("secret", hints=False)


@lru_cache(maxsize=1024)
def _hint_of_name(name: str) -> _NameHint:
    """Return the hint that *name* gives about a value, or ``_NOTHING`` if *name* gives none."""
    info = classify(name)
    if (
        info.cls is None
        and info.role is not None
        and info.role.words >= 0
        and info.role != OF_OWNER
    ):
        return _NameHint(None, hints=False, role=info.role)
    if info.scope is Scope.CONTAINER or (info.cls is None and not info.hints_secret):
        return _NOTHING
    return _NameHint(info.cls, hints=info.cls is None)


def markup(text: str) -> Iterator[Hit]:
    """Yield the values in *text* that the names of their tags or attributes mark as sensitive."""
    return _TagReader(text).hits()


class _TagReader:
    """Reads the tags of one text in order."""

    __slots__ = ("end", "preceding", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.preceding = _NOTHING
        """Hint from the content of the previous element: ``<name>password</name><value>...``."""
        self.end = 0
        """End of the previous tag."""

    def hits(self) -> Iterator[Hit]:
        done = 0
        for tag in _TAG.finditer(self.text):
            if tag.start() < done:
                continue
            named = _NOTHING
            attributes = tag.group("a")
            if "=" in attributes:
                named, found = self._attributes(tag)
                yield from found
            hint = self._content_hint(tag, named)
            if attributes[-1:] == "/" or hint is _NOTHING:
                continue
            spans, done = _content(self.text, tag, deep=hint.cls == "secret")
            for start, end in spans:
                yield from self._value(start, end, hint)

    def _content_hint(self, tag: re.Match[str], named: _NameHint) -> _NameHint:
        """Return the hint about an element's content, based on its name, the preceding element or
        its attributes (*named*).
        """
        text = self.text
        prefix, _, local = tag.group("n").lower().rpartition(":")
        before, self.preceding = self.preceding, _NOTHING
        if before is not _NOTHING and JOINT in text[self.end : tag.start()]:
            before = _NOTHING
        self.end = tag.end()
        if local in _SHOWN or prefix in _SCHEMA:
            return _NOTHING
        if local in _CALLED and named is _NOTHING:
            end = text.find("<", tag.end(), tag.end() + 96)
            content = text[tag.end() : end] if end >= 0 else JOINT
            self.preceding = _NOTHING if JOINT in content else _hint_of_name(content.strip())
            if self.preceding is not _NOTHING:
                return _NOTHING
        own = _hint_of_name(tag.group("n").rpartition(":")[2])
        if own is not _NOTHING:
            return own
        if local in _HOLDERS and before is not _NOTHING:
            return before
        return named

    def _attributes(self, tag: re.Match[str]) -> tuple[_NameHint, list[Hit]]:
        """Return the hint that the attributes give about the element, and the hits in the
        attributes.
        """
        named, values, hits = _NOTHING, [], []
        for attribute in _ATTRIBUTE.finditer(self.text, tag.start("a"), tag.end("a")):
            key = attribute.group("k").rpartition(":")[2]
            place = attribute.span(attribute.lastgroup or 0)
            value = self.text[place[0] : place[1]]
            hint = _NOTHING
            if key.lower() in _NAMING:
                hint = _hint_of_name(value) if len(value) <= 64 else _NOTHING
            elif key.lower() == "type":
                hint = _SECRET if value.lower() == "password" else _NOTHING
            elif key.lower() in _VALUES:
                values.append(place)
            elif _hint_of_name(key).cls == "secret":
                hits += self._value(*place, _SECRET)
            if named is _NOTHING or hint.cls == "secret":
                named = hint
        if named is not _NOTHING:
            for place in values:
                hits += self._value(*place, named)
        return named, hits

    def _value(self, start: int, end: int, hint: _NameHint) -> list[Hit]:
        value = self.text[start:end]
        start += len(value) - len(value.lstrip())
        value = value.strip()
        if not value or value.lower() in _PLACEHOLDERS or is_reference(value):
            return []
        if hint.hints and not looks_secret(value):
            return []
        if hint.role is not None:
            mark = mark_of_role(hint.role, value)
            return [] if mark is None else [Hit(start, start + len(value), mark.cls, "markup")]
        if _WORDY.search(value) is None or _is_label(value):
            return []
        return [Hit(start, start + len(value), hint.cls or "secret", "markup")]


def _is_label(value: str) -> bool:
    """Return True if *value* is a label, such as ``API key``. ``my-secret`` and ``password1`` could
    also be labels, but people use them as passwords.
    """
    if value[0].islower() or not all(sign.isalpha() or sign in " :" for sign in value):
        return False
    return _hint_of_name(value).cls == "secret"


def _content(text: str, tag: re.Match[str], *, deep: bool) -> tuple[list[tuple[int, int]], int]:
    """Return the positions of the text in an element, and the end of the parsed part. An element
    that contains other elements is parsed only if *deep* is True.
    """
    at, name = tag.end(), tag.group("n")
    limit = text.find(JOINT, at, at + _FAR)
    limit = min(at + _FAR, len(text)) if limit < 0 else limit
    first = text.find("<", at, limit)
    if first < 0:
        return _cut_off(text, tag, limit), at
    if text.startswith("</", first):
        # If another element's end tag follows, this was not an element: "use <password> ...</p>"
        return ([(at, first)], first) if text.startswith(name, first + 2) else ([], at)
    inner = text.startswith(_CDATA, first) and not text[at:first].strip()
    if not deep and not inner:
        return [], at
    close = text.find(f"</{name}", first, limit)
    if close < 0:
        # The text is cut off inside the element.
        close = limit if inner else first
    return [node.span(node.lastgroup or 0) for node in _NODE.finditer(text, at - 1, close)], close


_NODE = re.compile(
    r"<!\[CDATA\[(?P<data>[^\x00]*?)(?:\]\]>|\Z)|(?<=>)(?P<text>[^<>\x00]+)(?![^<\x00]*+-->)"
)


def _cut_off(text: str, tag: re.Match[str], limit: int) -> list[tuple[int, int]]:
    """Return the position of the value after a tag if no other tag follows and the tag is not a
    placeholder, as in ``-p <password> x``.
    """
    before = text[max(0, tag.start() - 1) : tag.start()]
    match = _REST.match(text, tag.end(), limit)
    if match is None or not (before in {"", JOINT, ">"} or before.isspace()):
        return []
    return [match.span()]


_REST = re.compile(r"[^\s\"'`,;:)\]}@/.|><&\x00][^\s<\x00]*")
_WORDY = re.compile(r"\w")
