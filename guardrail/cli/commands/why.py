"""Implements ``guardrail why``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.options import json_option, settings_for
from guardrail.cli.output import Style, data, emit_json, hanging, paint, prose
from guardrail.cli.render import (
    approval_lines,
    asked_by,
    clock,
    outcome,
    removed,
    rule_lines,
    verdict,
)
from guardrail.cli.sources import file_of, open_records, source_options
from guardrail.core.types import NOT_REQUESTED
from guardrail.errors import ConfigError
from guardrail.review.approval_words import COUNTS_IF
from guardrail.review.proxy_reasons import NOT_IN_REQUEST
from guardrail.review.records import NotFoundError, RecordedCall, RecordReader
from guardrail.review.sessions import RecordRef, find, last_call, with_outcome
from guardrail.review.terminal import arguments, escape, name, tree
from guardrail.review.why import DecisionExplanation, decision_seq, refusal, why_of

__all__ = ["decision_of", "why"]


@click.command(short_help="Explain why a call was allowed or denied.")
@click.argument("ref", metavar="SEQ")
@source_options
@json_option
def why(
    *,
    ref: str,
    config: Path | None,
    ledger: Path | None,
    exported: Path | None,
    segment: Path | None,
    as_json: bool,
) -> None:
    """Explain why the call at SEQ was allowed or denied: show the rules, the cause, and the policy
    input.

    SEQ is the number of a decision or of its outcome, a call id or a prefix of one, or `last` for
    the latest call. The command only reads the record. It does not re-evaluate the policy or run
    tools.
    """
    with open_records(config, ledger, exported, segment) as reader:
        call = with_outcome(reader, decision_of(reader, ref))
        answer = why_of(reader, call)
        log = reader.log
    if as_json:
        from guardrail.review import documents

        emit_json(documents.why(log, answer))
        return
    _print(answer, _next(answer, None if file_of(ledger, exported, segment) else (config, ledger)))


def _next(answer: DecisionExplanation, place: tuple[Path | None, Path | None] | None) -> str:
    """Return the next step. If the step is an approval that would not count under the settings of
    the ledger at *place*, the text says so.
    """
    step = answer.reason.next_step
    if place is None or "guardrail approve ID --reason TEXT" not in step or COUNTS_IF in step:
        return step
    try:
        accepted = settings_for(*place).approvals.unsafe_asserted_approvals
    except ConfigError:
        return step
    return step if accepted else f"{step} {COUNTS_IF}"


def decision_of(records: RecordReader, ref: str) -> int:
    """Return the number of the decision that *ref* names: a record number, a call or ``last``.

    Raises ``NotFoundError``.
    """
    if ref == "last":
        return last_call(records).seq
    target = find(records, ref)
    if not isinstance(target, RecordRef):
        raise NotFoundError(
            "this is a session, but the command explains one call",
            hint="guardrail show last, then guardrail why SEQ",
        )
    return decision_seq(records, target.seq)


def _print(answer: DecisionExplanation, next_step: str) -> None:
    call = answer.call
    word, style = verdict(call)
    data(f"{paint(word, style)}  {_title(call)}")
    data(_describe_caller(call))
    for line in asked_by(call):
        data(line)
    data(f"record {call.seq}, {clock(call.ts)}")
    data()
    for line in prose(answer.reason.sentence):
        data(line)
    if call.cause and call.cause != "policy":
        detail = f", detail {escape(call.detail)}" if call.detail else ""
        data(paint(f"cause {escape(call.cause)}{detail}", Style.DIM))
    if call.message:
        for line in prose(escape(call.message)):
            data(line)
    if call.refused:
        for line in prose(_undeclared_because(call)):
            data(line)
    if call.type == "call.rejected":
        data(paint(f"reason {escape(call.detail) or 'not given'}", Style.DIM))
    _section("Rules", list(hanging(rule_lines(call.rules))) or [_no_rules(call)])
    course = list(approval_lines(call))
    if course:
        _section("Approval", list(hanging(course)))
    _section("Policy", _policy(answer))
    _section("Reproducible", prose(answer.reproducible_sentence, indent=2))
    body = list(tree(answer.input)) if answer.input is not None else []
    _section(f"Input ({answer.input_sentence})", body)
    if call.removed:
        _section("Removed before recording", list(hanging(removed(call.removed))))
    data()
    data(f"{paint('Ended:', Style.STRONG)} {_describe_outcome(call)}")
    if word != "ALLOWED":
        first, *rest = prose(next_step, indent=7)
        data(f"{paint('Next:', Style.STRONG)}  {first}")
        for line in rest:
            data(f"       {line}")


def _title(call: RecordedCall) -> str:
    tool = name(call.tool, "(no tool)")
    server = f" on {escape(call.server)}" if call.server else ""
    undeclared = " (undeclared)" if call.declared is False else ""
    return f"{tool}{server}{undeclared}"


def _undeclared_because(call: RecordedCall) -> str:
    """Return the reason why the tool of *call*, in which ``refused`` is set, counted as
    undeclared.
    """
    if call.refused == NOT_REQUESTED:
        return NOT_IN_REQUEST
    return (
        f"This tool's schema was rejected when the tool was declared ({escape(call.refused)}: "
        f"{refusal(call.refused)}), so the tool counted as undeclared."
    )


def _describe_caller(call: RecordedCall) -> str:
    key = call.key
    return (
        f"{name(key.agent, 'no agent')} for {name(key.principal, 'nobody')}, "
        f"tenant {name(key.tenant, '-')}, session {name(key.id, '-')}"
    )


def _no_rules(call: RecordedCall) -> str:
    if call.cause == "policy":
        return "none is recorded"
    return "none: the rules were not evaluated, or their result was not used"


def _policy(answer: DecisionExplanation) -> list[str]:
    policy = answer.policy
    if not policy:
        return ["none was evaluated"]
    engine = f"{escape(str(policy.get('engine')))} {escape(str(policy.get('version')))}"
    shown = {field: policy.get(field) for field in ("digest", "revision", "data")}
    return [f"engine   {engine}"] + [
        f"{field:<8} {escape(str(value))}" for field, value in shown.items() if value is not None
    ]


def _describe_outcome(call: RecordedCall) -> str:
    word, _ = outcome(call)
    if call.outcome is None:
        return (
            "no outcome is recorded: the call is running, or its process died"
            if call.admitted
            else "the call was not run"
        )
    error = call.outcome.error
    if error:
        return f"{word} (record {call.outcome.seq}): {arguments(error, 200)}"
    return f"{word} (record {call.outcome.seq})"


def _section(title: str, lines: list[str]) -> None:
    data()
    data(paint(title, Style.STRONG))
    for line in lines:
        data(f"  {line}")
