"""Implements ``guardrail suspend``, ``guardrail resume`` and ``guardrail suspensions``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.app import Exit
from guardrail.cli.every_tenant import all_tenants_option, left_out, tenant_list
from guardrail.cli.options import SUBJECT, json_option, ledger_options, open_ledger, settings_of
from guardrail.cli.output import Style, data, emit_json, field, paint, remark
from guardrail.cli.render import clock
from guardrail.cli.retention_ledger import redacted_reason
from guardrail.core.times import record_time
from guardrail.core.words import agree, counted
from guardrail.errors import UsageError
from guardrail.review.terminal import escape, name, one_line

if TYPE_CHECKING:
    from guardrail.core.log.suspensions import Subject, Suspension
    from guardrail.ledger.reader import LedgerReader
    from guardrail.ledger.suspending import Suspended

__all__ = ["resume", "suspend", "suspensions"]

_SUBJECT = "SUBJECT"
_LOOK_ALIKES = 10
"""Maximum number of names that look like the subject's that are printed."""


@click.command(short_help="Stop the calls of a principal, an agent or a tool, or all calls.")
@ledger_options
@all_tenants_option
@json_option
@click.option(
    "--reason",
    metavar="TEXT",
    help="Required. Reason, in your own words; recorded in the ledger. The agent never sees it.",
)
@click.option(
    "--until",
    metavar="TIME",
    help="End of the suspension, with a time zone: 2026-12-01T18:00Z. Default: until resumed.",
)
@click.argument("subject", metavar=_SUBJECT, type=SUBJECT)
def suspend(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    reason: str | None,
    until: str | None,
    subject: str,
) -> int:
    """Deny every further call of SUBJECT, in all guards of this ledger, in every process, from the
    next call on.

    SUBJECT is principal:ID, agent:ID, tool:NAME or all. Ids that look the same are equal: case,
    width and invisible characters do not matter. There are no wildcards. Calls that already run are
    not stopped. Exit code 0: the calls are suspended, by this command or an earlier one.
    """
    from guardrail.ledger.files import utc_timestamp
    from guardrail.wiring.suspending import open_suspender, recorded_subject, subject_of

    said = subject_of(subject)
    words = redacted_reason(reason, needed="guardrail suspend SUBJECT")
    end = None if until is None else _until(until)
    assert words is not None
    settings = settings_of(config, ledger)
    with open_ledger(config, ledger) as reader:
        with open_suspender(settings) as (suspender, keys):
            recorded = recorded_subject(said, settings, keys)
            _refuse_displayed(reader, said, recorded)
            done = suspender.suspend(recorded, reason=words, until=end, now=utc_timestamp)
        running, known = _calls_of(reader, recorded)
        similar, nearest = _similar_names(reader, said)
    nearest = nearest if known is False else None
    own, others = left_out(config, ledger)
    if as_json:
        calls = {"running": running, "known": known, "look_alikes": similar, "nearest": nearest}
        emit_json({**_document(recorded, done, words, end), **calls, "other_tenants": others})
        return Exit.YES
    _print_suspended(_spelled(said, recorded), done, end)
    if known is False:
        _print_unknown(said, nearest)
    _print_look_alikes(said, similar)
    _print_left_out("not stopped", own, others)
    if running:
        remark(
            f"{counted(running, 'call')} {agree(running, 'was')} admitted before and may still run",
            Style.WARN,
        )
    return Exit.YES


def _document(subject: Subject, done: Suspended, reason: str, end: str | None) -> dict[str, object]:
    """Return the part of the JSON document that describes the suspension."""
    written = done.receipt is not None
    return {
        "subject": subject.document,
        "suspended": True,
        "written": written,
        "seq": _seq(done),
        "until": end if written else _earlier(done).until,
        "replaced": done.earlier.seq if written and done.earlier else None,
        "reason": reason if written else _earlier(done).reason,
        "in_force": done.in_force,
    }


def _calls_of(reader: LedgerReader, subject: Subject) -> tuple[int | None, bool | None]:
    """Return the number of running calls of *subject*, and whether the ledger names it; None if the
    ledger can't be read. The suspension is in force in any case.
    """
    from guardrail.errors import LedgerError
    from guardrail.review.suspensions import has_called, running_calls

    try:
        return running_calls(reader, subject), has_called(reader, subject)
    except LedgerError:
        return None, None


def _refuse_displayed(reader: LedgerReader, said: Subject, recorded: Subject) -> None:
    """Raise ``UsageError`` if *said* is a token as commands display it, unless a caller has this
    text as its id.
    """
    from guardrail.wiring.suspending import is_displayed_token

    if is_displayed_token(said) and _calls_of(reader, recorded)[1] is False:
        raise UsageError(
            f"{escape(said.id)} is a token as commands display it, or a part of one, and nobody has"
            " this id, so nothing was suspended",
            code="usage.token",
            hint=f"guardrail show SESSION has the full token, {said.kind}:gr1:{said.kind}:...; so"
            " has guardrail sessions --json",
        )


def _similar_names(reader: LedgerReader, said: Subject) -> tuple[list[str], str | None]:
    """Return the recorded names that can be confused with *said*, and the name whose spelling is
    nearest; none if the ledger can't be read.
    """
    from guardrail.errors import LedgerError
    from guardrail.review.suspensions import look_alikes, nearest_name, recorded_names

    try:
        names = recorded_names(reader, said)
    except LedgerError:
        return [], None
    return look_alikes(names, said), nearest_name(names, said)


def _spelled(said: Subject, recorded: Subject) -> str:
    """Return the name of *said* for people, with its recorded form if that is a token. An id that
    contains a secret is shown only as its token.
    """
    from guardrail.core.redaction.detectors.scan import scan_secrets

    if said == recorded or scan_secrets(said.id):
        return escape(recorded.name)
    return f"{escape(said.name)}, recorded as {escape(recorded.id)}"


def _print_unknown(said: Subject, nearest: str | None) -> None:
    meant = "" if nearest is None else f"; did you mean {said.kind}:{escape(nearest)}?"
    remark(
        f"no call in the ledger names {escape(said.name)} in this spelling yet; its first call will"
        f" be denied{meant}",
        Style.PLAIN if nearest is None else Style.WARN,
    )


def _print_left_out(effect: str, own: str, others: list[str]) -> None:
    """Name the tenants that a command left out, because nobody selected them."""
    if others:
        remark(f"only in tenant {escape(own)}; {effect}: {tenant_list(others)}", Style.WARN)
        remark("next:  repeat the command with --tenant NAME or --all-tenants")


def _print_look_alikes(said: Subject, similar: list[str]) -> None:
    for other in similar[:_LOOK_ALIKES]:
        remark(f"not suspended: {said.kind}:{escape(other)} looks like it", Style.WARN)
    if len(similar) > _LOOK_ALIKES:
        remark(f"and {len(similar) - _LOOK_ALIKES} more look-alikes: --json lists them", Style.WARN)


def _earlier(done: Suspended) -> Suspension:
    assert done.earlier is not None
    return done.earlier


def _seq(done: Suspended) -> int:
    return _earlier(done).seq if done.receipt is None else done.receipt.seq


def _print_suspended(name: str, done: Suspended, end: str | None) -> None:
    if done.receipt is None:
        earlier = _earlier(done)
        data(f"{paint('suspended', Style.WARN)}  {name}, already by record {earlier.seq}")
        remark(f"nothing was written: that suspension {_lasts(earlier.until)}")
        return
    data(f"{paint('suspended', Style.WARN)}  {name}, by record {done.receipt.seq}")
    remark(f"the suspension {_lasts(end)}")
    if done.earlier is not None:
        remark(f"it replaces that of record {done.earlier.seq}")


def _lasts(until: str | None) -> str:
    return "lasts until it is resumed" if until is None else f"ends at {clock(until)}"


def _until(text: str) -> str:
    """Return the time *text* in the form of record times. Raises ``UsageError``."""
    hint = 'guardrail suspend SUBJECT --reason "..." --until TIME, such as 2026-12-01T18:00Z'
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise UsageError("the time of --until has no time zone", hint=hint)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError("the time of --until is not in the form of ISO 8601", hint=hint) from None
    if moment <= datetime.now(UTC):
        raise UsageError("the time of --until is not in the future", hint=hint)
    return record_time(moment)


@click.command(short_help="End a suspension.")
@ledger_options
@all_tenants_option
@json_option
@click.option("--reason", metavar="TEXT", help="Reason, in your own words; recorded in the ledger.")
@click.argument("subject", metavar=_SUBJECT, type=SUBJECT)
def resume(
    *, config: Path | None, ledger: Path | None, as_json: bool, reason: str | None, subject: str
) -> int:
    """End the suspension of SUBJECT: principal:ID, agent:ID, tool:NAME or all, as in `guardrail
    suspensions`.

    `guardrail resume all` ends only the suspension of all calls. Other suspensions stay in force.
    Exit code 3: SUBJECT is not suspended.
    """
    from guardrail.wiring.suspending import open_suspender, recorded_forms, subject_of

    said = subject_of(subject)
    words = None if reason is None else redacted_reason(reason, needed="guardrail resume SUBJECT")
    settings = settings_of(config, ledger)
    with open_ledger(config, ledger), open_suspender(settings) as (suspender, keys):
        first, *forms = recorded_forms(said, settings, keys)
        known = suspender.state()
        recorded = next((each for each in (first, *forms) if known.of(each)), first)
        receipt, ended, left = suspender.resume(recorded, reason=words)
    own, others = left_out(config, ledger)
    if as_json:
        emit_json(
            {
                "subject": ended.subject.document,
                "seq": receipt.seq,
                "suspension": ended.seq,
                "reason": words,
                "in_force": left,
                "other_tenants": others,
            }
        )
        return Exit.YES
    data(f"{paint('resumed', Style.GOOD)}  {escape(ended.subject.name)}, by record {receipt.seq}")
    if left:
        remark(
            f"{counted(left, 'other suspension')} {agree(left, 'is')} still in force:"
            " guardrail suspensions",
            Style.WARN,
        )
    _print_left_out("not resumed", own, others)
    return Exit.YES


@click.command(short_help="List the suspensions in force.")
@ledger_options
@all_tenants_option
@json_option
def suspensions(*, config: Path | None, ledger: Path | None, as_json: bool) -> int:
    """List the suspensions in force, oldest first, with the start, the end, the user and the reason
    of each. An expired suspension is listed until it is resumed.
    """
    from guardrail.cli.proved import proved_reader
    from guardrail.ledger.files import utc_timestamp
    from guardrail.review.suspensions import suspension_document, unproved_suspensions

    settings = settings_of(config, ledger)
    with open_ledger(config, ledger) as reader:
        log, proved = reader.log, proved_reader(reader, settings)
        found = proved.suspensions() if proved is not None else unproved_suspensions(reader)
    now = utc_timestamp()
    own, others = left_out(config, ledger)
    if as_json:
        listed = [suspension_document(each, now) for each in found.in_force]
        emit_json(
            {
                "log": log,
                "ledger": str(settings.ledger.path),
                "tenant": settings.identity.tenant,
                "other_tenants": others,
                "proved": proved is not None,
                "total": len(listed),
                "suspensions": listed,
            }
        )
        return Exit.YES
    if proved is None:
        remark(
            "NOT PROVED: without the log's keys, guardrail can't check that these are the "
            "suspensions in force",
            Style.WARN,
        )
    if not len(found):
        data("No suspension is in force.")
    for number, each in enumerate(found.in_force):
        if number:
            data()
        _print_suspension(each, now)
    remark(f"from the ledger {one_line(str(settings.ledger.path))}", Style.DIM)
    _print_left_out("not listed", own, others)
    return Exit.YES


def _person(each: Suspension) -> str:
    known = escape(each.assurance)
    return name(each.actor, "nobody") + (f" ({known})" if known else "")


def _print_suspension(each: Suspension, now: str) -> None:
    counts = each.counts_at(now)
    word = paint("suspended", Style.WARN) if counts else paint("expired", Style.DIM)
    data(f"{word}  {escape(each.subject.name)}  record {each.seq}")
    end = "until resumed" if each.until is None else f"until {clock(each.until)}"
    for line in field("", f"since {clock(each.since)}, {end}, by {_person(each)}"):
        data(line)
    for line in field("", one_line(each.reason)):
        data(line)
