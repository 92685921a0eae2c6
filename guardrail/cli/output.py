"""Writes output in a consistent style: data goes to stdout, and everything else to stderr. Colour
and progress are shown only on a terminal.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import click

from guardrail.errors import GuardrailError, os_reason
from guardrail.review.terminal import clip, json_text, message, pad, width, wrap

__all__ = [
    "ACCESS",
    "COLLECTED",
    "LEDGER",
    "SOURCE",
    "Align",
    "Column",
    "OutputError",
    "Progress",
    "Style",
    "access_fields",
    "columns",
    "data",
    "emit_json",
    "field",
    "hanging",
    "paint",
    "prose",
    "remark",
    "sentence",
    "table",
    "wrap_items",
]

PIPE_COLUMNS = 120
"""Width of tables if stdout is not a terminal and ``COLUMNS`` is not set."""
MIN_COLUMNS = 40


class Style(StrEnum):
    """Colours by meaning. The text always states the meaning as well."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    DIM = "dim"
    STRONG = "strong"


Cell = tuple[str, Style]

_LOOKS: dict[Style, dict[str, object]] = {
    Style.PLAIN: {},
    Style.GOOD: {"fg": "green"},
    Style.BAD: {"fg": "red", "bold": True},
    Style.WARN: {"fg": "yellow"},
    Style.DIM: {"dim": True},
    Style.STRONG: {"bold": True},
}


def _colour(err: bool) -> bool:
    # https://no-color.org: any non-empty value disables colour
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return (sys.stderr if err else sys.stdout).isatty()


def paint(text: str, style: Style, *, err: bool = False) -> str:
    """Return *text* in *style* if colour is enabled, otherwise unchanged."""
    if style is Style.PLAIN or not text or not _colour(err):
        return text
    return click.style(text, **_LOOKS[style])  # type: ignore[arg-type]


def columns() -> int:
    """Return the width of a table: ``COLUMNS``, the terminal's width, or ``PIPE_COLUMNS``.

    If stdout is a pipe (``| head``), the width of the terminal at stderr or stdin is used, because
    the text ends up on that terminal.
    """
    given = os.environ.get("COLUMNS", "")
    asked = int(given) if given.isdecimal() and len(given) < 10 else 0
    return max(MIN_COLUMNS, asked or _terminal() or PIPE_COLUMNS)


def _terminal() -> int | None:
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            found = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
        except (OSError, ValueError):
            continue
        if found:
            return found
    return None


class OutputError(GuardrailError):
    """The output could not be written to stdout. A closed pipe raises ``BrokenPipeError``
    instead.
    """

    default_code = "cli.output"


def data(line: str = "") -> None:
    """Write one line of output to stdout. *line* must already be escaped. Raises
    ``OutputError``.
    """
    try:
        click.echo(line, color=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output can't be written ({os_reason(error)})") from None


LEDGER = "guardrail.ledger"
"""Key in a command's context for the values of ``--config`` and ``--ledger``, if set."""


ACCESS = "guardrail.access"
"""Key in a command's context for the result of recording the read in the access log: None if it was
recorded, otherwise the reason why not. The key is absent if the command does not read a ledger.
"""


SOURCE = "guardrail.source"
"""Key in a command's context for the file that is read instead of a ledger. The key is absent if a
ledger is read.
"""


COLLECTED = "guardrail.collected"
"""Key in a command's context for a list that takes the JSON documents instead of stdout, while the
command runs once for each tenant.
"""


def access_fields() -> dict[str, Any]:
    """Return the fields of a JSON document about the access log, and about a file that was read
    instead of a ledger.

    The result is empty if the command reads neither.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return {}
    fields: dict[str, Any] = {}
    if ACCESS in context.meta:
        problem = context.meta[ACCESS]
        fields = {"access_recorded": problem is None, "access_problem": problem}
    if SOURCE in context.meta:
        fields["source"] = context.meta[SOURCE]
    return fields


def emit_json(value: Mapping[str, Any]) -> None:
    """Write *value* to stdout as one JSON document, which also says whether the access log recorded
    the read.
    """
    document = {**value, **access_fields()}
    context = click.get_current_context(silent=True)
    if context is not None and COLLECTED in context.meta:
        context.meta[COLLECTED].append(document)
        return
    data(json_text(document, indent=2))


def remark(text: str, style: Style = Style.PLAIN) -> None:
    """Write one remark to stderr. Hidden characters are shown as escapes. On a terminal, lines
    break only at spaces.
    """
    shown = message(text)
    if sys.stderr.isatty():
        shown = "\n".join(_wrap_line(line) for line in shown.split("\n"))
    click.echo(paint(shown, style, err=True), err=True, color=True)


def _wrap_line(line: str) -> str:
    if width(line) <= columns():
        return line
    label = re.match(r"\s*(?:[a-z]+:\s+|- )?", line)
    indent = " " * (label.end() if label is not None else 0)
    return textwrap.fill(
        line,
        columns(),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def prose(text: str, *, indent: int = 0) -> list[str]:
    """Wrap text written by guardrail to the terminal width minus *indent* columns. Returns at least
    one line.
    """
    return textwrap.wrap(
        text, columns() - indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def field(head: str, text: str) -> Iterator[str]:
    """Yield *head*, followed by escaped *text*, wrapped to the width, with later lines indented to
    match. No text is omitted.

    Whatever the text and the terminal's width, a line of recorded text never begins in the same
    column as guardrail's own lines.
    """
    room = max(1, columns() - width(head))
    space = " " * width(head)
    for index, line in enumerate(wrap(text, room, room)):
        yield ((space if index else head) + line).rstrip()


def hanging(lines: Iterable[str], *, indent: int = 2) -> Iterator[str]:
    """Yield escaped *lines*, wrapped to the width minus *indent* columns. Continuation lines are
    indented by two more columns.
    """
    for line in lines:
        text = line.lstrip(" ")
        head = " " * (indent + len(line) - len(text))
        for index, part in enumerate(prose(text, indent=len(head) + 2)):
            yield f"{head[indent:]}{'  ' if index else ''}{part}"


def sentence(*parts: Cell, indent: int = 4) -> Iterator[str]:
    """Yield painted *parts* separated by spaces, wrapped to the width, with later lines indented by
    *indent* columns.

    Words are never split, so that paths and commands can be copied.
    """
    words = [(word, style) for text, style in parts for word in text.split(" ")]
    line, used = "", 0
    for word, style in words:
        size = width(word)
        if line and used + 1 + size > columns():
            yield line
            line, used = " " * indent, indent - 1
        elif line:
            line += " "
        line += paint(word, style)
        used += size + (1 if used else 0)
    yield line


def wrap_items(head: str, items: Sequence[Cell]) -> Iterator[str]:
    """Yield painted *items*, separated by commas, after *head*, on as many lines as needed."""
    line, used = head, len(head)
    for index, (word, style) in enumerate(items):
        comma = "," if index < len(items) - 1 else ""
        if used + len(word) + len(comma) > columns() and used > len(head):
            yield line.rstrip()
            line, used = " " * len(head), len(head)
        line += paint(word, style) + comma + " "
        used += len(word) + 2
    yield line.rstrip()


class Align(StrEnum):
    """Alignment of a column."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    align: Align = Align.LEFT
    limit: int = 200
    """Maximum width."""
    flexible: bool = False
    """True if the column takes the remaining width, and is truncated first."""
    floor: int = 8
    """Minimum width of a flexible column."""


_GAP = 2


def _widths(spec: Sequence[Column], rows: Sequence[Sequence[Cell]], total: int) -> list[int]:
    widths = [
        min(column.limit, max([width(column.title)] + [width(row[index][0]) for row in rows]))
        for index, column in enumerate(spec)
    ]
    over = sum(widths) + _GAP * (len(spec) - 1) - total
    flexible = [index for index, column in enumerate(spec) if column.flexible]
    # The widest flexible column is narrowed first, by one character at a time, so that the columns
    # end up equally wide.
    while over > 0:
        candidates = [index for index in flexible if widths[index] > spec[index].floor]
        if not candidates:
            break
        widest = max(candidates, key=lambda index: widths[index])
        widths[widest] -= 1
        over -= 1
    return widths


def table(
    spec: Sequence[Column], rows: Sequence[Sequence[Cell]], *, total: int | None = None
) -> Iterable[str]:
    """Yield the lines of a table of escaped cells, at most *total* characters wide if the columns'
    minimum widths permit.
    """
    widths = _widths(spec, rows, columns() if total is None else total)
    titles: list[Cell] = [(column.title, Style.DIM) for column in spec]
    for row in (titles, *rows):
        cells = []
        for column, size, (text, style) in zip(spec, widths, row, strict=True):
            shown = clip(text, size)
            filled = pad(text, size, right=column.align is Align.RIGHT)
            cells.append(filled.replace(shown, paint(shown, style), 1) if shown else filled)
        yield (" " * _GAP).join(cells).rstrip()


class Progress:
    """A progress line on stderr, shown only on a terminal and only after a second."""

    def __init__(
        self, what: str, *, after: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._clock = clock
        self._due = clock() + after
        self._on = sys.stderr.isatty()
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show that *done* of *total* items are done."""
        now = self._clock()
        if not self._on or now < self._due:
            return
        self._due = now + 0.1
        share = f" ({done * 100 // total} %)" if total else ""
        sys.stderr.write(f"\r{self._what} {done:,} of {total:,}{share}\x1b[K")
        sys.stderr.flush()
        self._shown = True

    def about(self, what: str) -> Callable[[int, int], None]:
        """Return a function that shows progress with another label on the same line."""

        def show(done: int, total: int) -> None:
            self._what = what
            self(done, total)

        return show

    def clear(self) -> None:
        """Remove the line, if it is shown."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
