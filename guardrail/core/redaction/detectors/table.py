"""Finds secrets in a text's tables by the name of their column in the first line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.spans import Hit

__all__ = ["tables"]

_NAME = r"[ \t]{0,16}[\"']?[^\W\d][\w.\-]{0,40}[\"']?[ \t]{0,16}"
_PLAIN = r"[\"']?[^\W\d][\w.\- ]{0,40}[\"']?"
# A comma that a blank follows divides words of a sentence.
_HEADER = re.compile(
    r"(?:"
    rf"(?P<bars>\|?{_NAME}(?:\|{_NAME}){{1,30}}\|?)"
    rf"|(?P<signs>{_PLAIN}(?P<sign>[,;\t])(?! ){_PLAIN}(?:(?P=sign)(?! ){_PLAIN}){{0,30}})"
    r")[ \t]{0,16}\r?\n"
)
_CELL = {
    sign: re.compile(
        rf"[ \t]{{0,64}}?(?:\"(?P<two>(?:[^\"\n\x00]|\"\"){{0,512}})\"|(?P<one>[^{sign}\r\n\x00]{{0,512}}))(?P<end>{re.escape(sign)}|(?=[\r\n\x00]|\Z))"
    )
    for sign in (",", ";", "\t", "|")
}
_RULE = re.compile(r"[ \t]*[|+]?[ \t]*:?-{2,}")
# Words in the name of a secret's column, in English and in most of the known languages.
_TELLS = ("pass", "secret", "pw", "auth", "key", "token")
# Text after the name of a column.
_ENDS = re.compile(r"[\w.\- ]{0,40}[\"']?[ \t]{0,16}[,;\t|\r\n]")
_ROWS = 1_000
_LINE = 512
_NOTHING = frozenset({"", "true", "false", "null", "none", "nil", "n/a", "-", "yes", "no", "x"})


def tables(text: str, low: str) -> Iterator[Hit]:
    """Yield the cells below the name of a secret: of CSV, and of tables with bars as Markdown and psql draw them.

    *low* is *text* in lower case.
    """
    if "," not in text and ";" not in text and "\t" not in text and "|" not in text:
        return
    for word in _TELLS:
        at = low.find(word)
        while at >= 0:
            if _ENDS.match(low, at + len(word)) is None:
                at = low.find(word, at + len(word))
                continue
            start = max(0, at - _LINE)
            start = max(start, text.rfind("\n", start, at) + 1, text.rfind("\x00", start, at) + 1)
            header = (
                _HEADER.match(text, start) if start == 0 or text[start - 1] in "\n\x00" else None
            )
            if header is None:
                at = low.find("\n", at)
            else:
                at = header.end()
                for line in _table(text, header):
                    yield from line
            at = low.find(word, at) if at >= 0 else -1


def _table(text: str, header: re.Match[str]) -> Iterator[Iterator[Hit]]:
    sign = header.group("sign") or "|"
    line = header.group(0).strip(" \r\n")
    names = (line.strip("|") if sign == "|" else line).split(sign)
    secret = [classify(each.strip(" \t\"'")).cls == "secret" for each in names]
    if any(secret):
        for at in _lines(text, header.end()):
            yield _row(text, at, sign, secret)


def _lines(text: str, at: int) -> Iterator[int]:
    """Yield the start of each line of the table, up to an empty one."""
    for _ in range(_ROWS):
        if at >= len(text) or text[at] in "\r\n\x00":
            return
        yield at
        end = text.find("\n", at)
        stop = text.find("\x00", at, end if end >= 0 else len(text))
        if end < 0 or stop >= 0:
            return
        at = end + 1


def _row(text: str, at: int, sign: str, secret: list[bool]) -> Iterator[Hit]:
    if sign == "|":
        if _RULE.match(text, at) is not None:
            return
        while text[at : at + 1] in {" ", "\t", "|"}:
            at += 1
    found: list[Hit] = []
    for index, told in enumerate(secret):
        cell = _CELL[sign].match(text, at)
        if cell is None or (index + 1 < len(secret) and not cell.group("end")):
            return  # a line that has fewer cells is none of the table
        group = "two" if cell.group("two") is not None else "one"
        value = cell.group(group).strip()
        if told and value.lower() not in _NOTHING and not is_reference(value):
            start = cell.start(group) + cell.group(group).index(value)
            found.append(Hit(start, start + len(value), "secret", "column"))
        at = cell.end()
    yield from found
