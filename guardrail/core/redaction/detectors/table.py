"""Finds secrets in tables within a text, based on the column names in the first line."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.spans import Hit

__all__ = ["CELL", "HEADER", "MOST_ROWS", "tables"]

_NAME = r"[ \t]{0,16}[\"']?[^\W\d][\w.\-]{0,40}[\"']?[ \t]{0,16}"
_SPACED = r"[ \t]{0,16}[\"']?[^\W\d][\w.\- ]{0,40}[\"']?[ \t]{0,16}"
_PLAIN = r"[\"']?[^\W\d][\w.\- ]{0,40}[\"']?"
# A comma followed by a blank separates words of a sentence, not cells.
HEADER = re.compile(
    r"(?:"
    rf"(?P<bars>\|?{_NAME}(?:\|{_NAME}){{1,30}}\|?|\|{_SPACED}(?:\|{_SPACED}){{1,30}}\|)"
    rf"|(?P<signs>{_PLAIN}(?P<sign>[,;\t])(?! ){_PLAIN}(?:(?P=sign)(?! ){_PLAIN}){{0,30}})"
    r")[ \t]{0,16}\r?\n"
)
CELL = {
    sign: re.compile(
        rf"(?:{blank}{{0,64}}\"(?P<two>(?:[^\"\n\x00]|\"\"){{0,512}})\"|(?P<one>[^{sign}\r\n\x00]{{0,512}}))(?P<end>{re.escape(sign)}|(?=[\r\n\x00]|\Z))"
    )
    for sign, blank in ((",", r"[ \t]"), (";", r"[ \t]"), ("\t", " "), ("|", r"[ \t]"))
}
_RULE = re.compile(r"[ \t]*[|+]?[ \t]*:?-{2,}")
# Words in the names of columns with secrets, in English and in most of the other supported
# languages.
_TELLS = ("pass", "secret", "pw", "auth", "key", "token")
MOST_ROWS = 1_000
_LINE = 512
_NOTHING = frozenset({"", "true", "false", "null", "none", "nil", "n/a", "-", "yes", "no", "x"})


_Columns = dict[str, dict[int, int]]
"""For each separator, the minimum number of cells in a line, mapped to a bit mask of the columns
with secrets.
"""


def tables(text: str, low: str) -> Iterator[Hit]:
    """Yield the cells in columns that contain secrets: in CSV, and in tables drawn with vertical
    bars, as in Markdown and psql.

    *low* is *text* in lower case. Each line is read once, even if many earlier lines could be the
    first line of its table.
    """
    if "," not in text and ";" not in text and "\t" not in text and "|" not in text:
        return
    places = {word: low.find(word) for word in _TELLS}
    while True:
        at = min((place for place in places.values() if place >= 0), default=-1)
        if at < 0:
            return
        start = max(0, at - _LINE)
        start = max(start, text.rfind("\n", start, at) + 1, text.rfind("\x00", start, at) + 1)
        columns: _Columns = {}
        after = -1
        if start == 0 or text[start - 1] in "\n\x00":
            after = _header(text, start, columns)
        if after >= 0:
            after = yield from _rows(text, after, columns, places, low)
        else:
            # This is the next line, or the next of several joined texts.
            end = low.find("\n", at)
            stop = low.find("\x00", at, end if end >= 0 else len(low))
            after = stop if stop >= 0 else end
        if after < 0:
            return
        _skip(places, low, after)


def _skip(places: dict[str, int], low: str, to: int) -> None:
    for word, place in places.items():
        if 0 <= place < to:
            places[word] = low.find(word, to)


def _header(text: str, at: int, columns: _Columns) -> int:
    """Add to *columns* the columns that contain secrets, according to the line at *at*. Return the
    start of the next line, or -1 if the line contains no such column name.
    """
    header = HEADER.match(text, at)
    if header is None:
        return -1
    sign = header.group("sign") or "|"
    line = header.group(0).strip(" \r\n")
    names = (line.strip("|") if sign == "|" else line).split(sign)
    bits = sum(
        1 << index
        for index, each in enumerate(names)
        if classify(each.strip(" \t\"'")).cls == "secret"
    )
    if not bits:
        return -1
    sizes = columns.setdefault(sign, {})
    sizes[len(names)] = sizes.get(len(names), 0) | bits
    return header.end()


def _rows(
    text: str, at: int, columns: _Columns, places: dict[str, int], low: str
) -> Generator[Hit, None, int]:
    """Yield the secrets in the lines from *at* to the next blank line, and return the position of
    that blank line.
    """
    left = MOST_ROWS
    while left and at < len(text) and text[at] not in "\r\n\x00":
        left -= 1
        for sign, sizes in columns.items():
            yield from _row(text, at, sign, sizes)
        end = text.find("\n", at)
        stop = text.find("\x00", at, end if end >= 0 else len(text))
        if end < 0 or stop >= 0:
            return stop if stop >= 0 else len(text)
        _skip(places, low, at)
        announced = any(at <= place < end for place in places.values())
        if announced and _header(text, at, columns) >= 0:
            # This is another table, or a line of this table that looks like its header. Both are
            # used from here on.
            left = MOST_ROWS
        at = end + 1
    return at


def _row(text: str, at: int, sign: str, sizes: dict[int, int]) -> Iterator[Hit]:
    if sign == "|":
        if _RULE.match(text, at) is not None:
            return
        while text[at : at + 1] in {" ", "\t", "|"}:
            at += 1
    cells: list[re.Match[str]] = []
    while len(cells) < max(sizes):
        cell = CELL[sign].match(text, at)
        if cell is None:
            break
        cells.append(cell)
        at = cell.end()
        if not cell.group("end"):
            break
    secrets = 0
    for size, bits in sizes.items():
        if size <= len(cells):  # a line with fewer cells does not belong to the table
            secrets |= bits
    for index, cell in enumerate(cells):
        if secrets >> index & 1:
            group = "two" if cell.group("two") is not None else "one"
            value = cell.group(group).strip()
            if value.lower() not in _NOTHING and not is_reference(value):
                start = cell.start(group) + cell.group(group).index(value)
                yield Hit(start, start + len(value), "secret", "column")
