"""Where text goes and how it looks: data to stdout, everything else to stderr, colour and progress only on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import click

from guardrail.errors import GuardrailError, os_reason
from guardrail.review.terminal import broken, clip, json_text, message, pad, width

__all__ = [
    "ACCESS",
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
    "listed",
    "note",
    "paint",
    "prose",
    "sentence",
    "table",
]

PIPE_COLUMNS = 120
"""Width of tables where stdout is no terminal and ``COLUMNS`` says nothing."""
MIN_COLUMNS = 40


class Style(StrEnum):
    """Colours by meaning. No meaning is told by colour alone: every word stands there too."""

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
    # https://no-color.org: any value that is not empty
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return (sys.stderr if err else sys.stdout).isatty()


def paint(text: str, style: Style, *, err: bool = False) -> str:
    """Return *text* in *style* where colour is wanted there, else as it is."""
    if style is Style.PLAIN or not text or not _colour(err):
        return text
    return click.style(text, **_LOOKS[style])  # type: ignore[arg-type]


def columns() -> int:
    """Return how wide a table may be: ``COLUMNS``, the terminal, or ``PIPE_COLUMNS``.

    If stdout is a pipe (``| head``), the terminal is that of stderr or stdin: the text ends up there.
    """
    return max(MIN_COLUMNS, _terminal() or shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns)


def _terminal() -> int | None:
    if os.environ.get("COLUMNS", "").isdecimal():
        return None
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            found = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
        except (OSError, ValueError):
            continue
        if found:
            return found
    return None


class OutputError(GuardrailError):
    """The answer could not be written to stdout. A closed pipe is a ``BrokenPipeError`` and not this."""

    default_code = "cli.output"


def data(line: str = "") -> None:
    """Write one line of the answer to stdout. *line* must be safe already. Raises ``OutputError``."""
    try:
        click.echo(line, color=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the answer can't be written ({os_reason(error)})") from None


LEDGER = "guardrail.ledger"
"""Where a command's context keeps (``--config``, ``--ledger``), as far as they were given."""


ACCESS = "guardrail.access"
"""Where a command's context says whether the access log has it: None, or why not. Absent where it reads no ledger."""


SOURCE = "guardrail.source"
"""Where a command's context says which file is read in place of a ledger; absent where a ledger is."""


def access_fields() -> dict[str, Any]:
    """Return what a JSON answer says about the access log, and about the file that was read in place of a ledger.

    Empty where the command reads neither.
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
    """Write the answer to stdout as one JSON document, which says whether the access log has the reading."""
    data(json_text({**value, **access_fields()}, indent=2))


def note(text: str, style: Style = Style.PLAIN) -> None:
    """Write one remark to stderr. Hidden characters in it are shown as escapes; on a terminal it breaks at spaces only."""
    shown = message(text)
    if sys.stderr.isatty():
        shown = "\n".join(_wrapped(line) for line in shown.split("\n"))
    click.echo(paint(shown, style, err=True), err=True, color=True)


def _wrapped(line: str) -> str:
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
    """Return a sentence of ours in lines that fit beside *indent* columns. Never empty."""
    return textwrap.wrap(
        text, columns() - indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def field(head: str, text: str) -> Iterator[str]:
    """Yield escaped *text* after *head* in lines that fit; the later ones are indented as far. Nothing is left out.

    No line of recorded text begins where one of ours does, whatever it holds and however narrow the terminal is.
    """
    room = max(1, columns() - width(head))
    space = " " * width(head)
    for index, line in enumerate(broken(text, room, room)):
        yield ((space if index else head) + line).rstrip()


def sentence(*parts: Cell, indent: int = 4) -> Iterator[str]:
    """Yield painted *parts* with spaces between them in lines that fit, the later ones after *indent* columns.

    Words stay whole, so that paths and commands can be copied.
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


def listed(head: str, items: Sequence[Cell]) -> Iterator[str]:
    """Yield painted *items* with commas after *head*, on as many lines as it takes."""
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
    """On which side a column is filled."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    align: Align = Align.LEFT
    limit: int = 200
    """Most columns that it takes."""
    flexible: bool = False
    """Takes what the others leave, and is cut first."""
    floor: int = 8
    """Least columns that a flexible one keeps."""


_GAP = 2


def _widths(spec: Sequence[Column], rows: Sequence[Sequence[Cell]], total: int) -> list[int]:
    widths = [
        min(column.limit, max([width(column.title)] + [width(row[index][0]) for row in rows]))
        for index, column in enumerate(spec)
    ]
    over = sum(widths) + _GAP * (len(spec) - 1) - total
    flexible = [index for index, column in enumerate(spec) if column.flexible]
    # The widest flexible column is cut first, one column at a time, so that they end up alike.
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
    """Yield the lines of a table of escaped cells, at most *total* columns wide where its floors allow it."""
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
    """A line on stderr that counts, only on a terminal and only after a second."""

    def __init__(
        self, what: str, *, after: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._clock = clock
        self._due = clock() + after
        self._on = sys.stderr.isatty()
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Note that *done* of *total* are done."""
        now = self._clock()
        if not self._on or now < self._due:
            return
        self._due = now + 0.1
        share = f" ({done * 100 // total} %)" if total else ""
        sys.stderr.write(f"\r{self._what} {done:,} of {total:,}{share}\x1b[K")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away, if there is one."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
