"""Every decision is explained, whatever its cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.approvals.rules import RejectionReason, StepKind
from guardrail.core.schema.cost_limits import REASONS
from guardrail.core.types import Cause, Effect, Status
from guardrail.errors import RecordError
from guardrail.review.approval_words import NEXT
from guardrail.review.approval_words import REASONS as WORDS
from guardrail.review.reasons import CAUSES, reason_of
from guardrail.review.records import NotFoundError, RecordedAnswer, RecordedPerson, call_of
from guardrail.review.sessions import with_outcome
from guardrail.review.why import decision_seq, explain, headline, omitted_sentence, refusal, why_of
from tests.support.records import (
    STEADY,
    TOKEN,
    MemoryRecords,
    decision,
    outcome,
    rejected,
    rule,
)


def test_every_cause_has_a_text_and_a_next_step_of_its_own() -> None:
    """No denial is explained by another cause's words."""
    assert set(CAUSES) == set(Cause)
    assert len({reason.sentence for reason in CAUSES.values()}) == len(CAUSES)
    assert len({reason.next_step for reason in CAUSES.values()}) == len(CAUSES)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.POLICY])
def test_a_denial_without_rules_is_still_explained(cause: Cause) -> None:
    """Where the rules could not be asked, the cause says what happened and what to do."""
    answer = explain({**decision(effect=Effect.DENY, cause=cause, reproducible=None), "seq": 1})
    assert answer.headline == "DENIED"
    assert answer.reason.sentence == CAUSES[cause].sentence
    assert answer.reason.next_step == CAUSES[cause].next_step.replace("SEQ", "1")
    assert answer.reproducible_sentence


def test_a_detail_with_a_text_of_its_own_is_explained_by_it() -> None:
    """An argument that is missing is not explained as one that is too many."""
    texts = {
        explain(decision(effect=Effect.DENY, cause=Cause.ARGUMENTS, detail=detail)).reason.sentence
        for detail in (
            "missing",
            "unknown_argument",
            "integer_range",
            "type",
            "size",
            "nodes",
            "depth",
        )
    }
    assert len(texts) == 7


@pytest.mark.parametrize(
    "detail", ["size", "nodes", "depth", "nan", "cyclic", "not_json", "unstable"]
)
def test_only_a_schema_that_does_not_fit_is_to_be_compared_with_the_call(detail: str) -> None:
    """A limit, or a value that JSON does not have, is no matter of the tool's schema."""
    answer = explain(decision(effect=Effect.DENY, cause=Cause.ARGUMENTS, detail=detail))
    assert "Compare the call with the tool's schema" not in answer.reason.next_step


def test_every_code_of_a_refused_schema_has_words() -> None:
    """The record holds the code alone."""
    assert all(refusal(f"schema.{code}") == words for code, words in REASONS.items())
    assert "does not know" in refusal("schema.of_a_later_version")


def test_a_call_that_waits_for_a_person_leads_to_who_can_answer() -> None:
    """And a call whose approval does not count says why it does not."""
    waiting = explain(decision(effect=Effect.REQUIRE_APPROVAL)).reason
    assert "guardrail approvals" in waiting.next_step
    texts = {
        explain(decision(effect=Effect.DENY, cause=Cause.APPROVAL, detail=detail)).reason.sentence
        for detail in ("expired", "already_used", "other_arguments", "something new")
    }
    assert len(texts) == 4
    assert CAUSES[Cause.APPROVAL].sentence in texts


def test_an_approval_that_has_expired_is_not_advised_to_be_used() -> None:
    """Nobody can use it any more; one that still stands can be."""
    record = decision(effect=Effect.REQUIRE_APPROVAL)
    steps = []
    for expires in ("2020-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"):
        given = RecordedAnswer(
            StepKind.GRANTED, 5, expires, (RecordedPerson("p", "asserted", "os_user"),), expires
        )
        steps.append(explain(record, replace(call_of(record), answers=(given,))).reason)
    over, stands = steps
    assert "expired" in over.sentence
    assert "guardrail approvals" in over.next_step
    assert "before it expires" not in over.next_step
    assert "before it expires" in stands.next_step


def test_every_approval_that_does_not_count_has_a_next_step_that_can_lead_somewhere() -> None:
    """Where asking again is final or useless, it is not advised."""
    assert set(NEXT) == set(RejectionReason) == set(WORDS)
    steps = {
        reason: explain(
            decision(effect=Effect.DENY, cause=Cause.APPROVAL, detail=str(reason))
        ).reason.next_step
        for reason in RejectionReason
    }
    assert steps == NEXT
    assert "final" in steps[RejectionReason.REFUSED]
    assert "id=" in steps[RejectionReason.OTHER_SESSION]
    assert "ApprovalRequired.approval" in steps[RejectionReason.UNKNOWN]
    assert "--reason TEXT" in steps[RejectionReason.PENDING]


def test_a_denial_that_no_rule_of_the_policy_gave_says_what_to_add() -> None:
    """There is no rule to change."""
    hit = rule("guardrail.no_allow", "no rule allows this call", Effect.DENY)
    missing = explain(decision(effect=Effect.DENY, rules=[hit])).reason
    assert "add an `allow` rule" in missing.next_step
    assert "None of its `allow` rules" in missing.sentence
    assert explain(decision(effect=Effect.DENY)).reason == CAUSES[Cause.POLICY]


NO_ALLOW = rule("guardrail.no_allow", "no rule allows this call", Effect.DENY)
UNDECLARED = rule("undeclared", "this tool is not declared", Effect.DENY)


def test_a_deny_rule_is_named_before_the_lack_of_an_allow_rule() -> None:
    """It wins even if an `allow` rule is added."""
    other = rule("night\x1b[31m", "not at night", Effect.DENY)
    hits = [rule("ask", "ask", Effect.REQUIRE_APPROVAL), other, other, NO_ALLOW]
    reason = explain(decision(effect=Effect.DENY, rules=hits)).reason
    assert reason.sentence == (
        r"The policy was asked. The call was denied by its rule `night\u{1b}[31m`. None of its"
        " `allow` rules applies either."
    )
    assert reason.next_step.startswith(
        r"If such calls should run, change the rule `night\u{1b}[31m` first: a `deny` rule wins"
    )
    assert "If no `allow` rule applies then, add one" in reason.next_step
    many = [rule(f"r{number}", "no", Effect.DENY) for number in range(7)]
    told = explain(decision(effect=Effect.DENY, rules=[*many, NO_ALLOW])).reason.sentence
    assert "by its rules `r0`, `r1`, `r2`, `r3`, `r4` and 2 more." in told


def undeclared(tool: str, adapter: str, *rules: dict[str, Any]) -> dict[str, Any]:
    """A denied call of a tool that is not declared."""
    made = decision(tool, effect=Effect.DENY, rules=list(rules), declared=False)
    return {**made, "origin": {**made["origin"], "adapter": adapter}}


@pytest.mark.parametrize("rules", [(NO_ALLOW,), (UNDECLARED, NO_ALLOW), (UNDECLARED,), ()])
def test_a_tool_that_nobody_accepted_is_to_be_accepted_before_rules_are_changed(
    rules: tuple[dict[str, Any], ...],
) -> None:
    """A proxy knows no program. Otherwise the program declares its tools."""
    steps = explain(undeclared("find_order", "proxy", *rules)).reason.next_step
    assert steps.startswith(
        "Nobody has accepted this tool with this schema. If such calls should run, accept it:"
        " `guardrail proxy accept find_order`."
    )
    assert ("If that is not enough, change the rule `undeclared`." in steps) is (
        UNDECLARED in rules
    )
    assert ("If no `allow` rule applies then, add one" in steps) is (NO_ALLOW in rules)
    assert "guardrail policy reload" in steps
    assert "label" not in steps  # which a program gives to a tool that it declares
    steps = explain(undeclared("find_order", "openai", *rules)).reason.next_step
    assert steps.startswith("If such calls should run, declare this tool in the program")
    assert "proxy accept" not in steps


def test_each_reason_for_which_the_proxy_rejects_a_call_is_explained() -> None:
    """In its own words, and with a next step that can be taken."""
    told = {}
    for reason in ("incomplete", "provider_tool", "proxy.upstream_type", "repeated_id", "new"):
        made = undeclared("find_order", "proxy")
        del made["decision"]
        told[reason] = explain({**made, "type": "call.rejected", "reason": reason}).reason
    assert "answer ended" in told["incomplete"].sentence
    assert len({each.sentence for each in told.values()}) == len(told)
    assert not any("SEQ" in each.next_step for each in told.values())


def test_a_tool_that_the_request_did_not_contain_is_neither_to_be_accepted_nor_allowed() -> None:
    made = undeclared("find_order", "proxy", UNDECLARED, NO_ALLOW)
    steps = explain({**made, "tool": {**made["tool"], "refused": "not_requested"}}).reason.next_step
    assert steps.startswith("Nothing, if the model invented the tool.")
    assert not any(word in steps for word in ("accept", "rule", "declare"))


@pytest.mark.parametrize("adapter", ["proxy", "langchain"])
@pytest.mark.parametrize(
    ("cause", "detail"),
    [
        *[(Cause.ARGUMENTS, each) for each in ("", "missing", "unknown_argument")],
        (Cause.IDENTITY, "absent"),
        (Cause.IDENTITY, "session"),
        (Cause.POLICY, ""),
    ],
)
def test_the_next_step_for_a_call_through_the_proxy_needs_no_change_of_guardrail_code(
    cause: Cause, detail: str, adapter: str
) -> None:
    """There is none in the program. Other adapters need one."""
    made = decision("find_order", effect=Effect.DENY, cause=cause, detail=detail, rules=[NO_ALLOW])
    made = {**made, "origin": {**made["origin"], "adapter": adapter}}
    told = explain(made).reason
    text = told.sentence + told.next_step
    code = ("guard.session", "guard.bind", "declared", "declare the", "label")
    assert any(each in text for each in code) is (adapter != "proxy"), text
    assert any(each in text for each in ("[proxy]", "x-guardrail", "guardrail p")) or adapter != (
        "proxy"
    )


def test_a_call_that_the_proxy_refused_itself_is_not_blamed_on_a_framework() -> None:
    made = rejected()
    told = explain({**made, "origin": {**made["origin"], "adapter": "proxy"}}).reason
    assert "framework" not in told.sentence + told.next_step
    assert "The proxy" in told.sentence
    assert "framework" in explain(made).reason.sentence


@pytest.mark.parametrize("tool", ["", "--all", "a b", "a;b", "$(id)", "a\nb", TOKEN, "x" * 129])
def test_a_name_that_a_shell_would_read_differently_is_in_no_command(tool: str) -> None:
    """The command without a name shows the tools."""
    steps = explain(undeclared(tool, "proxy", NO_ALLOW)).reason.next_step
    assert "`guardrail proxy accept`." in steps


def test_a_tool_whose_schema_was_refused_needs_another_schema() -> None:
    """To accept it would not help."""
    made = undeclared("find_order", "proxy", NO_ALLOW)
    made["tool"] = {**made["tool"], "refused": "schema.size"}
    assert "correct the tool's schema in the program" in explain(made).reason.next_step


def test_a_verdict_that_is_not_known_is_never_shown_as_allowed() -> None:
    """A record of a later version, or a changed one, reads as unreadable."""
    assert headline("allow_with_conditions") == "UNREADABLE"
    assert headline("") == "UNREADABLE"
    assert headline("allow") == "ALLOWED"


@pytest.mark.parametrize(
    ("reproducible", "later", "word"),
    [
        (True, None, "yes"),
        (False, None, "no:"),
        (None, True, "yes"),
        (None, False, "no:"),
        (None, None, "not known yet:"),
    ],
)
def test_reproducible_comes_from_the_outcome_where_the_decision_left_it_open(
    reproducible: bool | None, later: bool | None, word: str
) -> None:
    """Earlier versions derived an allowed call again while its body ran."""
    records = MemoryRecords()
    made = decision(reproducible=reproducible)
    seq = records.add(made)
    records.add(outcome(made, seq, reproducible=later))
    answer = why_of(records, with_outcome(records, seq))
    assert answer.reproducible_sentence.startswith(word)


def test_an_open_call_says_that_it_is_not_known_yet() -> None:
    """Whoever wants to know is told the command."""
    answer = explain(decision(reproducible=None))
    assert answer.reproducible_sentence.startswith("not known yet")
    assert f"guardrail rederive {answer.call.seq}" in answer.reproducible_sentence


def test_what_the_policy_saw_is_told_with_what_was_removed() -> None:
    """The reader sees whether the input is whole."""
    whole = explain(decision(args={"to": "x"}))
    cut = explain(decision(args={"to": "x"}, removed={"/to": ["contact", "key"]}, truncated=True))
    bare = explain(decision(effect=Effect.DENY, cause=Cause.REDACTOR, omitted="gate:secret"))
    assert "nothing was removed" in whole.input_sentence
    assert "1 value removed" in cut.input_sentence
    assert "cut to fit" in cut.input_sentence
    assert bare.input is None
    assert "class secret" in bare.input_sentence


def test_each_reason_for_a_bare_record_is_a_sentence() -> None:
    """The reasons that docs/record-format.md lists, instead of their codes."""
    codes = ("size", "record", "redactor", "redaction.budget", "redaction.fault", "arguments")
    assert all(" " in omitted_sentence(code) for code in codes)


def test_a_rejected_call_was_not_decided() -> None:
    """The framework refused it: nobody asked the policy."""
    answer = explain(rejected())
    assert answer.headline == "REJECTED"
    assert "not asked" in answer.reason.sentence


def test_an_outcome_leads_to_its_decision() -> None:
    """The number of either record explains the call."""
    records = MemoryRecords()
    seq = records.call()
    assert decision_seq(records, seq) == seq
    assert decision_seq(records, seq + 1) == seq


def test_a_record_without_a_decision_is_said_to_have_none() -> None:
    """Line 0 and acts of operation were not decided by a policy."""
    records = MemoryRecords()
    with pytest.raises(NotFoundError, match="contains no decision"):
        decision_seq(records, 0)
    with pytest.raises(NotFoundError, match="no record 7"):
        decision_seq(records, 7)


def test_a_line_that_is_no_json_is_an_error_that_says_where() -> None:
    """Damage is reported as damage, with the command that examines it."""
    records = MemoryRecords()
    records.rows.append(b"\xff not json")
    with pytest.raises(RecordError, match="record 1 ") as caught:
        decision_seq(records, 1)
    assert caught.value.hint == "guardrail verify"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(decision()))


@STEADY
@given(st.dictionaries(FIELDS, JSON, max_size=8))
def test_no_record_can_break_the_explanation(changes: dict[str, object]) -> None:
    """Fields of any type and shape read as absent: whoever had the file in hand can not stop its
    reader.
    """
    explain({**decision(), **changes})
    explain(changes)


def test_a_call_that_takes_too_long_to_redact_is_not_called_sensitive() -> None:
    """Less text helps with time; a schema does not. A fault of the redactor is nobody's data."""
    general = reason_of("redactor", "redaction.limit")
    budget = reason_of("redactor", "redaction.budget")
    fault = reason_of("redactor", "redaction.fault")
    assert len({general, budget, fault}) == 3
    assert "processor time" in budget.sentence
    assert "less text" in budget.next_step
    assert "bug in guardrail" in fault.sentence


def test_the_status_of_every_outcome_is_kept_as_recorded() -> None:
    """Joining does not rename how a call ended."""
    for status in Status:
        records = MemoryRecords()
        seq = records.call(status=status)
        joined = with_outcome(records, seq).outcome
        assert joined is not None
        assert joined.status == status
