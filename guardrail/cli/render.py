"""Words and colours shared by several commands, for verdicts, outcomes, times, identities and
removed values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.approvals.kinds import StepKind
from guardrail.cli.output import Cell, Style
from guardrail.core.words import counted
from guardrail.review.records import RecordedCall, RecordedPerson, RuleHit
from guardrail.review.terminal import clip, clock, escape, name
from guardrail.review.values import seconds_between, text
from guardrail.review.why import headline

if TYPE_CHECKING:
    from guardrail.approvals.request import Approver
    from guardrail.core.log.recovered import Recovered

__all__ = [
    "approval_lines",
    "approver",
    "asked_by",
    "clock",
    "milliseconds",
    "offset",
    "outcome",
    "recovery",
    "removed",
    "rule_lines",
    "verdict",
]

_VERDICTS = {
    "ALLOWED": Style.GOOD,
    "DENIED": Style.BAD,
    "NEEDS APPROVAL": Style.WARN,
    "REJECTED": Style.WARN,
    "UNREADABLE": Style.BAD,
}
_MINIMAL = {
    "undeclared": "the tool is not declared",
    "unfit": "the tool's schema rejected the arguments",
    "undecided": "the policy did not determine which arguments to hide",
}
"""The reason why only keys, types, lengths and tokens were recorded, keyed by class."""
_OUTCOMES = {"ok": Style.PLAIN, "returned": Style.PLAIN, "error": Style.BAD, "unknown": Style.WARN}


_ASKED = 80
"""Maximum width of the name of a model, a response or a framework."""


def verdict(call: RecordedCall) -> Cell:
    """Return the decision on *call* as a word, with its style."""
    word = headline(call.effect, rejected=call.type == "call.rejected")
    return word, _VERDICTS[word]


def outcome(call: RecordedCall) -> Cell:
    """Return the outcome as a word, with its style: ``OPEN`` if the call may still be running,
    ``not run`` if it was not allowed.
    """
    if call.outcome is not None:
        status = escape(call.outcome.status) or "unreadable"
        if call.outcome.body and not call.claims:
            status += ", ran on"
        if call.soon and call.outcome.status == "unknown":
            status += ", maybe used"
        if call.claims:
            status += f", claimed {escape(call.claims[-1].status) or 'unreadable'}"
        return status, _OUTCOMES.get(call.outcome.status, Style.WARN)
    return ("OPEN", Style.WARN) if call.admitted else ("not run", Style.DIM)


def asked_by(call: RecordedCall) -> Iterator[str]:
    """Yield the model that requested *call* and the framework that made it, each with its
    assurance, and the call inside which *call* was made. Facts that are not recorded are omitted.
    """
    if call.model:
        model, response = text(call.model, "name"), text(call.model, "response")
        by = f" by {clip(name(model, '?'), _ASKED)}" if model else ""
        within = f" in response {clip(name(response, '?'), _ASKED)}" if response else ""
        yield f"asked for{by}{within} ({_assurance(call.model)})"
    if call.framework:
        parts = (text(call.framework, "name"), text(call.framework, "version"))
        shown = " ".join(escape(part) for part in parts if part)
        yield f"made through {clip(shown, _ASKED)} ({_assurance(call.framework)})"
    if call.parent:
        yield f"made inside call {escape(call.parent)}"


def _assurance(said: Mapping[str, Any]) -> str:
    return escape(text(said, "assurance")) or "absent"


def approver(who: RecordedPerson | Approver) -> str:
    """Return the approver, and the assurance of the approver's identity."""
    return (
        f"{name(who.id, 'nobody')} ({escape(str(who.assurance)) or 'absent'} by"
        f" {escape(who.method) or '?'})"
    )


def approval_lines(call: RecordedCall) -> Iterator[str]:
    """Yield the approvers who allowed *call*, or the answers to its request. Yields nothing if
    *call* does not involve an approval.
    """
    if call.approval:
        people = ", ".join(approver(who) for who in call.approvers) or "nobody on record"
        yield f"approved by {people}, on request {escape(call.approval)}"
    if call.presented:
        yield f"the call presented the approval {escape(call.presented)}, which was not valid"
    if call.differs is not None:
        yield _difference(call.differs)
    for answer in call.answers:
        people = ", ".join(approver(who) for who in answer.people) or "nobody on record"
        match answer.kind:
            case StepKind.USED:
                yield f"used by record {answer.seq}, on the approval of {people}"
            case StepKind.REFUSED:
                yield f"refused by {people}, record {answer.seq}"
            case _:
                until = f", until {clock(answer.expires)}" if answer.expires else ""
                yield f"approved by {people}, record {answer.seq}{until}"


def _difference(pointers: Sequence[str]) -> str:
    if not pointers:
        return "its arguments differ from those of the request in hidden values"
    shown = ", ".join(escape(pointer) or "(all arguments)" for pointer in pointers)
    return f"its arguments differ from those of the request at {shown}"


def milliseconds(ms: float | None) -> str:
    """Return a duration, formatted for a column, or an empty string if it is unknown."""
    if ms is None:
        return ""
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.1f}"


def offset(start: str, ts: str) -> str:
    """Return the time since *start*, such as ``+0.004``, ``+2:07.1`` or ``+1:02:07``."""
    seconds = seconds_between(start, ts)
    if seconds is None:
        return "?"
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    if seconds < 60:
        return f"{sign}{seconds:.3f}"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{sign}{int(minutes)}:{rest:04.1f}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{sign}{hours}:{minutes:02d}:{int(rest):02d}"


def rule_lines(rules: Sequence[RuleHit]) -> Iterator[str]:
    """Yield the rules that fired, each with its message."""
    for hit in rules:
        severity = f" ({escape(hit.severity)})" if hit.severity not in {"", "info"} else ""
        label = f"{escape(hit.effect)}: {escape(hit.rule)}{severity}"
        yield label if hit.message in {"", hit.rule} else f"{label} - {escape(hit.message)}"
        if hit.needs:
            yield "  the approver must see " + ", ".join(escape(pointer) for pointer in hit.needs)
        if hit.approvers > 1:
            yield f"  needs {counted(hit.approvers, 'approver')}"


def removed(pointers: Mapping[str, object]) -> Iterator[str]:
    """Yield the location, class and rule for each value that redaction removed."""
    for pointer, entry in pointers.items():
        words = (
            [escape(item) for item in entry if isinstance(item, str)]
            if isinstance(entry, list)
            else []
        )
        where = escape(pointer) if pointer else "(all arguments)"
        if not words:
            yield f"{where}: removed"
            continue
        if words[1:] == ["minimal"]:
            reason = _MINIMAL.get(words[0], words[0])
            yield f"{where}: only keys, types and lengths are recorded, because {reason}"
            continue
        rules = ", ".join(words[1:])
        yield f"{where}: class {words[0]}" + (f", by {rules}" if rules else "")


def recovery(found: Recovered) -> dict[str, Any]:
    """Return a recovery of the log in the format for ``--json``."""
    return {
        "seq": found.seq,
        "ts": found.ts,
        "first": found.first,
        "last": found.last,
        "lost": found.lost,
        "loss": found.loss.value,
    }
