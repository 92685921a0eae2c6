"""Implements ``guardrail show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from guardrail.approvals.kinds import RejectionReason
from guardrail.cli.options import json_option
from guardrail.cli.output import (
    Align,
    Cell,
    Column,
    Style,
    access_fields,
    columns,
    data,
    emit_json,
    field,
    hanging,
    paint,
    prose,
    remark,
    table,
    wrap_items,
)
from guardrail.cli.render import (
    approval_lines,
    approver,
    asked_by,
    clock,
    milliseconds,
    offset,
    outcome,
    removed,
    rule_lines,
    verdict,
)
from guardrail.cli.sources import open_records, source_options
from guardrail.core.words import counted
from guardrail.review.approval_words import REASONS
from guardrail.review.records import (
    RecordedCall,
    RecordReader,
    load,
    missing_record,
    parse,
    person_of,
)
from guardrail.review.sessions import (
    TOKENS_REFUSED,
    RecordRef,
    Timeline,
    find,
    timeline,
    who,
    with_outcome,
)
from guardrail.review.setting_changes import setting_changes
from guardrail.review.terminal import (
    arguments,
    clip,
    escape,
    inline,
    json_safe,
    json_text,
    name,
    tree,
    width,
)
from guardrail.review.values import integer, number, obj, text
from guardrail.review.why import omitted_sentence

__all__ = ["show"]

_REJECTED = "(the policy was not evaluated; arguments are not recorded)"
"""Text shown instead of the arguments of a call that never reached the policy."""
_WIDE = 110
"""Minimum width for a table. If the output is narrower, each call takes two lines."""
_MODELS = 5
"""Maximum number of models listed in the header of a session."""
_MODEL = 60
"""Maximum width of a model's name."""


@click.command(short_help="Show a session call by call, or one record in full.")
@click.argument("ref", metavar="SESSION|SEQ|last")
@source_options
@json_option
def show(
    *,
    ref: str,
    config: Path | None,
    ledger: Path | None,
    exported: Path | None,
    segment: Path | None,
    as_json: bool,
) -> None:
    """Show a session call by call, oldest first, or the record SEQ in full.

    SESSION is a session id or a prefix of one; `last` is the session of the latest call. A number
    always means a record: write session:42 for the session with the id 42. For a call id, the
    command shows the call's decision.
    """
    with open_records(config, ledger, exported, segment) as reader:
        target = find(reader, ref)
        if isinstance(target, RecordRef):
            (_json_record if as_json else _print_record)(reader, target.seq)
            return
        session = timeline(reader, target.key)
        log = reader.log
    if as_json:
        from guardrail.review import documents

        emit_json(documents.timeline(log, session))
    else:
        _print_session(session)


def _print_session(session: Timeline) -> None:
    for line in _header(session):
        data(line)
    data()
    if not session.calls:
        remark(
            "This ledger contains only outcomes from this session, not the decisions.", Style.WARN
        )
        return
    lines = _table(session) if columns() >= _WIDE else _cards(session)
    for line in lines:
        data(line)
    approval_rows = [(call.seq, line) for call in session.calls for line in approval_lines(call)]
    if approval_rows:
        data()
        data(paint("Approvals", Style.STRONG))
    for seq, line in approval_rows:
        for text_ in prose(f"record {seq}: {line}", indent=4):
            data(f"  {text_}")
    first = next((call for call in session.calls if not call.admitted), None)
    if first is not None:
        remark(
            f"\nguardrail why {first.seq} says why; guardrail show SEQ shows one record in full.",
            Style.DIM,
        )


def _header(session: Timeline) -> Iterator[str]:
    head, calls = session.header, session.calls
    yield f"{paint('Session', Style.STRONG)} {name(session.key.id, '(no id)')}"
    yield f"  principal  {who(head, 'principal', short=False)}"
    agent = who(head, "agent", short=False)
    extra = " ".join(
        escape(part)
        for part in (text(head, "agent", field) for field in ("version", "framework", "instance"))
        if part
    )
    yield f"  agent      {agent}" + (f", {extra}" if extra else "")
    charter = text(head, "agent", "charter")
    if charter:
        yield f"  charter    {escape(charter)}"
    delegation = head.get("delegation")
    if isinstance(delegation, list) and delegation:
        chain = " > ".join(
            name(text(step, "sub"), "?", short=False) if isinstance(step, Mapping) else "?"
            for step in delegation
        )
        yield f"  acting for {chain}"
    yield f"  tenant     {name(session.key.tenant, '-')}"
    place = obj(head, "origin")
    yield (
        f"  from       {name(text(place, 'host'), '?')}, pid {escape(str(place.get('pid', '?')))},"
        f" {name(text(place, 'adapter'), '?')}"
    )
    models = list(dict.fromkeys(text(call.model, "name") for call in session.calls if call.model))
    if models:
        shown = [(clip(name(each, "?"), _MODEL), Style.PLAIN) for each in models[:_MODELS]]
        if len(models) > _MODELS:
            shown.append((f"{len(models) - _MODELS:,} more", Style.DIM))
        yield from wrap_items("  models     ", shown)
    yield f"  time       {clock(session.started)} to {clock(session.ended)}"
    counts = [
        (sum(call.denied for call in calls), "denied", Style.BAD),
        (sum(call.effect == "require_approval" for call in calls), "needing approval", Style.WARN),
        (
            sum(call.type == "call.rejected" for call in calls),
            "rejected",
            Style.WARN,
        ),
        (sum(call.failed for call in calls), "failed", Style.BAD),
        (
            sum(call.outcome is not None and call.outcome.status == "unknown" for call in calls),
            "unknown",
            Style.WARN,
        ),
        (sum(call.open for call in calls), "open", Style.WARN),
    ]
    shown = [(f"{count:,} {word}", style) for count, word, style in counts if count]
    yield from wrap_items("  calls      ", [(counted(len(calls), "call"), Style.PLAIN), *shown])
    yield paint("  chain      not checked here; guardrail verify checks it", Style.DIM)


def _rule(call: RecordedCall) -> str:
    names = [escape(hit.rule) for hit in call.rules if hit.effect == call.effect]
    if names:
        return names[0] + (f" +{len(names) - 1}" if len(names) > 1 else "")
    return escape(call.cause if call.cause != "policy" else "") or (
        escape(call.detail) if not call.effect else "-"
    )


def _duration(call: RecordedCall) -> str:
    return milliseconds(call.outcome.ms if call.outcome is not None else None)


def _table(session: Timeline) -> Iterator[str]:
    spec = [
        Column("OFFSET", Align.RIGHT),
        Column("SEQ", Align.RIGHT),
        Column("VERDICT"),
        Column("TOOL", limit=28, flexible=True, floor=12),
        Column("ARGUMENTS", flexible=True, floor=16),
        Column("RULE", limit=24),
        Column("OUTCOME", limit=24),
        Column("MS", Align.RIGHT),
    ]
    yield from table(spec, [_row(session.started, call) for call in session.calls])


def _row(started: str, call: RecordedCall) -> list[Cell]:
    return [
        (offset(started, call.ts), Style.DIM),
        (str(call.seq), Style.PLAIN),
        verdict(call),
        (name(call.tool), Style.STRONG),
        (_args(call, columns()), Style.PLAIN),
        (_rule(call), Style.PLAIN),
        outcome(call),
        (_duration(call), Style.PLAIN),
    ]


def _args(call: RecordedCall, limit: int) -> str:
    if call.omitted:
        return f"(not recorded: {clip(escape(omitted_sentence(call.omitted)), limit)})"
    if call.type == "call.rejected":
        return _REJECTED
    if isinstance(call.args, Mapping):
        return arguments(call.args, limit)
    return "" if call.args is None else inline(call.args, limit)


def _cards(session: Timeline) -> Iterator[str]:
    total = columns()
    seqs = max(len(str(session.calls[-1].seq)), 3)
    words = max(len(verdict(call)[0]) for call in session.calls)
    for call in session.calls:
        start = f"{offset(session.started, call.ts):>9}  {call.seq:>{seqs}}  "
        word, style = verdict(call)
        room = total - width(start) - words - 2
        tool, shown = clip(name(call.tool, "-"), room), _args(call, room)
        bare = shown == _REJECTED or shown.startswith("(not rec")
        body = clip(f"{tool} {shown}" if bare else f"{tool}({shown})", room)
        bold = body.startswith(tool)
        yield (
            paint(start, Style.DIM)
            + paint(word, style)
            + " " * (words - len(word) + 2)
            + (paint(tool, Style.STRONG) + body[len(tool) :] if bold else body)
        )
        end, end_style = outcome(call)
        duration = _duration(call)
        took = f", {duration} ms" if duration else ""
        rest = (
            f"by {clip(_rule(call), room - width(end) - len(took) - 5)}: "
            if _rule(call) != "-"
            else ""
        )
        yield " " * (width(start) + words + 2) + rest + paint(end, end_style) + took


def _json_record(records: RecordReader, seq: int) -> None:
    line = _line(records, seq)
    parse(line, seq)
    # The stored line is used, because parsing and reserializing it could change numbers.
    shown = json_safe(line.decode("utf-8", errors="backslashreplace"))
    access = json_text(access_fields())[1:-1]
    data(
        f'{{"seq": {seq}, "leaf": "{_leaf(line)}", "related": {_related(records, seq)}, "record":'
        f" {shown}"
        f"{', ' if access else ''}{access}}}"
    )


def _leaf(line: bytes) -> str:
    from guardrail.core.log.record import leaf_hash

    return leaf_hash(line).hex()


def _line(records: RecordReader, seq: int) -> bytes:
    line = records.record(seq)
    if line is None:
        raise missing_record(records, seq)
    return line


def _related(records: RecordReader, seq: int) -> list[int]:
    """Return the sequence numbers of the call's other records."""
    call = text(load(records, seq), "call")
    others = [] if not call else [parse(line, seq).get("seq") for line in records.by_call(call)]
    return [other for other in others if isinstance(other, int) and other != seq]


def _print_record(records: RecordReader, seq: int) -> None:
    line = _line(records, seq)
    record = parse(line, seq)
    kind = text(record, "type")
    data(
        f"{paint(f'Record {seq}', Style.STRONG)}  {escape(kind) or '(no type)'} "
        f" {clock(text(record, 'ts'))}"
    )
    if kind.startswith(("admin.", "access.")):
        data(f"  by {approver(person_of(obj(record, 'actor')))}")
    if kind in {"call.decision", "call.rejected"}:
        _print_decision(with_outcome(records, seq))
    elif kind == "call.outcome":
        ms = milliseconds(number(record, "ms"))
        data(f"  {escape(text(record, 'status'))}" + (f", {ms} ms" if ms else ""))
    elif kind in {"approval.granted", "approval.refused", "approval.rejected"}:
        _print_answer(record)
    elif kind in {"call.throttled", "admin.quota_reached"}:
        _print_throttled(record)
    elif kind == TOKENS_REFUSED:
        _print_refused(obj(record, "detail"))
    elif kind == "admin.config_changed":
        _print_changes(record)
    omitted = text(record, "omitted")
    if omitted:
        data(paint(f"  bare: {escape(omitted_sentence(omitted))}", Style.WARN))
    related = _related(records, seq)
    if related:
        data(f"  same call: {', '.join(f'record {other}' for other in related)}")
    taken = obj(record, "redaction", "removed")
    if taken:
        data()
        data(paint("Removed before recording", Style.STRONG))
        for entry in removed(taken):
            data(f"  {entry}")
    data()
    data(paint("Record", Style.STRONG))
    _print_tree(record)
    data()
    data(paint(f"leaf {_leaf(line)}, {counted(len(line), 'byte')}", Style.DIM))


def _print_answer(record: Mapping[str, Any]) -> None:
    """Print who answered which request, and whether the answer counted."""
    kind, request = text(record, "type"), integer(record, "request", "seq")
    who = approver(person_of(obj(record, "approver")))
    of = "a request" if request is None else f"the request of record {request}"
    if kind == "approval.rejected":
        data(
            f"  {who} answered {of}, but the answer did not count: "
            f"{_describe_rejection(text(record, 'code'))}"
        )
        return
    word, style = ("APPROVED", Style.GOOD) if kind == "approval.granted" else ("REFUSED", Style.BAD)
    data(f"  {paint(word, style)}  {of}, by {who}")


def _describe_rejection(code: str) -> str:
    try:
        return REASONS[RejectionReason(code)]
    except ValueError:
        return escape(code) or "no reason was recorded"


def _print_throttled(record: Mapping[str, Any]) -> None:
    """Print how many calls over the limit were denied, or since which minute they are being
    denied.
    """
    detail = record if text(record, "type") == "call.throttled" else obj(record, "detail")
    principal = text(detail, "principal", "id")
    size = integer(detail, "ledger_mb")
    if size is not None:
        whose = "all principals"
    elif obj(detail, "principal"):
        whose = name(principal, "nobody")
    else:
        tenant = text(detail, "tenant")
        whose = f"tenant {name(tenant, '')}" if tenant else "several principals"
    limit = integer(detail, "calls_per_minute") or 0
    when = clock(text(detail, "since"))
    minute = f"more than {limit:,} in the minute from {when}"
    if size is not None:
        minute = f"the ledger has reached its limit of {size:,} MB (minute from {when})"
    count = integer(detail, "count")
    if count is None:
        data(paint(f"  DENIED  the further calls of {whose}: {minute}", Style.BAD))
    else:
        data(paint(f"  DENIED  {counted(count, 'call')} of {whose}: {minute}", Style.BAD))


def _print_refused(detail: Mapping[str, Any]) -> None:
    """Print how many tokens were refused since when, and for which reasons."""
    reasons = ", ".join(
        f"{name(reason)} {count:,}"
        for reason, count in sorted(obj(detail, "reasons").items())
        if isinstance(count, int)
    )
    tokens = counted(integer(detail, "count") or 0, "token")
    shown = f"  REFUSED  {tokens}" + (f": {reasons}" if reasons else "")
    data(paint(f"{shown} (since {clock(text(detail, 'since'))})", Style.BAD))


def _print_changes(record: Mapping[str, Any]) -> None:
    """Print the old and the new value of each setting that changed."""
    for change in setting_changes(record):
        for line in field("  ", f"{change.name}: {change.old} -> {change.new}"):
            data(line)


def _print_tree(record: Mapping[str, Any]) -> None:
    for entry in tree(record, indent=2):
        data(entry)


def _print_decision(call: RecordedCall) -> None:
    word, style = verdict(call)
    end, end_style = outcome(call)
    data(f"  {paint(word, style)}  {name(call.tool, '(no tool)')}, then {paint(end, end_style)}")
    for entry in asked_by(call):
        data(f"  {entry}")
    for entry in hanging(rule_lines(call.rules)):
        data(f"  {entry}")
    if call.cause and call.cause != "policy":
        data(f"  cause {escape(call.cause)}{f' ({escape(call.detail)})' if call.detail else ''}")
    for entry in hanging(approval_lines(call)):
        data(f"  {entry}")
    data(paint(f"  guardrail why {call.seq} explains it", Style.DIM))
