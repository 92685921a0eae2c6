"""Implements ``guardrail approvals``, ``guardrail approve`` and ``guardrail refuse``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from guardrail.approvals.rules import RejectionReason, RequestState, StepKind
from guardrail.cli.acting import token_of_command
from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, open_ledger, settings_of
from guardrail.cli.output import Style, columns, data, emit_json, field, paint, remark, sentence
from guardrail.cli.proved import proved_reader
from guardrail.cli.render import approver, clock, removed
from guardrail.core.types import Assurance
from guardrail.core.words import counted
from guardrail.review.approval_words import COUNTS_IF
from guardrail.review.terminal import escape, name, one_line, tree, width

if TYPE_CHECKING:
    from guardrail.approvals.request import Approver
    from guardrail.approvals.service import Answer
    from guardrail.approvals.views import ListedRequest
    from guardrail.config import Settings

__all__ = ["answering_person", "approvals", "approve", "refuse"]

_F = TypeVar("_F", bound=Callable[..., Any])

_STYLES = {
    RequestState.PENDING: Style.WARN,
    RequestState.GRANTED: Style.GOOD,
    RequestState.BLOCKED: Style.BAD,
}


@click.command(short_help="List the calls that are waiting for a person's approval.")
@ledger_options
@json_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also list requests that are decided, used or expired.",
)
def approvals(config: Path | None, ledger: Path | None, as_json: bool, everything: bool) -> None:
    """List the calls that are waiting for a person's approval, oldest first. For each call, show
    the requester and which values are hidden from you.

    Arguments are shown as they are recorded. Approve a call with `guardrail approve ID --reason
    TEXT`, or refuse it.
    """
    from guardrail.approvals.views import document, terms_of, utc_now
    from guardrail.review.approvals import open_requests

    settings = settings_of(config, ledger)
    terms = terms_of(settings.approvals)
    with open_ledger(config, ledger) as reader:
        log = reader.log
        proved = proved_reader(reader, settings)
        found = open_requests(proved or reader, terms, utc_now(), everything=everything)
    if as_json:
        requests = [document(entry) for entry in found]
        emit_json(
            {
                "log": log,
                "proved": proved is not None,
                "total": len(requests),
                "requests": requests,
            }
        )
        return
    if proved is None:
        remark(
            "NOT PROVED: without the log's keys, guardrail can't check that this is the "
            "recorded request",
            Style.WARN,
        )
    for index, entry in enumerate(found):
        if index:
            data()
        _print_request(entry)
    if not found:
        remark("no calls are waiting for approval")
    elif any(entry.state is RequestState.PENDING for entry in found):
        remark("next:  guardrail approve ID --reason TEXT, or guardrail refuse ID --reason TEXT")
        if not terms.unsafe_asserted:
            remark(COUNTS_IF, Style.WARN)


@dataclass(frozen=True, slots=True)
class PersonsAnswer:
    """The words of a command line that answers a request."""

    kind: StepKind
    reason: str


def _answer_options(command: _F) -> _F:
    reason = click.option(
        "--reason",
        required=True,
        metavar="TEXT",
        help="Reason, in your own words; recorded in the ledger.",
    )
    return click.argument("ref", metavar="ID")(ledger_options(json_option(reason(command))))


@click.command(short_help="Approve one call.")
@_answer_options
def approve(
    ref: str,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    *,
    reason: str,
) -> int:
    """Approve the call ID: exactly that call, once, for a limited time.

    ID is an id from `guardrail approvals`, the beginning of one, or a record number. With
    --token-file, you approve as the verified principal of your token. Without it, you approve as
    your operating-system user, whom guardrail does not verify, so the settings must contain
    `unsafe_asserted_approvals = true`. The requester can't approve the call. Exit code 0: the
    approval is recorded; 1: it is rejected, and the rejection is recorded; 3: there is no such
    request, or the token is refused.
    """
    answer = PersonsAnswer(StepKind.GRANTED, reason)
    return _answer(ref, config, ledger, answer, as_json=as_json)


@click.command(short_help="Refuse a call permanently.")
@_answer_options
def refuse(
    ref: str,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    *,
    reason: str,
) -> int:
    """Refuse the call ID. Afterwards, nobody can approve it, and earlier approvals of it no longer
    count.

    ID is an id from `guardrail approvals`, the beginning of one, or a record number. Exit code 0:
    the refusal is recorded; 1: the refusal came too late, which is recorded; 3: there is no such
    request, or the token is refused.
    """
    answer = PersonsAnswer(StepKind.REFUSED, reason)
    return _answer(ref, config, ledger, answer, as_json=as_json)


def _answer(
    ref: str,
    config: Path | None,
    ledger: Path | None,
    said: PersonsAnswer,
    *,
    as_json: bool,
) -> int:
    from guardrail.approvals.views import hidden
    from guardrail.errors import UsageError
    from guardrail.ledger.steps import unproved
    from guardrail.review.approvals import find_request

    settings = settings_of(config, ledger)
    with open_ledger(config, ledger) as reader:
        asked = find_request(proved_reader(reader, settings) or reader, ref).request
    approval = asked.id
    who = answering_person(settings, asked.tenant)
    try:
        answer = _write(settings, approval, who, said)
    except UsageError as error:
        if error.code != "approval.unknown":
            raise
        # The request is in the records, so a changed row hides it from the guard.
        raise unproved(f"the table of calls does not lead to the request {approval}") from None
    rejected = answer.rejected
    request = answer.case.request
    if as_json:
        emit_json(
            {
                "approval": request.id,
                "request_seq": request.seq,
                "seq": answer.receipt.seq,
                "done": rejected is None,
                "code": None if rejected is None else str(rejected),
                "given": answer.given,
                "needed": request.needed,
                "expires": answer.expires,
                "reason": answer.reason,
                "hidden": hidden(answer.case),
            }
        )
    else:
        _print_answer(answer, said.kind, who)
    return Exit.YES if rejected is None else Exit.NO


def answering_person(settings: Settings, tenant: str) -> Approver:
    """Return the person who answers a request of *tenant*: the principal of the command's token, or
    the operating-system user.
    """
    from guardrail.approvals.service import system_user, token_approver

    actor = token_of_command()
    if actor is None:
        return system_user()
    return token_approver(actor.token.identity, tenant, settings)


def _write(settings: Settings, approval: str, who: Approver, said: PersonsAnswer) -> Answer:
    from guardrail.approvals.views import terms_of, utc_now
    from guardrail.config.redaction_rules import redaction_rules
    from guardrail.wiring.opening import open_journal

    rules = redaction_rules(settings.redaction)
    journal, keys = open_journal(settings, epochs=False)
    try:
        service = journal.approval_service(
            keys.tenant, terms_of(settings.approvals), rules, utc_now
        )
        say = service.approve if said.kind is StepKind.GRANTED else service.refuse
        return say(approval, who, said.reason)
    finally:
        journal.close()


def _print_answer(answer: Answer, kind: StepKind, who: Approver) -> None:
    from guardrail.approvals.views import hidden
    from guardrail.review.approval_words import REASONS

    def print_result(word: str, style: Style, text: str) -> None:
        for line in sentence((word, style), ("", Style.PLAIN), (text, Style.PLAIN), indent=2):
            data(line)

    request = answer.case.request
    title = _tool(request.tool)
    if answer.rejected is not None:
        word = "NOT APPROVED" if kind is StepKind.GRANTED else "NOT REFUSED"
        if kind is StepKind.REFUSED and answer.rejected is RejectionReason.REFUSED:
            word = "ALREADY REFUSED"
        reason = REASONS[answer.rejected]
        if answer.rejected is RejectionReason.APPROVER_COUNTED and answer.given >= request.needed:
            # The requester is recorded as a token, so further people may still approve.
            reason = "your approval already counts, and it is enough"
        print_result(word, Style.BAD, f"{title}: {reason}")
        data(f"  code    {answer.rejected}, record {answer.receipt.seq}")
        for pointer in (
            request.hidden_needs if answer.rejected is RejectionReason.NEEDS_HIDDEN else ()
        ):
            _print_field("hidden", escape(pointer))
        if answer.rejected is RejectionReason.ASSERTED:
            remark(
                "next:  add --token-file FILE, or set unsafe_asserted_approvals = true in"
                " [approvals] (read SECURITY.md first)"
            )
        if answer.rejected is RejectionReason.APPROVER_LOOKS_ALIKE:
            remark(
                "next:  compare the two ids character by character (docs/approvals.md, section Who"
                " may approve)"
            )
        if answer.rejected is RejectionReason.APPROVER_IS_REQUESTER:
            verified = who.assurance is Assurance.VERIFIED
            other = "another person" if verified else "another operating-system user"
            own = " --token-file FILE, with their token" if verified else ""
            remark(
                f"next:  {other} must run: guardrail approve {request.id} --reason TEXT{own}"
                " (docs/approvals.md, section Who may approve)"
            )
        return
    if kind is StepKind.REFUSED:
        print_result("REFUSED", Style.BAD, f"{title}: it can no longer be approved")
        data(f"  record  {answer.receipt.seq}")
        return
    print_result("APPROVED", Style.GOOD, f"{title}: {answer.given} of {request.needed}")
    data(f"  record  {answer.receipt.seq}")
    data(f"  until   {clock(answer.expires or '')}")
    for line in removed(hidden(answer.case)):
        for part in field("  not shown to you: ", line):
            data(part)
    if who.assurance is not Assurance.VERIFIED:
        remark("your identity was not verified: the record says unsafe_asserted", Style.WARN)
    missing = request.needed - answer.given
    if missing > 0:
        remark(f"next:  {counted(missing, 'more person')} must approve it")


def _print_field(label: str, text: str) -> None:
    for line in field(f"  {label:<6}  ", text):
        data(line)


def _print_request(entry: ListedRequest) -> None:
    from guardrail.approvals.views import hidden
    from guardrail.review.sessions import who

    request = entry.case.request
    tool, state = _tool(request.tool), str(entry.state).upper()
    suffix = f"  {tool}"
    if width(request.id + suffix + state) + 2 > columns():
        suffix = ""
    style = _STYLES.get(entry.state, Style.DIM)
    data(f"{paint(request.id, Style.STRONG)}{suffix}  {paint(state, style)}")
    if not suffix:
        _print_field("tool", tool)
    asked_at = clock(request.asked.isoformat())
    _print_field(
        "asked",
        f"{asked_at} ({_format_duration(entry.age.total_seconds())} ago), record {request.seq}",
    )
    people = {"principal": request.principal, "agent": request.agent}
    _print_field("who", f"{who(people, 'agent')} for {who(people, 'principal')}")
    _print_field("in", f"session {name(request.session)}, tenant {name(request.tenant)}")
    for rule in request.rules:
        label = escape(rule.rule)
        text = label if rule.message in {"", rule.rule} else f"{label} - {escape(rule.message)}"
        people_needed = (
            f" (needs {counted(rule.approvers, 'approver')})" if rule.approvers > 1 else ""
        )
        _print_field("rule", f"{text}{people_needed}")
    for place, line in enumerate(tree(request.args)):
        value = line.lstrip(" ")
        deep = " " * (len(line) - len(value))
        for part in field(f"  {'args' if not place else '':<6}  {deep}", value):
            data(part)
    for line in removed(hidden(entry.case)):
        _print_field("hidden", line)
    if request.truncated:
        _print_field("hidden", "some values are too large to show")
    _print_field("given", _approved_by(entry))
    for label, text in _closing_steps(entry):
        _print_field(label, text)
    for pointer in request.hidden_needs:
        warning = (
            f"nobody can approve this: the policy requires that you see {escape(pointer)}, which "
            "is hidden"
        )
        for part in field("  blocked ", warning):
            data(part)


def _approved_by(entry: ListedRequest) -> str:
    """List the approvers: all of them if the request is settled, otherwise those whose approvals
    currently count.
    """
    over = entry.state in {RequestState.USED, RequestState.REFUSED, RequestState.EXPIRED}
    steps = [step for step in entry.case.steps if step.kind is StepKind.GRANTED]
    people = _people(step.approver for step in (steps if over else entry.live_grants))
    if entry.state is RequestState.USED:
        used = [step for step in entry.case.steps if step.kind is StepKind.USED]
        people = _people(person for step in used for person in step.approvers) or people
    lapsed = "" if over or len(steps) == len(entry.live_grants) else "; earlier approvals expired"
    shown = f": {', '.join(people)}" if people else ""
    return f"{len(people)} of {entry.case.request.needed}{shown}{lapsed}"


def _people(people: Iterable[Approver | None]) -> list[str]:
    """Return the distinct people, formatted for display."""
    return list(dict.fromkeys(approver(person) for person in people if person is not None))


def _closing_steps(entry: ListedRequest) -> Iterator[tuple[str, str]]:
    """Yield (label, text) for the refusals, and for the record that used the approval."""
    for step in entry.case.steps:
        if step.kind is StepKind.REFUSED and step.approver is not None:
            yield "", f"refused by {approver(step.approver)}, record {step.seq}"
        elif step.kind is StepKind.USED:
            yield "used", f"by record {step.seq}"


def _tool(tool: Any) -> str:
    shown = name(str(tool.get("name") or ""), "(no tool)")
    server = f" on {escape(str(tool['server']))}" if tool.get("server") else ""
    undeclared = "" if tool.get("declared") else " (undeclared)"
    return one_line(f"{shown}{server}{undeclared}")


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
