"""A call with an approval: what it takes to run, and each way in which it is turned down, on the
record.
"""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from guardrail.approvals.rules import Approver, RejectionReason
from guardrail.core.types import Assurance
from guardrail.errors import ApprovalRequired, Denied, UsageError
from guardrail.tools.tool import declare
from tests.support.approvals import BOB, CAROL, SCHEMA, Asks, Bench, Body, bench


def denied(
    made: Bench, reason: RejectionReason, approval: str | None, args: Any = None, **how: Any
) -> None:
    """Make sure that a call with *approval* is denied for *reason*, that this is recorded, and that
    nothing ran.
    """
    before = made.body.runs
    with pytest.raises(Denied) as caught:
        made.call(args, approval=approval, **how)
    assert caught.value.code == f"denied.approval.{reason}"
    record = made.last
    assert record["seq"] == caught.value.seq
    verdict = record["decision"]
    assert (verdict["effect"], verdict["cause"], verdict["detail"]) == ("deny", "approval", reason)
    assert record["approval"] is None
    assert record["reproducible"] is None
    assert made.body.runs == before


def test_an_approved_call_runs_once_and_names_who_approved_it() -> None:
    """The decision that allowed it says by which approval; the policy saw it, and the record holds
    what the policy saw.
    """
    made = bench()
    approval = made.ask()
    request = made.last
    assert request["call"] == approval
    assert request["approval"] is None
    answer = made.guard.approvals.approve(approval, BOB, "he may")
    assert (answer.rejected, answer.given) == (None, 1)
    assert made.call(approval=approval) == "paid"
    decision = made.ledger.of("call.decision")[-1]
    bob = {"id": "bob", "assurance": "asserted", "method": "os_user"}
    assert decision["approval"] == {
        "id": approval,
        "ordinal": 1,
        "rules": ["large"],
        "approvers": [bob],
        "unsafe_asserted": True,
    }
    context = {"id": approval, "valid": True, "rules": ["large"], "approvers": [bob]}
    assert made.policy.seen[-1]["context"]["approval"] == context
    assert decision["input"]["context"]["approval"] == context
    assert decision["reproducible"] is True
    assert decision["commitment"] == request["commitment"]
    assert made.body.runs == 1


def test_a_grant_is_a_record_that_names_exactly_what_was_approved() -> None:
    """Request by number and hash, who, why, for which rules, until when, and that nobody verified
    it.
    """
    made = bench()
    approval = made.ask()
    request = made.last
    made.guard.approvals.approve(approval, BOB, "he may")
    (grant,) = made.ledger.of("approval.granted")
    assert grant["request"] == {"seq": request["seq"], "leaf": grant["prev"]}
    assert grant["approval"] == {"id": approval, "ordinal": 0}
    assert (grant["session"], grant["tenant"]) == (request["session"], request["tenant"])
    assert (grant["reason"], grant["rules"]) == ("he may", ["large"])
    assert (grant["given"], grant["needed"], grant["unsafe_asserted"]) == (1, 1, True)
    assert grant["expires"] > grant["ts"]


def test_the_request_tells_the_program_what_to_wait_for() -> None:
    """The approval's id travels with the exception, also in a pickle, and not in what an agent
    reads.
    """
    made = bench()
    with pytest.raises(ApprovalRequired) as caught:
        made.call()
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.approval == made.last["call"] == caught.value.approval
    assert error.hint == caught.value.hint == f"guardrail approve {error.approval} --reason TEXT"
    assert error.approval not in str(error) + repr(error)


def test_the_request_says_if_answers_of_the_command_line_would_not_count() -> None:
    """The next step would only lead to a refusal."""
    made = bench(approvals={})
    with pytest.raises(ApprovalRequired) as caught:
        made.call()
    assert "unsafe_asserted_approvals = true in [approvals]" in caught.value.hint


@pytest.mark.parametrize("approval", [ApprovalRequired("ask", seq=1, approval="01"), 7, b"01"])
async def test_an_approval_that_is_no_text_is_a_mistake_of_the_program(approval: Any) -> None:
    """Nothing is decided and nothing recorded: the exception itself in place of its id, say."""
    made = bench()
    made.ask()
    before = len(made.ledger.records)
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        for ask in (
            lambda: made.guard.call("pay", {"amount": 5}, made.body, approval=approval),
            lambda: made.guard.admit("pay", {"amount": 5}, approval=approval),
        ):
            with pytest.raises(UsageError) as caught:
                ask()
            assert (caught.value.code, caught.value.hint) == (
                "usage.approval",
                "approval=error.approval",
            )
        with pytest.raises(UsageError):
            await made.guard.acall("pay", {"amount": 5}, made.body, approval=approval)
    assert len(made.ledger.records) == before
    assert made.body.runs == 0


def test_an_approval_that_nobody_gave_yet_does_not_count() -> None:
    """Pending."""
    made = bench()
    denied(made, RejectionReason.PENDING, made.ask())


def test_an_approval_is_used_once() -> None:
    """The second call with it is denied."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "once")
    made.call(approval=approval)
    denied(made, RejectionReason.ALREADY_USED, approval)
    assert made.last["presented"] == approval
    assert made.body.runs == 1


def test_a_body_that_fails_has_used_its_approval() -> None:
    """It ran, whatever came of it."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "once")

    def fails(**_: Any) -> None:
        raise ValueError

    with made.guard.session(principal="alice", agent="bot", id="s-1"), pytest.raises(ValueError):
        made.guard.call("pay", {"amount": 5}, fails, approval=approval)
    denied(made, RejectionReason.ALREADY_USED, approval)


def test_an_approval_expires() -> None:
    """Fifteen minutes after it was given, unless the settings say otherwise."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "now")
    made.later(seconds=901)
    denied(made, RejectionReason.EXPIRED, approval)


def test_an_approval_that_expired_can_be_given_again() -> None:
    """The same person may say so anew, as long as the request itself is not too old."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "now")
    made.later(seconds=901)
    assert made.guard.approvals.approve(approval, BOB, "still").rejected is None
    assert made.call(approval=approval) == "paid"


def test_an_approval_never_outlives_its_request() -> None:
    """A day after the call was made it can't be used, however late it was approved."""
    made = bench()
    approval = made.ask()
    made.later(seconds=86_390)
    answer = made.guard.approvals.approve(approval, BOB, "late")
    assert answer.expires == made.guard.approvals.listed(answer.case).ends.isoformat(
        timespec="microseconds"
    ).replace("+00:00", "Z")
    made.later(seconds=20)
    denied(made, RejectionReason.EXPIRED, approval)


def test_the_guards_own_limit_holds_whatever_an_approver_wrote() -> None:
    """An approval that was given under longer limits ends where this guard's settings say."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.terms = type(made.guard.approvals.terms)(ttl=80_000, unsafe_asserted=True)
    made.guard.approvals.approve(approval, BOB, "for long")
    made.later(seconds=901)
    denied(made, RejectionReason.EXPIRED, approval)


def test_other_arguments_are_not_covered() -> None:
    """Not by one digit."""
    made = bench()
    approval = made.ask({"amount": 5})
    made.guard.approvals.approve(approval, BOB, "five")
    denied(made, RejectionReason.OTHER_ARGUMENTS, approval, {"amount": 6})
    denied(made, RejectionReason.OTHER_ARGUMENTS, approval, {"amount": 5, "to": "eve"})
    assert made.call({"amount": 5}, approval=approval) == "paid"


def test_hidden_arguments_are_bound_as_well() -> None:
    """What the approver could not see can't be exchanged either."""
    made = bench()
    approval = made.ask({"amount": 5, "card": "4111111111111111"})
    made.guard.approvals.approve(approval, BOB, "this card")
    denied(
        made, RejectionReason.OTHER_ARGUMENTS, approval, {"amount": 5, "card": "5500005555555559"}
    )


@pytest.mark.parametrize(
    "who",
    [
        {"session": "s-2"},
        {"session": "s-3", "principal": "mallory"},
        {"session": "s-4", "agent": "x"},
    ],
)
def test_another_session_is_not_covered(who: dict[str, str]) -> None:
    """Nor another principal or agent."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "here")
    denied(made, RejectionReason.OTHER_SESSION, approval, **who)


def test_another_tool_is_not_covered() -> None:
    """Even with the same schema and arguments."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "pay")
    denied(made, RejectionReason.OTHER_TOOL, approval, tool="give")


def test_another_schema_is_not_covered() -> None:
    """A tool that was declared anew is another tool than the one that was approved."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "as it is")
    tool = declare("pay", schema={**SCHEMA, "description": "other"})
    body = Body()
    with made.guard.session(principal="alice", agent="bot", id="s-1"), pytest.raises(Denied):
        made.guard.call(tool, {"amount": 5}, body, approval=approval)
    assert made.last["decision"]["detail"] == RejectionReason.OTHER_SCHEMA
    assert body.runs == 0


@pytest.mark.parametrize("approval", ["", "nonsense", "x" * 4000, "gr1:x", "01" + "Z" * 24])
def test_what_is_no_approval_of_this_log_is_not_recorded_as_one(approval: str) -> None:
    """Whatever the caller passed is denied, and stands in no record."""
    made = bench()
    made.ask()
    denied(made, RejectionReason.UNKNOWN, approval)
    assert "presented" not in made.last


def test_an_approval_of_another_log_is_unknown() -> None:
    """Replayed elsewhere, it names nothing."""
    made, other = bench(), bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "there")
    other.ask()
    denied(other, RejectionReason.UNKNOWN, approval)


def test_a_call_that_was_decided_otherwise_is_no_request() -> None:
    """The id of an allowed call approves nothing."""
    made = bench(Asks(rules=()))
    made.call()
    allowed = made.ledger.of("call.decision")[-1]["call"]
    made.policy.rules = ("large",)
    denied(made, RejectionReason.UNKNOWN, allowed)
    with pytest.raises(UsageError):
        made.guard.approvals.approve(allowed, BOB, "that one")


def test_a_refused_call_stays_refused() -> None:
    """Also where it had been approved before."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "yes")
    assert made.guard.approvals.refuse(approval, CAROL, "no").rejected is None
    denied(made, RejectionReason.REFUSED, approval)
    assert made.guard.approvals.approve(approval, BOB, "yes!").rejected is RejectionReason.REFUSED
    assert made.last["type"] == "approval.rejected"


def test_a_deny_that_appeared_meanwhile_wins_and_leaves_the_approval_unused() -> None:
    """The policy is asked again; the denial is the policy's own."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "yes")
    made.policy.denies = True
    with pytest.raises(Denied) as caught:
        made.call(approval=approval)
    assert caught.value.code == "denied.policy"
    assert made.last["decision"]["rules"][0]["rule"] == "forbidden"
    assert (made.last["approval"], made.last["presented"]) == (None, approval)
    made.policy.denies = False
    assert made.call(approval=approval) == "paid"


def test_a_rule_that_appeared_meanwhile_asks_anew() -> None:
    """The old approval does not cover it and stays unused; the new request covers both."""
    made = bench()
    first = made.ask()
    made.guard.approvals.approve(first, BOB, "large is fine")
    made.policy.rules = ("large", "foreign")
    second = made.ask(approval=first)
    assert made.last["presented"] == first
    made.guard.approvals.approve(second, BOB, "foreign too")
    assert made.call(approval=second) == "paid"


@pytest.mark.parametrize("change", [{"approvers": 2}, {"needs": ("/card",)}])
def test_a_policy_that_asks_for_more_than_was_given_is_not_satisfied(
    change: dict[str, Any],
) -> None:
    """More people, or to see what was hidden: the approval was given under other rules."""
    made = bench()
    args = {"amount": 5, "card": "4111111111111111"}
    approval = made.ask(args)
    made.guard.approvals.approve(approval, BOB, "yes")
    for name, value in change.items():
        setattr(made.policy, name, value)
    denied(made, RejectionReason.RULES_CHANGED, approval, args)
    assert made.last["decision"]["rules"][0]["rule"] == "large"


def test_two_people_means_two() -> None:
    """One is not enough, the same one twice is turned down, the second person's completes it."""
    made = bench(Asks(approvers=2))
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "one")
    denied(made, RejectionReason.APPROVERS_MISSING, approval)
    for again in (BOB, Approver("BOB"), Approver("bob", method="langgraph_resume")):
        assert (
            made.guard.approvals.approve(approval, again, "two").rejected
            is RejectionReason.APPROVER_COUNTED
        )
        assert made.last["type"] == "approval.rejected"
    assert made.guard.approvals.approve(approval, CAROL, "two").given == 2
    assert made.call(approval=approval) == "paid"
    decision = made.ledger.of("call.decision")[-1]
    assert [who["id"] for who in decision["approval"]["approvers"]] == ["bob", "carol"]


def test_of_two_people_the_first_can_expire_before_the_second_comes() -> None:
    """Both must stand at the same time."""
    made = bench(Asks(approvers=2))
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "one")
    made.later(seconds=901)
    made.guard.approvals.approve(approval, CAROL, "two")
    denied(made, RejectionReason.EXPIRED, approval)
    made.guard.approvals.approve(approval, BOB, "again")
    assert made.call(approval=approval) == "paid"


def test_approvers_whom_nobody_verified_do_not_count_without_the_setting() -> None:
    """Neither when they approve nor, given under other settings, when the approval is used."""
    made = bench(approvals={"unsafe_asserted_approvals": False})
    approval = made.ask()
    assert made.guard.approvals.approve(approval, BOB, "yes").rejected is RejectionReason.ASSERTED
    assert made.last["code"] == "asserted"
    made.guard.approvals.terms = type(made.guard.approvals.terms)(unsafe_asserted=True)
    assert made.guard.approvals.approve(approval, BOB, "yes").rejected is None
    denied(made, RejectionReason.ASSERTED, approval)


def test_a_verified_approver_needs_no_setting() -> None:
    """And the record does not say unsafe."""
    made = bench(approvals={"unsafe_asserted_approvals": False})
    approval = made.ask()
    verified = Approver("bob", Assurance.VERIFIED, "oidc_jwt")
    made.guard.approvals.approve(approval, verified, "yes")
    assert made.last["unsafe_asserted"] is False
    assert made.call(approval=approval) == "paid"
    assert made.ledger.of("call.decision")[-1]["approval"]["unsafe_asserted"] is False


@pytest.mark.parametrize("name", ["alice", "ALICE", "ALICE ", "bot", "\uff41lice", "\u3164alice"])
def test_who_asks_cannot_approve(name: str) -> None:
    """Principal and agent, however they are written."""
    made = bench()
    approval = made.ask()
    answer = made.guard.approvals.approve(approval, Approver(name), "me")
    assert answer.rejected is RejectionReason.APPROVER_IS_REQUESTER
    rejected = made.last
    assert (rejected["type"], rejected["code"], rejected["attempt"]) == (
        "approval.rejected",
        "approver_is_requester",
        "granted",
    )
    assert rejected["approval"] == {"id": approval, "ordinal": None}
    denied(made, RejectionReason.PENDING, approval)


def test_who_acted_in_between_cannot_approve() -> None:
    """Everyone in the delegation is a requester."""
    made = bench()
    scope = made.guard.session(
        principal="alice", agent="bot", id="s-1", delegation=[{"sub": "manager"}]
    )
    with scope, pytest.raises(ApprovalRequired) as caught:
        made.guard.call("pay", {"amount": 5}, made.body)
    answer = made.guard.approvals.approve(caught.value.approval, Approver("manager"), "me")
    assert answer.rejected is RejectionReason.APPROVER_IS_REQUESTER


def test_a_requester_recorded_as_a_token_is_recognised() -> None:
    """Clear and token are compared as one identity."""
    made = bench(identity={"principal_form": "token"})
    approval = made.ask()
    assert made.last["principal"]["form"] == "token"
    answer = made.guard.approvals.approve(approval, Approver("alice"), "me")
    assert answer.rejected is RejectionReason.APPROVER_IS_REQUESTER
    assert made.guard.approvals.approve(approval, BOB, "he").rejected is None
    assert made.call(approval=approval) == "paid"


def test_what_the_approver_must_see_must_be_visible() -> None:
    """Where it is hidden nobody can approve it, and the record says which."""
    made = bench(Asks(needs=("/card", "/amount")))
    args = {"amount": 5, "card": "4111111111111111"}
    approval = made.ask(args)
    answer = made.guard.approvals.approve(approval, BOB, "yes")
    assert answer.rejected is RejectionReason.NEEDS_HIDDEN
    assert made.last["hidden"] == ["/card"]
    denied(made, RejectionReason.NEEDS_HIDDEN, approval, args)
    visible = made.ask({"amount": 5})
    assert made.guard.approvals.approve(visible, BOB, "no card at all").rejected is None


def test_an_undeclared_tool_shows_an_approver_nothing() -> None:
    """Its record holds the minimal view: a rule that needs a look can't be satisfied."""
    made = bench(Asks(needs=("/amount",)))
    approval = made.ask(tool="unknown")
    assert (
        made.guard.approvals.approve(approval, BOB, "yes").rejected is RejectionReason.NEEDS_HIDDEN
    )


def test_a_clock_that_is_behind_revives_nothing() -> None:
    """Neither for who approves nor for who uses it."""
    made = bench()
    approval = made.ask()
    real = made.ledger.now
    made.ledger.now = real - timedelta(hours=1)
    assert (
        made.guard.approvals.approve(approval, BOB, "early").rejected is RejectionReason.CLOCK_SKEW
    )
    made.ledger.now = real
    assert made.guard.approvals.approve(approval, BOB, "now").rejected is None
    made.later(seconds=1000)
    made.ask()
    made.later(seconds=-600)
    denied(made, RejectionReason.CLOCK_SKEW, approval)


def test_a_reason_is_recorded_without_what_is_sensitive_in_it() -> None:
    """As every free text."""
    made = bench()
    approval = made.ask()
    key = "AKIA" + "Q3EGUZ5XYKD7NJ2M"
    made.guard.approvals.approve(approval, BOB, f"she gave me {key} for it")
    assert key not in made.last["reason"]
    assert "she gave me" in made.last["reason"]
    assert key not in b"".join(made.ledger.lines).decode()


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 1001])
def test_a_reason_says_something(reason: str) -> None:
    """In bounds; nothing is recorded."""
    made = bench()
    approval = made.ask()
    size = len(made.ledger.lines)
    with pytest.raises(UsageError):
        made.guard.approvals.approve(approval, BOB, reason)
    assert len(made.ledger.lines) == size


@pytest.mark.parametrize(
    "name", ["", " ", "\u3164", "a\nb", "x" * 600, "AKIA" + "Q3EGUZ5XYKD7NJ2M"]
)
def test_an_approver_without_a_name_that_can_be_recorded_is_turned_down(name: str) -> None:
    """And the name is not written."""
    made = bench()
    approval = made.ask()
    answer = made.guard.approvals.approve(approval, Approver(name), "me")
    assert answer.rejected is RejectionReason.APPROVER_UNKNOWN
    assert made.last["approver"]["id"] == ""


def test_a_used_approval_can_neither_be_approved_nor_refused() -> None:
    """It is too late, on the record."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "yes")
    made.call(approval=approval)
    assert (
        made.guard.approvals.approve(approval, CAROL, "yes").rejected
        is RejectionReason.ALREADY_USED
    )
    assert (
        made.guard.approvals.refuse(approval, CAROL, "no").rejected is RejectionReason.ALREADY_USED
    )
    assert [record["code"] for record in made.ledger.of("approval.rejected")] == [
        "already_used"
    ] * 2


def test_a_request_that_is_too_old_cannot_be_approved() -> None:
    """Nor refused: it is over."""
    made = bench()
    approval = made.ask()
    made.later(seconds=86_401)
    assert made.guard.approvals.approve(approval, BOB, "yes").rejected is RejectionReason.EXPIRED
    assert made.guard.approvals.refuse(approval, BOB, "no").rejected is RejectionReason.EXPIRED


def test_a_second_approver_of_a_decided_request_is_told_so() -> None:
    """One was enough."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "yes")
    assert (
        made.guard.approvals.approve(approval, CAROL, "yes").rejected
        is RejectionReason.ALREADY_DECIDED
    )
    assert made.last["code"] == "already_decided"


def test_a_call_with_a_plain_allow_uses_up_an_approval_that_came_with_it() -> None:
    """The policy asks no more; what was presented and allowed is used all the same."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "yes")
    made.policy.rules = ()
    assert made.call(approval=approval) == "paid"
    denied(made, RejectionReason.ALREADY_USED, approval)


def test_an_admission_can_carry_an_approval() -> None:
    """For programs that hand the call over; the record says release."""
    made = bench()
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        with pytest.raises(ApprovalRequired) as caught:
            made.guard.admit("pay", {"amount": 5})
        made.guard.approvals.approve(caught.value.approval, BOB, "yes")
        admission = made.guard.admit("pay", {"amount": 5}, approval=caught.value.approval)
        admission.settle()
    decision = made.ledger.of("call.decision")[-1]
    assert (decision["enforcement"], decision["approval"]["id"]) == (
        "release",
        caught.value.approval,
    )


async def test_an_awaited_call_takes_an_approval_as_well() -> None:
    """The same steps."""
    made = bench()
    approval = made.ask()
    made.guard.approvals.approve(approval, BOB, "yes")

    async def body(**_: Any) -> str:
        return "paid"

    async with made.guard.session(principal="alice", agent="bot", id="s-1"):
        assert await made.guard.acall("pay", {"amount": 5}, body, approval=approval) == "paid"
        admission = None
        with pytest.raises(Denied):
            admission = await made.guard.aadmit("pay", {"amount": 5}, approval=approval)
        assert admission is None


def test_a_framework_that_repeats_a_call_asks_once() -> None:
    """While its request is open, the same call of the same framework id is not recorded a second
    time.
    """
    made = bench()
    first = made.ask(call_id="c-1", replayed=True)
    size = len(made.ledger.lines)
    with pytest.raises(ApprovalRequired) as caught:
        made.call(call_id="c-1", replayed=True)
    assert caught.value.approval == first
    assert len(made.ledger.lines) == size
    assert made.ask(call_id="c-2", replayed=True) != first
    assert made.ask({"amount": 6}, call_id="c-1", replayed=True) != first
    made.guard.approvals.approve(first, BOB, "yes")
    made.call(approval=first, call_id="c-1", replayed=True)
    with pytest.raises(Denied) as done:
        made.call(call_id="c-1", replayed=True)
    assert done.value.code == "denied.duplicate"
