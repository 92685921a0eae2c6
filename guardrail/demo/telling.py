"""Prints the demo's text in at most 80 columns. The text uses the commands' wording for the same
facts.
"""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from guardrail.cli.app import run as command
from guardrail.cli.output import Style, data, paint
from guardrail.cli.render import outcome, verdict
from guardrail.review.records import RecordedCall
from guardrail.review.terminal import escape, inline

__all__ = ["COLUMNS", "called", "fact", "guardrail", "heading", "item", "recorded", "said", "say"]

COLUMNS = 80


def heading(text: str) -> None:
    """Print the heading of a section."""
    data()
    data(paint(text, Style.STRONG))


def say(text: str) -> None:
    """Print a paragraph."""
    for line in textwrap.wrap(text, COLUMNS):
        data(line)


def item(text: str) -> None:
    """Print one item of a list."""
    for line in textwrap.wrap(text, COLUMNS, initial_indent="  - ", subsequent_indent="    "):
        data(line)


def called(tool: str, args: Mapping[str, object]) -> None:
    """Print a call that the agent makes."""
    shown = ", ".join(f"{name}={inline(value, 60)}" for name, value in args.items())
    _labelled("agent", f"{tool}({shown})")


def recorded(call: RecordedCall) -> None:
    """Print the guard's decision and the outcome of the call, from their records."""
    word, style = verdict(call)
    rule = next((hit for hit in call.rules if hit.effect == call.effect), None)
    why = "" if rule is None else f" by rule {escape(rule.rule)}"
    data(f"  guard     {paint(word, style)}{why} (record {call.seq})")
    if call.admitted:
        ended, how = outcome(call)
        data(f"  outcome   {paint(ended, how)}")


def said(text: str) -> None:
    """Print the tool's result as the agent reads it."""
    _labelled("answer", escape(text))


def fact(label: str, text: str) -> None:
    """Print a label and a value."""
    _labelled(label, escape(text))


def _labelled(label: str, text: str) -> None:
    head = f"  {label:<9} "
    for line in textwrap.wrap(
        text, COLUMNS, initial_indent=head, subsequent_indent=" " * len(head)
    ):
        data(line)


def guardrail(*args: str, folder: Path) -> int:
    """Run a guardrail command on files in *folder*, show it as a user would type it, and return its
    exit code.
    """
    data(paint(f"$ guardrail {' '.join(args)}", Style.STRONG))
    sys.stdout.flush()
    with contextlib.chdir(folder), _width():
        code = command(args)
    sys.stderr.flush()
    data(paint(f"exit code {code}", Style.DIM))
    return code


@contextlib.contextmanager
def _width() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
