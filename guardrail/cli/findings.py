"""Prints findings about policies for several commands."""

from __future__ import annotations

from collections.abc import Iterable

from guardrail.cli.output import Cell, Style, data, prose, sentence
from guardrail.errors import Finding
from guardrail.review.terminal import one_line

__all__ = ["print_finding", "print_findings"]


def print_findings(findings: Iterable[Finding], style: Style, *, label: str = "") -> None:
    """Print each finding with its location and hint. *label* precedes the code."""
    for finding in findings:
        place = one_line(f"{finding.file}:{finding.line}" if finding.line else finding.file)
        print_finding(place, finding.message, (f"[{label}{finding.code}]", style), finding.hint)


def print_finding(place: str, message: str, code: Cell, hint: str) -> None:
    """Print one finding, wrapped to the terminal width: the location, the message and *code*,
    followed by *hint*.
    """
    shown = (one_line(message), Style.PLAIN)
    for line in sentence((f"{place}:", Style.STRONG), shown, code):
        data(line)
    if hint:
        for line in prose(one_line(hint), indent=4):
            data(f"    {line}")
