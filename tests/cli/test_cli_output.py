"""Tables, colour and progress: only what the reader's terminal can take."""

from __future__ import annotations

import io
import os
import pty
import sys

import click
import pytest

from guardrail.cli.output import (
    Align,
    Column,
    Progress,
    Style,
    columns,
    field,
    paint,
    prose,
    sentence,
    table,
    wrap_items,
)
from guardrail.review.terminal import width


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Neither NO_COLOR nor COLUMNS nor TERM from outside."""
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return monkeypatch


def test_colour_only_on_a_terminal(clean: pytest.MonkeyPatch) -> None:
    """A pipe gets plain text; a terminal gets colour unless NO_COLOR is set or it is a dumb one."""
    clean.setattr(sys, "stdout", io.StringIO())
    assert paint("word", Style.BAD) == "word"
    clean.setattr(sys, "stdout", Terminal())
    assert "\x1b[" in paint("word", Style.BAD)
    clean.setenv("NO_COLOR", "1")
    assert paint("word", Style.BAD) == "word"
    clean.setenv("NO_COLOR", "")
    assert "\x1b[" in paint("word", Style.BAD)
    clean.setenv("TERM", "dumb")
    assert paint("word", Style.BAD) == "word"


def test_stdout_and_stderr_are_asked_apart(clean: pytest.MonkeyPatch) -> None:
    """A pipe on stdout does not take the colour from stderr."""
    clean.setattr(sys, "stdout", io.StringIO())
    clean.setattr(sys, "stderr", Terminal())
    assert paint("word", Style.BAD) == "word"
    assert "\x1b[" in paint("word", Style.BAD, err=True)


SPEC = [
    Column("SEQ", Align.RIGHT),
    Column("TOOL", flexible=True),
    Column("ARGS", flexible=True),
    Column("MS", limit=4),
]


@pytest.mark.parametrize("total", [40, 60, 80, 120])
def test_a_table_fits_its_width(clean: pytest.MonkeyPatch, total: int) -> None:
    """Flexible columns give way, the others are kept whole."""
    clean.setattr(sys, "stdout", io.StringIO())
    rows = [
        [
            ("7", Style.PLAIN),
            ("日本語" * 30, Style.BAD),
            ("x" * 300, Style.PLAIN),
            ("1234567", Style.DIM),
        ],
        [("10", Style.PLAIN), ("short", Style.BAD), ("", Style.PLAIN), ("1", Style.DIM)],
    ]
    lines = list(table(SPEC, rows, total=total))
    assert all(width(line) <= total for line in lines)
    assert lines[1].startswith("  7  ")
    assert lines[1].endswith("123…")


def test_colour_does_not_change_the_width_of_a_table(clean: pytest.MonkeyPatch) -> None:
    """Columns are measured before they are painted."""
    rows = [[("7", Style.BAD), ("a", Style.BAD), ("b", Style.BAD), ("", Style.BAD)]]
    clean.setattr(sys, "stdout", io.StringIO())
    plain = list(table(SPEC, rows, total=80))
    clean.setattr(sys, "stdout", Terminal())
    painted = "\n".join(table(SPEC, rows, total=80))
    for code in ("\x1b[0m", "\x1b[2m", "\x1b[31m", "\x1b[1m"):
        painted = painted.replace(code, "")
    assert painted.split("\n") == plain


def test_a_pipe_has_a_fixed_width_and_columns_can_say_another(clean: pytest.MonkeyPatch) -> None:
    """What is written to a file does not depend on the window that it was written from."""
    assert columns() == 120
    clean.setenv("COLUMNS", "80")
    assert columns() == 80
    clean.setenv("COLUMNS", "3")
    assert columns() == 40


def test_sentences_are_wrapped_and_never_empty(clean: pytest.MonkeyPatch) -> None:
    """Words stay whole."""
    clean.setenv("COLUMNS", "60")
    lines = prose("word " * 40, indent=7)
    assert len(lines) > 1
    assert all(len(line) <= 53 for line in lines)
    assert prose("") == [""]


def test_fields_and_sentences_hang_below_their_head(clean: pytest.MonkeyPatch) -> None:
    """Painted or not, the lines are the same; an item of a list is never broken."""
    clean.setenv("COLUMNS", "40")
    assert list(field("  who     ", "a" * 40)) == ["  who     " + "a" * 30, " " * 10 + "a" * 10]
    assert list(field("  who     ", "")) == ["  who"]
    parts = (("place:", Style.STRONG), ("word " * 9 + "words", Style.PLAIN), ("[code]", Style.BAD))
    clean.setattr(sys, "stdout", io.StringIO())
    plain = list(sentence(*parts))
    assert len(plain) == 2
    assert all(len(line) <= 40 for line in plain)
    assert plain[1].startswith("    word")
    assert list(wrap_items("head ", [("x" * 30, Style.BAD), ("y" * 20, Style.BAD)])) == [
        "head " + "x" * 30 + ",",
        "     " + "y" * 20,
    ]
    clean.setattr(sys, "stdout", Terminal())
    assert [click.unstyle(line) for line in sentence(*parts)] == plain


def test_progress_waits_a_second_then_counts_and_goes(clean: pytest.MonkeyPatch) -> None:
    """Quick work shows nothing; slow work shows one line, and leaves none."""
    now = [0.0]
    stream = Terminal()
    clean.setattr(sys, "stderr", stream)
    progress = Progress("checked", clock=lambda: now[0])
    progress(1, 10)
    progress.clear()
    assert stream.getvalue() == ""
    now[0] = 1.0
    progress(5, 10)
    assert stream.getvalue() == "\rchecked 5 of 10 (50 %)\x1b[K"
    now[0] = 1.05
    progress(6, 10)
    assert "6 of 10" not in stream.getvalue()
    now[0] = 1.2
    progress(7, 0)
    progress.clear()
    assert stream.getvalue().endswith("\rchecked 7 of 0\x1b[K\r\x1b[K")


def test_progress_is_silent_where_stderr_is_no_terminal(clean: pytest.MonkeyPatch) -> None:
    """Log files hold no carriage returns."""
    stream = io.StringIO()
    clean.setattr(sys, "stderr", stream)
    progress = Progress("checked", after=0.0)
    progress(5, 10)
    progress.clear()
    assert stream.getvalue() == ""


def test_a_pseudo_terminal_is_recognised(clean: pytest.MonkeyPatch) -> None:
    """The real thing, not only a stream that claims to be one."""
    primary, replica = pty.openpty()
    try:
        with open(replica, "w", closefd=False) as stream:
            clean.setattr(sys, "stderr", stream)
            Progress("checked", after=0.0)(5, 10)
        assert b"checked 5 of 10" in os.read(primary, 100)
    finally:
        os.close(primary)
        os.close(replica)
