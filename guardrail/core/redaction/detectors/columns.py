"""Detects personal data in tables within a text, based on the names of the columns: in CSV, and in
tables drawn with vertical bars, as in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.detectors.table import CELL, HEADER, MOST_ROWS
from guardrail.core.redaction.key_names import KeyInfo, classify
from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.roles import mark_of_role
from guardrail.core.redaction.spans import Hit

__all__ = ["columns"]

# A table begins a text or a paragraph, or follows a colon. If it has a rule, it can begin anywhere.
_BEGIN = re.compile(r"\A|\x00|[\n:][ \t]{0,16}\r?\n")
_RULE = re.compile(r"\n(?=[ \t]{0,16}[|+]?[ \t]{0,16}:?-{2,})")
_LONGEST = 2_048
_ONLY_RULE = re.compile(r"[ \t|+:\-]{3,}")
_NOTHING = frozenset({"", "true", "false", "null", "none", "nil", "n/a", "-", "yes", "no", "x"})


def columns(text: str) -> Iterator[Hit]:
    """Yield the cells with personal data in the tables of *text*."""
    if "\n" not in text or not any(sign in text for sign in ",;\t|"):
        return
    begins = {match.end() for match in _BEGIN.finditer(text)}
    if "--" in text and "|" in text:
        for match in _RULE.finditer(text):
            least = max(0, match.start() - _LONGEST)
            begins.add(max(text.rfind(end, least, match.start()) for end in "\n\x00") + 1 or least)
    done = 0
    for begin in sorted(begins):
        header = HEADER.match(text, begin) if begin >= done else None
        if header is None:
            continue
        sign = header.group("sign") or "|"
        line = header.group(0).strip(" \r\n")
        names = (line.strip("|") if sign == "|" else line).split(sign)
        infos = [classify(name.strip(" \t\"'")) for name in names]
        if any(_is_personal(info) for info in infos):
            done = header.end()
            for start, end in _lines(text, done):
                done = end
                yield from _row(text, start, end, sign, infos)


def _is_personal(info: KeyInfo) -> bool:
    return info.cls not in {None, "secret"}


def _lines(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield the places of the lines from *at* to the next blank line."""
    for _ in range(MOST_ROWS):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        stop = text.find("\x00", at, end)
        end = end if stop < 0 else stop
        if not text[at:end].strip():
            return
        yield at, end
        if text[end : end + 1] != "\n":
            return
        at = end + 1


def _row(text: str, at: int, end: int, sign: str, infos: list[KeyInfo]) -> Iterator[Hit]:
    if sign == "|":
        if _ONLY_RULE.fullmatch(text, at, end):
            return
        while at < end and text[at] in " \t|":
            at += 1
    cells: list[tuple[int, str]] = []
    while len(cells) < len(infos):
        cell = CELL[sign].match(text, at)
        if cell is None:
            break
        group = "two" if cell.group("two") is not None else "one"
        value = cell.group(group).strip()
        cells.append((cell.start(group) + cell.group(group).index(value), value))
        at = cell.end()
        if not cell.group("end"):
            break
    if len(cells) < len(infos):
        return  # this line does not belong to the table
    for (start, value), info in zip(cells, infos, strict=True):
        cls = _class_of(info, value)
        if cls is not None and value.lower() not in _NOTHING:
            yield Hit(start, start + len(value), cls, "column")


def _class_of(info: KeyInfo, value: str) -> str | None:
    if info.cls is not None:
        return None if info.cls == "secret" else info.cls
    if info.role is None:
        return None
    mark = mark_of_role(info.role, value)
    if mark is not None:
        return mark.cls
    # A column called "name", next to personal data
    return "name" if not any(info.role[:2]) and is_person(value, 2) else None
