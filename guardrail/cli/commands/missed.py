"""Implements ``guardrail missed``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.detectors import OWN, detector_option, load_detectors
from guardrail.cli.options import json_option, settings_for
from guardrail.cli.output import Progress, Style, data, emit_json, paint, prose, remark
from guardrail.cli.sources import known_copies, open_records, report_pruned, source_options
from guardrail.config import RedactionSettings
from guardrail.core.words import counted
from guardrail.errors import ConfigError
from guardrail.review.pruned import document
from guardrail.review.records import RecordReader, parse, pruned_range
from guardrail.review.terminal import escape, one_line

if TYPE_CHECKING:
    from guardrail.review.missed import MissedValue, Search

__all__ = ["document_of", "exit_code", "line_of", "missed", "report_failures"]

_SHOWN = 200
"""Maximum number of values shown as text."""
_LISTED = 10_000
"""Maximum number of values in JSON. All are counted."""


@click.command(short_help="Report sensitive values that redaction left in the records.")
@source_options
@detector_option(
    "Search with this detector: guardrail (the current rules; the default), presidio, or one of an "
    "installed package. Can be repeated."
)
@click.option(
    "--from", "start", type=click.IntRange(min=0), default=0, metavar="SEQ", help="First record."
)
@json_option
def missed(
    *,
    config: Path | None,
    ledger: Path | None,
    exported: Path | None,
    segment: Path | None,
    names: tuple[str, ...],
    start: int,
    as_json: bool,
) -> int:
    """Search the recorded arguments, results, errors and messages of rules with other detectors,
    and report the values that redaction left there.

    Use the report to add rules ([redaction] in the settings) and annotations. The records are not
    changed, and identities, which are recorded in plain text, are not searched. The output contains
    the values that were found.

    Exit code 0: the detectors found nothing; 2: there is no such detector; 3: a detector failed, so
    some values were not searched; 5: they found values.
    """
    from guardrail.review.missed import Search

    with open_records(config, ledger, exported, segment) as reader:
        search = Search(load_detectors(names or (OWN,), _rules(config, ledger)))
        found: list[tuple[int, MissedValue]] = []
        counts: Counter[tuple[str, str]] = Counter()
        for seq, each in _found(reader, search, start):
            counts[each.detector, each.cls] += 1
            if len(found) < _LISTED:
                found.append((seq, each))
        log, lost = reader.log, pruned_range(reader)
        copies = [] if lost is None else known_copies(reader, config, ledger)
    code = exit_code(search, bool(found))
    if as_json:
        emit_json(
            {
                "exit": int(code),
                "log": log,
                "texts": search.texts,
                "found": counts.total(),
                "missed": [{"seq": seq, **document_of(each)} for seq, each in found],
                "failures": dict(search.failures),
                "pruned": document(lost, copies),
            }
        )
        return code
    if lost is not None:
        report_pruned(lost, copies)
    for seq, each in found[:_SHOWN]:
        for line in prose(f"record {seq}  {line_of(each)}", indent=2):
            data(line)
    _summarize(search, counts)
    return code


def _rules(config: Path | None, ledger: Path | None) -> RedactionSettings:
    try:
        return settings_for(config, ledger).redaction
    except ConfigError:
        if ledger is None:
            raise
        return RedactionSettings()  # --ledger alone reads a ledger, whatever the settings contain


def _found(reader: RecordReader, search: Search, start: int) -> Iterator[tuple[int, MissedValue]]:
    from guardrail.review.missed import recorded_values

    progress, size = Progress("searched"), reader.size()
    try:
        for seq, _, line in reader.lines(start):
            for place, value in recorded_values(parse(line, seq)):
                for each in search.missed(value, place):
                    yield seq, each
            progress(seq + 1, size)
    finally:
        progress.clear()


def exit_code(search: Search, found: bool) -> Exit:
    """Return the exit code. A failure of a detector outweighs values that were found."""
    if search.failures:
        return Exit.UNKNOWN
    return Exit.RESERVED if found else Exit.YES


def document_of(each: MissedValue) -> dict[str, Any]:
    """Return *each* as a JSON object."""
    return {
        "place": each.place,
        "key": each.key,
        "detector": each.detector,
        "class": each.cls,
        "text": each.text,
    }


def line_of(each: MissedValue) -> str:
    """Return *each* as a line for a terminal."""
    key = " (key)" if each.key else ""
    place = escape(each.place) or "(the whole value)"
    return f"{place}{key}  {each.cls}  {one_line(each.detector)}: {one_line(each.text)}"


def report_failures(search: Search) -> None:
    """Report the texts that a detector did not search."""
    for why, count in search.failures.items():
        remark(f"NOT SEARCHED: {counted(count, 'text')}: {one_line(why)}", Style.BAD)


def _summarize(search: Search, counts: Counter[tuple[str, str]]) -> None:
    if counts.total() > _SHOWN:
        data(f"and {counts.total() - _SHOWN:,} more: guardrail missed --json")
    for (detector, cls), count in counts.most_common():
        data(f"{paint(one_line(detector), Style.STRONG)}  {counted(count, 'value')} of class {cls}")
    if counts:
        remark("The values stay in these records.", Style.DIM)
    if any(detector == OWN for detector, _ in counts):
        remark("The current rules remove what the detector guardrail found from new records.")
    if any(detector != OWN for detector, _ in counts):
        remark(
            "next:  add rules to [redaction] of the settings, or annotations to the tools' schemas "
            "(docs/redaction.md)"
        )
    if not counts:
        remark(f"nothing found in {counted(search.texts, 'different text')}", Style.DIM)
    report_failures(search)
