"""Finds secrets that are identified by another part of the text: the preceding field, or the column
in an ``INSERT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.key_names import KeyInfo, classify
from guardrail.core.redaction.roles import mark_of_role
from guardrail.core.redaction.spans import Hit

__all__ = ["paired"]

_FIELDS = re.compile(
    r"\b(?:name|key)\\?[\"']?\s{0,4}[:=]>?\s{0,4}\\?[\"']?(?P<n>[A-Za-z][\w.\-]{1,63})\\?[\"']?(?:\s{0,4}[,;]\s{0,40}|\s{1,40}):?\\?[\"']?val(?:ue)?\\?[\"']?\s{0,4}[:=]>?\s{0,4}"
    r"(?:\\?\"(?P<two>[^\"\\\n\x00\x01]{1,256})|\\?'(?P<one>[^'\\\n\x00\x01]{1,256})|(?P<bare>(?!\$[{(])[^\s\"'`\\,;{}\[\]()<>&\x00\x01]{1,256}))",
    re.IGNORECASE,
)
# In reverse order: the value comes first. A new list item begins a new pair.
_FIELDS_REVERSED = re.compile(
    r"\bval(?:ue)?\\?[\"']?\s{0,4}[:=]>?\s{0,4}(?:\\?\"(?P<two>[^\"\\\n\x00\x01]{1,256})|\\?'(?P<one>[^'\\\n\x00\x01]{1,256})|(?P<bare>(?!\$[{(])[^\s\"'`\\,;{}\[\]()<>&\x00\x01]{1,256}))"
    r"\\?[\"']?(?:\s{0,4}[,;]\s{0,40}|\s{1,40}):?\\?[\"']?\b(?:name|key)\\?[\"']?\s{0,4}[:=]>?\s{0,4}\\?[\"']?(?P<n>[A-Za-z][\w.\-]{1,63})(?!\\?[\"']?(?:\s{0,4}[,;]\s{0,40}|\s{1,40}):?\\?[\"']?val)",
    re.IGNORECASE,
)
# Terraform: the default of a variable.
_VARIABLE = re.compile(
    r"\bvariable\s{1,4}\"(?P<n>[\w\-]{1,64})\"\s{0,4}\{[^{}\x00\x01]{0,512}?\bdefault\s{0,16}=\s{0,4}\"(?P<two>[^\"\n\x00\x01]{1,256})",
)
# YAML: text in the lines below its name. Multipart form: a part with its name.
_BLOCK = re.compile(
    r"(?:^|(?<=[\n\x00]))[ \t\-]{0,32}[\"']?(?P<n>[\w.\-]{1,64})[\"']?[ \t]{0,4}:[ \t]{1,4}[|>][+\-\d]{0,2}[ \t]{0,8}\r?\n"
    r"(?P<indent>[ \t]{1,64})(?P<bare>[^\s\x00\x01][^\n\x00\x01]{0,1024}(?:\n(?P=indent)[^\n\x00\x01]{0,1024}){0,64})"
)
_PART = re.compile(
    r"\bform-data;[^\n\x00]{0,64}?\bname=\"(?P<n>[^\"\n\x00]{1,64})\"[^\n\x00]{0,128}\n(?:[^\s\x00][^\n\x00]{0,256}\n){0,4}\r?\n(?P<bare>[^\r\n\x00\x01]{1,1024})",
    re.IGNORECASE,
)
_INSERT = re.compile(
    r"\binto\s{1,8}[\w.\"`\[\]]{1,128}\s{0,8}\((?P<c>[\w\s,\"`\[\].]{1,1024})\)\s{0,8}values\s{0,8}",
    re.IGNORECASE,
)
_ROW = re.compile(r"\s{0,8},?\s{0,8}\(")
_CELL = re.compile(
    r"\s{0,8}(?:[NEBX]?'(?P<one>(?:[^'\x00\x01]|''){0,1024})'|\"(?P<two>[^\"\x00\x01]{0,1024})\""
    r"|(?P<call>\w{1,40}\((?:[^()\x00\x01]|\([^()\x00\x01]{0,64}\)){0,512}\))|(?P<bare>[^,()'\"\x00\x01]{0,128}))\s{0,8}(?P<end>[,)])",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"'(?P<v>[^'\x00\x01]{1,512})'")
_NOTHING = frozenset({"true", "false", "null", "none", "string", "default", "required", "optional"})


def paired(text: str, low: str) -> Iterator[Hit]:
    """Yield the values in secret fields and columns in *text*. *low* is *text* in lower case."""
    if "\n" in text:
        yield from _in_lines(text, low)
    if "val" not in low:
        return
    if "name" in low or "key" in low:
        yield from _named(_FIELDS, text)
        yield from _named(_FIELDS_REVERSED, text)
    if "into" in low:
        for match in _INSERT.finditer(text):
            columns = [column.strip(' \t\r\n"`[]') for column in match.group("c").split(",")]
            infos = [classify(column) for column in columns]
            if any(info.cls is not None or info.role is not None for info in infos):
                yield from _rows(text, match.end(), infos)


def _in_lines(text: str, low: str) -> Iterator[Hit]:
    if "variable" in low and "default" in low:
        yield from _named(_VARIABLE, text)
    if ": |" in text or ": >" in text:
        yield from _named(_BLOCK, text)
    if "form-data" in low:
        yield from _named(_PART, text)


def _named(pattern: re.Pattern[str], text: str) -> Iterator[Hit]:
    """Yield the values that *pattern* finds next to the name of a secret."""
    for match in pattern.finditer(text):
        group = next(each for each in ("two", "one", "bare") if match.groupdict().get(each))
        if classify(match.group("n")).cls == "secret" and _is_value(match.group(group)):
            yield Hit(*match.span(group), "secret", "field")


def _rows(text: str, at: int, infos: list[KeyInfo]) -> Iterator[Hit]:
    row = _ROW.match(text, at)
    while row is not None:
        at = row.end()
        for info in infos:
            cell = _CELL.match(text, at)
            if cell is None:
                return
            if info.cls == "secret":
                yield from _cell(cell)
            elif info.cls is not None or info.role is not None:
                yield from _personal_cell(cell, info)
            at = cell.end()
            if cell.group("end") == ")":
                break
        row = _ROW.match(text, at)


def _cell(cell: re.Match[str]) -> Iterator[Hit]:
    """Yield the value in a cell. For a call, such as ``crypt('x', gen_salt('bf'))``, it is the
    first literal.
    """
    call = cell.group("call")
    if call is not None:
        literal = _LITERAL.search(cell.string, *cell.span("call"))
        if literal is not None:
            yield Hit(*literal.span("v"), "secret", "column")
        return
    group = next(name for name in ("one", "two", "bare") if cell.group(name) is not None)
    value = cell.group(group)
    if _is_value(value) and (group != "bare" or value.strip().isdigit()):
        yield Hit(*cell.span(group), "secret", "column")


def _personal_cell(cell: re.Match[str], info: KeyInfo) -> Iterator[Hit]:
    group = next((name for name in ("one", "two", "bare") if cell.group(name) is not None), None)
    if cell.group("call") is not None or group is None:
        return
    value = cell.group(group).strip()
    cls = info.cls
    if cls is None and info.role is not None:
        mark = mark_of_role(info.role, value)
        cls = None if mark is None else mark.cls
    if cls is not None and _is_value(value) and (group != "bare" or value.isdigit()):
        start = cell.start(group) + cell.group(group).index(value)
        yield Hit(start, start + len(value), cls, "column")


def _is_value(value: str) -> bool:
    value = value.strip()
    return bool(value) and value.lower() not in _NOTHING and not is_reference(value)
