"""Implements ``guardrail rederive``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, settings_for
from guardrail.cli.output import Progress, Style, data, emit_json, hanging, paint, remark
from guardrail.cli.sources import file_of, open_records, source_options
from guardrail.core.words import agree, counted
from guardrail.errors import ConfigError
from guardrail.review.records import RecordReader, SessionKey, load, parse
from guardrail.review.sessions import RecordRef, find
from guardrail.review.terminal import escape, name, one_line
from guardrail.review.values import integer
from guardrail.review.why import decision_seq, headline

if TYPE_CHECKING:
    from guardrail.ledger.kept_policies import KeptFile, SourceFault
    from guardrail.review.rederive import DifferentDecision, Gap, NotDerived, Rederivation

__all__ = ["rederive"]

_SHOWN = 20
"""Maximum number of differences shown as text."""


@click.command(short_help="Re-derive recorded decisions from the kept policies.")
@click.argument("query", metavar="[QUERY]", required=False)
@source_options
@click.option(
    "--policies",
    type=click.Path(path_type=Path, readable=False),
    metavar="FOLDER",
    help="Folder with the kept policies. Default: the folder next to the ledger.",
)
@json_option
def rederive(
    *,
    query: str | None,
    config: Path | None,
    ledger: Path | None,
    exported: Path | None,
    segment: Path | None,
    policies: Path | None,
    as_json: bool,
) -> int:
    """Re-evaluate recorded decisions, with the recorded inputs and the kept policies, and report
    which decisions are the same.

    QUERY is a session, a call, a record number or `last`, as for `guardrail show`; without it, all
    decisions are re-derived. No tool runs. A decision can differ only if the policy read a value
    that was removed before recording, or if a different engine decided.

    Exit code 0: all are the same; 1: some differ; 3: none could be re-derived; 5: some could not be
    re-derived, or a different engine or version decided.
    """
    from guardrail.review.rederive import rederive as derive

    read = _reader(config, ledger, file_of(ledger, exported, segment), policies)
    progress = Progress("derived")
    with open_records(config, ledger, exported, segment) as reader:
        size, log = reader.size(), reader.log
        lines = _lines(reader, query)
        memory = _memory(config, ledger)
        try:
            found = derive(lines, read, memory=memory, progress=lambda seq: progress(seq + 1, size))
        finally:
            progress.clear()
    code = _exit(found)
    if as_json:
        emit_json({"exit": code, "log": log, **_document(found)})
    else:
        _report(found)
    return code


def _memory(config: Path | None, ledger: Path | None) -> int:
    from guardrail.config import Settings

    try:
        megabytes = settings_for(config, ledger).policy.memory_mb
    except ConfigError:
        megabytes = Settings().policy.memory_mb
    return megabytes << 20


def _reader(
    config: Path | None, ledger: Path | None, file: Path | None, policies: Path | None
) -> Any:
    """Return a function that reads a kept file from *policies* or, if that is None, first from the
    folder next to *file* (which is read instead of a ledger) and then from the folder next to the
    ledger.
    """
    from guardrail.ledger.kept_policies import KeptPolicies, SourceFault

    if policies is not None:
        return KeptPolicies(policies, policies).read
    # All copies of segments share one folder of sources.
    beside = [] if file is None else [None, file.parent / "policies"]
    places = [KeptPolicies(file, folder) for folder in beside if file is not None]
    try:
        places.append(KeptPolicies(settings_for(config, ledger).ledger.path))
    except ConfigError:
        if ledger is not None:
            places.append(KeptPolicies(ledger))

    def read(wanted: KeptFile) -> bytes | SourceFault:
        found: bytes | SourceFault = SourceFault.MISSING
        for place in places:
            found = place.read(wanted)
            if not isinstance(found, SourceFault):
                break
        return found

    return read


def _lines(reader: RecordReader, query: str | None) -> Iterator[tuple[int, bytes]]:
    """Yield (seq, line) for each decision that *query* selects. Raises ``NotFoundError``."""
    from guardrail.review.rederive import decided_lines

    if query is None:
        yield from decided_lines(reader.lines())
        return
    found = find(reader, query)
    if isinstance(found, RecordRef):
        seq = decision_seq(reader, found.seq)
        load(reader, seq)
        line = reader.record(seq)
        assert line is not None
        yield seq, line
        return
    for line in reader.calls(found.key.id):
        record = parse(line)
        if SessionKey.of(record) == found.key:
            yield integer(record, "seq") or 0, line


def _exit(found: Rederivation) -> Exit:
    if found.different:
        return Exit.NO
    if found.gaps and not found.derived:
        return Exit.UNKNOWN
    return Exit.RESERVED if found.gaps or found.other_engines else Exit.YES


# -- text ------------------------------------------------------------------------------------------


def _report(found: Rederivation) -> None:
    if not found.calls:
        remark("No decisions: nothing to derive.")
        return
    if found.same:
        data(
            f"{paint('same', Style.GOOD)}         {counted(found.same, 'decision')}: the recorded "
            "input leads to the recorded decision"
        )
    if found.different:
        data(
            f"{paint('different', Style.BAD)}    {counted(found.different, 'decision')}: a "
            "removed value affected the decision, or a different engine decided"
        )
        for each in found.differences[:_SHOWN]:
            for line in hanging(_difference(each), indent=0):
                data(f"  {line}")
        left = found.different - _SHOWN
        if left > 0:
            data(f"  and {left:,} more: guardrail rederive --json")
    for why, gap in found.gaps.items():
        data(
            f"{paint('not derived', Style.WARN)}  {counted(gap.calls, 'decision')}:"
            f" {_reason(why, gap)}"
        )
    if found.not_decided:
        data(
            f"{paint('no policy', Style.DIM)}    {counted(found.not_decided, 'call')} without a "
            "policy's decision (guardrail why SEQ)"
        )
    for line in _engines(found):
        remark(line, Style.WARN)
    if found.recorded:
        remark(
            f"{counted(found.recorded, 'different decision')} {agree(found.recorded, 'is')} "
            "recorded as reproducible: run guardrail verify, and report this as a bug in "
            "guardrail if the engine is the same",
            Style.BAD,
        )


def _difference(each: DifferentDecision) -> Iterable[str]:
    call, derived = each.call, each.derived
    yield f"record {call.seq}  {name(call.tool)}"
    yield f"  recorded: {_words(call.effect, [hit.rule for hit in call.rules])}"
    yield f"  derived:  {_words(str(derived.effect), [rule.rule for rule in derived.rules])}"


def _words(effect: str, rules: list[str]) -> str:
    return f"{headline(effect)} by {', '.join(sorted(escape(rule) for rule in rules)) or 'no rule'}"


def _reason(why: NotDerived, gap: Gap) -> str:
    from guardrail.review.rederive import NotDerived

    words = {
        NotDerived.INCOMPLETE: "the record does not contain the complete input",
        NotDerived.UNNAMED: "the record does not identify the policy and its data (an OPA server "
        "served them without a full revision)",
        NotDerived.NOT_KEPT: "the policy is not kept (an OPA server served it, an earlier version "
        "decided, or its file was deleted)",
        NotDerived.DATA_NOT_KEPT: "the policy's data is not kept (keep_data = false in [policy], "
        "an earlier version decided, or its file was deleted)",
        NotDerived.CHANGED: "a kept file was changed, so it is not used",
        NotDerived.UNREADABLE: "the kept policy can't be read",
        NotDerived.REFUSED: "the embedded engine does not accept the kept policy",
        NotDerived.FAILED: "the evaluation failed",
    }
    detail = f": {one_line(gap.detail)}" if gap.detail else ""
    return f"{words[why]}{detail} (first: record {gap.first})"


def _engines(found: Rederivation) -> Iterator[str]:
    """Yield a line for each engine that made decisions, except the engine that re-derived them."""
    counts: dict[tuple[str, str], int] = {}
    for used, count in found.policies.items():
        key = used.engine, used.version
        counts[key] = counts.get(key, 0) + count
    for key, count in counts.items():
        if key != found.engine:
            yield (
                f"{counted(count, 'decision')} {agree(count, 'was')} made by"
                f" {escape(' '.join(key))}, and derived with {' '.join(found.engine)}"
            )


# -- JSON ------------------------------------------------------------------------------------------


def _document(found: Rederivation) -> dict[str, Any]:
    engine, version = found.engine
    return {
        "calls": found.calls,
        "same": found.same,
        "different": found.different,
        "not_derived": [
            {"reason": why, "calls": gap.calls, "first": gap.first, "detail": gap.detail or None}
            for why, gap in found.gaps.items()
        ],
        "not_decided": found.not_decided,
        "engine": {"name": engine, "version": version} if engine else None,
        "policies": [{**used._asdict(), "calls": calls} for used, calls in found.policies.items()],
        "differences": [
            {
                "seq": each.call.seq,
                "call": each.call.call,
                "tool": each.call.tool,
                "reproducible": each.call.reproducible,
                "recorded": {
                    "effect": each.call.effect,
                    "cause": each.call.cause,
                    "rules": sorted(hit.rule for hit in each.call.rules),
                },
                "derived": {
                    "effect": each.derived.effect,
                    "cause": each.derived.cause,
                    "rules": sorted(rule.rule for rule in each.derived.rules),
                },
            }
            for each in found.differences
        ],
        "differences_left_out": found.different - len(found.differences),
    }
