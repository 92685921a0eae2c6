"""Escapes recorded text so that it is safe to display. Text from a record is shown in a terminal, a
table or an error message only after this module has escaped it.

The author of a prompt can choose the arguments that an agent passes to a tool, so recorded text is
attacker-controlled: it may contain escape sequences, line feeds that forge rows, bidirectional
overrides that reorder a line, and invisible characters. Every character that is not plainly visible
is shown as an escape (``\\u{202e}``). Backslashes are doubled, so that an escape in the text can't
be mistaken for one of guardrail's.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence, Sized
from functools import lru_cache

__all__ = [
    "arguments",
    "clip",
    "clock",
    "escape",
    "inline",
    "json_safe",
    "json_text",
    "message",
    "name",
    "one_line",
    "pad",
    "quote",
    "tree",
    "width",
    "wrap",
]

MAX_DEPTH = 40
"""Maximum nesting depth shown. Deeper levels are only counted."""
MAX_MARKS = 3
"""Maximum number of consecutive combining marks that are shown. No language needs more, and a
longer sequence is an attempt to draw over other lines.
"""

# Invisible characters whose category is a letter, a mark or a symbol: fillers, joiners, variation
# selectors, and the blank Braille pattern. These are Unicode's Default_Ignorable_Code_Point
# characters, minus those that the categories below cover.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
# Controls, format characters (bidi, zero width, tags), surrogates, private use, unassigned,
# separators.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_PLAIN = re.compile(r"[ -\[\]-~]*\Z")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
# This matches exactly the form of a token that redaction leaves behind. Anything longer or shorter
# is text, which is quoted.
_TOKEN = re.compile(r"gr1:([a-z_]{1,32}):[A-Za-z0-9_-]{1,32}:([a-z0-9]{6})[a-z0-9]{18}\Z")
_SHORTENED = re.compile(r"\[[a-z_]{1,32} [a-z0-9]{6}\u2026\]\Z")
_NAME = re.compile(r"[\w.@:/+=-]+\Z")
_LONG = 200
"""Number of characters above which a text with several lines is shown line by line."""
_KINDS = frozenset({"str", "int", "float", "bool", "bytes", "object", "array", "base64"})
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|\+00:00)\Z", re.ASCII)


@lru_cache(maxsize=4096)
def _is_hidden(char: str) -> bool:
    if char == " ":
        return False
    return unicodedata.category(char) in _HIDDEN_CATEGORIES or _INVISIBLE.match(char) is not None


def _escaped(char: str) -> str:
    return _SHORT.get(char) or f"\\u{{{ord(char):x}}}"


def escape(text: str) -> str:
    """Return *text* on one line, with every character that is not plainly visible escaped.

    Printable text of any language is kept. Up to ``MAX_MARKS`` combining marks are kept after a
    base character.
    """
    if _PLAIN.match(text):
        return text
    out: list[str] = []
    marks = MAX_MARKS  # a mark at the start would combine with one of guardrail's own characters
    for char in text:
        if unicodedata.category(char) in {"Mn", "Me"} and not _is_hidden(char):
            marks += 1
            out.append(char if marks <= MAX_MARKS else _escaped(char))
            continue
        hidden = char == "\\" or _is_hidden(char)
        marks = MAX_MARKS if hidden else 0
        out.append(_escaped(char) if hidden else char)
    return "".join(out)


def one_line(text: str) -> str:
    """Return one of guardrail's own messages, which may quote an external path or name, with hidden
    characters escaped.

    Backslashes stay unchanged, so use this for text that people read and copy, but not for recorded
    values.
    """
    return "".join(_escaped(char) if _is_hidden(char) else char for char in text)


def message(text: str) -> str:
    """Return guardrail's own text, with ``one_line`` applied to each of its lines. External text in
    it must not contain a line feed.
    """
    return "\n".join(one_line(line) for line in text.split("\n"))


def quote(text: str) -> str:
    """Return *text*, escaped and in double quotes, which show where it begins and ends."""
    return '"' + escape(text).replace('"', '\\"') + '"'


def name(text: str, absent: str = "-", *, short: bool = True) -> str:
    """Return an id or a name: unchanged if it can't be mistaken for anything else, otherwise in
    quotes.

    A principal called ``bob (verified)`` must not read as verified. A token is shortened if *short*
    is True, and an empty name is shown as *absent*.
    """
    if not text:
        return absent
    shown = escape(text)
    if shown == text and _NAME.match(text):
        return (_redaction_marker(text, short=True) if short else None) or text
    return quote(text)


def clock(ts: str) -> str:
    """Return a timestamp in the form that every command shows, to the second: ``2026-03-01 09:30:00
    UTC``.

    Text that is not a time in UTC is only escaped.
    """
    match = _STAMP.match(ts)
    return f"{match[1]} {match[2]} UTC" if match is not None else escape(ts) or "unknown"


def width(text: str) -> int:
    """Return the number of terminal columns of *text*, which must be escaped already."""
    if text.isascii():
        return len(text)
    columns = 0
    for char in text:
        if unicodedata.category(char) in {"Mn", "Me"}:
            continue
        columns += 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
    return columns


def clip(text: str, columns: int) -> str:
    """Return escaped *text*, cut to *columns* with an ellipsis if it is longer. A token that is
    displayed in brackets keeps the closing one.
    """
    if width(text) <= columns:
        return text
    if columns <= 0:
        return ""
    if columns > 3 and _SHORTENED.match(text):
        return text[: columns - 2] + "…]"
    out: list[str] = []
    used = 0
    for char in text:
        size = width(char)
        if used + size > columns - 1:
            break
        out.append(char)
        used += size
    return "".join(out) + "…"


def wrap(text: str, first: int, rest: int) -> Iterator[str]:
    """Yield escaped *text* in lines of at most *first* columns, then *rest*; nothing is omitted.

    It breaks lines after spaces, and inside a word only if no line can hold the word. Yields at
    least one line.
    """
    line, used, room = "", 0, max(1, first)
    for word in re.findall(r"[^ ]+ ?| ", text):
        size = width(word.rstrip(" ")) or 1
        if used and used + size > room:
            yield line
            line, used, room = "", 0, max(1, rest)
        while size > room:
            part = _longest_prefix(word, room)
            yield part
            word, room = word[len(part) :], max(1, rest)  # noqa: PLW2901 - what is left of it
            size = width(word.rstrip(" ")) or 1
        line, used = line + word, used + width(word)
    yield line


def _longest_prefix(text: str, columns: int) -> str:
    """Return as many characters from the start of *text* as fit, but at least one."""
    used = 0
    for index, char in enumerate(text):
        used += width(char)
        if index and used > columns:
            return text[:index]
    return text


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Return escaped *text*, cut or filled with spaces to exactly *columns*."""
    text = clip(text, columns)
    space = " " * (columns - width(text))
    return space + text if right else text + space


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return *value* as JSON in which every hidden character is a ``\\uXXXX`` escape, so that it is
    valid and safe to print.
    """
    return json_safe(json.dumps(value, ensure_ascii=False, indent=indent))


def json_safe(text: str) -> str:
    """Return JSON *text* with every hidden character as a ``\\uXXXX`` escape. In JSON, such
    characters occur only in strings.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        json.dumps(char)[1:-1] if ord(char) > 0x7E and _is_hidden(char) else char for char in text
    ).replace("\x7f", "\\u007f")


def _redaction_marker(text: str, *, short: bool) -> str | None:
    """Return a token or mark left by redaction. Unlike recorded text, it is shown without
    quotes.
    """
    match = _TOKEN.match(text)
    if match is None:
        return None
    return f"[{match[1]} {match[2]}…]" if short else f"[{text}]"


def _sized_marker(value: Mapping[str, object], *, short: bool) -> str | None:
    """Return the type, length and token of a value that is not recorded, or of which only the
    beginning is recorded. Unlike a recorded object, it is shown without braces.
    """
    kind, token, size = value.get("$t"), value.get("tok"), value.get("len")
    if not isinstance(kind, str) or not isinstance(token, str) or kind not in _KINDS:
        return None
    match = _TOKEN.match(token)
    if match is None or not value.keys() <= {"$t", "tok", "len", "head"}:
        return None
    if "head" in value and (kind != "str" or not isinstance(value["head"], str)):
        return None
    length = f", length {size}" if isinstance(size, int) else ""
    # The class in a token for an unclassified value is "text", which is wrong for a number and
    # carries no information.
    of = "" if match[1] == "text" and kind != "str" else f"{match[1]} "
    return f"[{kind}{length}, {of}{match[2]}…]" if short else f"[{kind}{length}, {token}]"


def _scalar(value: object, *, short: bool) -> str:
    if isinstance(value, str):
        return _redaction_marker(value, short=short) or quote(value)
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return quote(str(value))


def _key(key: str) -> str:
    return key if _IDENTIFIER.match(key) else _redaction_marker(key, short=False) or quote(key)


def inline(value: object, columns: int) -> str:
    """Return *value* on one line of at most *columns*, with redaction marks visible. The work is
    bounded by *columns*.
    """
    out: list[str] = []
    used = 0
    for piece in _pieces(value, columns, 0):
        out.append(piece)
        used += width(piece)
        if used > columns:
            break
    return clip("".join(out), columns)


def _pieces(value: object, columns: int, depth: int) -> Iterator[str]:
    if isinstance(value, str) and len(value) > columns:
        yield _redaction_marker(value, short=True) or quote(value[: columns + 1])
    elif depth > MAX_DEPTH:
        yield "…"
    elif isinstance(value, Mapping) and (sized := _sized_marker(value, short=True)) is not None:
        if "head" in value:
            yield quote(str(value["head"])[: columns + 1]) + " "
        yield sized
    elif isinstance(value, Mapping):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield (", " if index else "") + _key(str(key)[: columns + 1]) + ": "
            yield from _pieces(item, columns, depth + 1)
        yield "}"
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield "["
        for index, item in enumerate(value):
            if index:
                yield ", "
            yield from _pieces(item, columns, depth + 1)
        yield "]"
    else:
        yield _scalar(value, short=True)


def arguments(args: Mapping[str, object], columns: int) -> str:
    """Return ``name=value, ...`` on one line of at most *columns*."""
    out: list[str] = []
    left = columns
    for key, item in args.items():
        text = f"{_key(str(key)[: columns + 1])}={inline(item, max(left, 1))}"
        out.append(text)
        left -= width(text) + 2
        if left < 0:
            break
    return clip(", ".join(out), columns)


def tree(value: object, *, indent: int = 0, depth: int = 0) -> Iterator[str]:
    """Yield the lines of *value* as an indented, escaped tree, complete except for levels below
    ``MAX_DEPTH``.
    """
    space = " " * indent
    if (lines := _lines_of(value)) is not None:
        yield from (space + line for line in lines if line)
    elif _is_leaf(value):
        yield space + _leaf(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _branch(f"{space}{_key(str(key))}:", item, indent, depth)
    elif isinstance(value, list):
        for item in value:
            yield from _item(item, indent, depth)


def _branch(head: str, item: object, indent: int, depth: int) -> Iterator[str]:
    if (lines := _lines_of(item)) is not None:
        yield f"{head} {lines[0]}".rstrip(" ")
        yield from (f"{' ' * (indent + 2)}{line}" for line in lines[1:])
    elif _is_leaf(item):
        yield f"{head} {_leaf(item)}"
    elif depth >= MAX_DEPTH:
        yield f"{head} … ({len(item) if isinstance(item, Sized) else 0} more below)"
    else:
        yield head
        yield from tree(item, indent=indent + 2, depth=depth + 1)


def _item(item: object, indent: int, depth: int) -> Iterator[str]:
    """Yield the lines of a list item, the first one next to the dash."""
    space = " " * indent
    if _is_leaf(item) or depth >= MAX_DEPTH:
        yield from _branch(f"{space}-", item, indent, depth)
        return
    lines = tree(item, indent=indent + 2, depth=depth + 1)
    first = next(lines)
    yield f"{space}- {first[indent + 2 :]}"
    yield from lines


def _lines_of(value: object) -> list[str] | None:
    """Return the lines of a long text, each in quotes, after its type, length and token if only its
    beginning is recorded. The first element is empty if all of it is recorded. Return None if
    *value* is no long text.
    """
    if isinstance(value, Mapping):
        sized = _sized_marker(value, short=False)
        if sized is None or "head" not in value:
            return None
        first, text = f"{sized} begins:", str(value["head"])
    elif isinstance(value, str) and len(value) > _LONG and "\n" in value:
        first, text = "", value
    else:
        return None
    return [first, *map(quote, re.findall(r"[^\n]*\n|[^\n]+", text))]


def _is_leaf(value: object) -> bool:
    if isinstance(value, Mapping):
        return not value or _sized_marker(value, short=False) is not None
    return not (isinstance(value, list) and value)


def _leaf(value: object) -> str:
    if isinstance(value, Mapping):
        return _sized_marker(value, short=False) or "{}"
    if isinstance(value, list):
        return "[]"
    return _scalar(value, short=False)
