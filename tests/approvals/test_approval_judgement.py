"""What an approver sees and whose answer counts, judged from values alone."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.approvals import rules as approvals
from guardrail.approvals.rules import (
    ApprovalCase,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTerms,
    Approver,
    AskedRule,
    PresentedCall,
    RejectionReason,
    RequestState,
    StepKind,
)
from guardrail.approvals.service import system_user
from guardrail.core.types import Assurance, Json
from guardrail.errors import LedgerError
from tests.support.approvals import BOB, CAROL, bench

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TERMS = ApprovalTerms(unsafe_asserted=True)
MARK = "gr1:name:kid:" + "a" * 24
SIZED: Json = {"$t": "str", "len": 9000}


ALICE: dict[str, Any] = {"id": "alice", "form": "clear", "assurance": "asserted"}
BOT: dict[str, Any] = {"id": "bot", "form": "clear", "assurance": "asserted"}


def request(
    args: Json = None,
    removed: dict[str, list[str]] | None = None,
    *,
    truncated: bool = False,
    **more: Any,
) -> ApprovalRequest:
    """Return a request with this recorded view."""
    made = ApprovalRequest(
        id="0" * 26,
        seq=1,
        leaf="ab" * 32,
        asked=NOON,
        session="s-1",
        tenant="default",
        principal=ALICE,
        agent=BOT,
        delegation=(),
        tool={"name": "pay", "server": None, "schema": None, "declared": True},
        origin={"call_id": None},
        commitment="cd" * 32,
        rules=(AskedRule("large", "large"),),
        args={} if args is None else args,
        removed=removed or {},
        truncated=truncated,
    )
    return replace(made, **more)


@pytest.mark.parametrize(
    ("need", "removed", "shown"),
    [
        ("/amount", {}, True),
        ("/absent", {}, True),
        ("", {}, True),
        ("", {"/card": ["payment"]}, False),
        ("/card", {"/card": ["payment"]}, False),
        ("/card/number", {"/card": ["payment"]}, False),
        ("/card", {"/card/number": ["payment"]}, False),
        ("/cards", {"/card": ["payment"]}, True),
        ("/card", {"/cards": ["payment"]}, True),
        ("/to/1", {"/to/*": ["email"]}, False),
        ("/to/*", {"/to/1": ["email"]}, False),
        ("/to/*/name", {"/to/1/mail": ["email"]}, True),
        ("/amount", {"": ["undeclared", "minimal"]}, False),
        ("/amount", {f"/{MARK}": ["name", "key-name"]}, False),
        ("/amount", {f"/{MARK}-2": ["name", "key-name"]}, False),
        ("/amount", {f"/other/{MARK}": ["name", "key-name"]}, True),
        ("/other/x", {f"/other/{MARK}": ["name", "key-name"]}, False),
        ("amount", {}, False),
        ("#/amount", {}, False),
    ],
)
def test_a_place_is_visible_only_where_nothing_was_removed_at_above_or_below_it(
    need: str, removed: dict[str, list[str]], shown: bool
) -> None:
    """A renamed key can stand for any key of its object; what is no pointer names nothing that can
    be seen.
    """
    made = request({"amount": 5, "to": ["x", "y"]}, removed)
    assert made.shows(need) is shown
    assert replace(made, rules=(AskedRule("r", "r", (need,)),)).hidden_needs == (
        () if shown else (need,)
    )


@pytest.mark.parametrize(
    ("need", "shown"),
    [
        ("/amount", True),
        ("/flag", True),
        ("/nothing", True),
        ("/list/1", True),
        ("/a~1b", True),
        ("/body", False),
        ("/text", True),
        ("/quoted", False),
        ("/list", True),
        ("/list/0", True),
        ("/cut", False),
        ("/cut/x", False),
        ("/moved", False),
        ("/list/9", False),
        ("/list/x", False),
        ("/list/\u0661", False),
        ("/amount/x", False),
        ("/absent", False),
        ("", False),
    ],
)
def test_a_view_that_was_cut_shows_only_what_can_not_have_been_cut(need: str, shown: bool) -> None:
    """A long text is recorded as an object, and what is absent may have been left out. JSON in a
    text may contain such an object.
    """
    args: Json = {
        "amount": 5,
        "flag": False,
        "nothing": None,
        "a/b": 1.5,
        "body": SIZED,
        "text": "short",
        "quoted": json.dumps({"body": SIZED}),
        "cut": {"x": [SIZED]},
        "moved": {f"gr1:contact:k1:{'a' * 24}-2": 1},
        "list": ["x", 7],
    }
    assert request(args, truncated=True).shows(need) is shown


@given(
    st.lists(st.sampled_from(["a", "b", "0", "*", MARK]), max_size=4),
    st.lists(st.sampled_from(["a", "b", "0"]), max_size=4),
)
def test_whatever_was_removed_on_the_way_hides(removed: list[str], wanted: list[str]) -> None:
    """A place is never shown where a removed pointer is a prefix of it, or it of the pointer."""
    one, other = "".join(f"/{part}" for part in removed), "".join(f"/{part}" for part in wanted)
    shown = request({}, {one: ["secret"]}).shows(other)
    if removed[: len(wanted)] == wanted[: len(removed)]:
        assert not shown


def grant(ordinal: int = 0, who: Approver = BOB, at: datetime = NOON, **more: Any) -> ApprovalStep:
    """Return an approval that stands for a quarter of an hour."""
    made = ApprovalStep(
        StepKind.GRANTED, 5 + ordinal, ordinal, at, who, at + timedelta(seconds=900), "ab" * 32
    )
    return replace(made, **more)


def case(*steps: ApprovalStep, newest: datetime = NOON, **more: Any) -> ApprovalCase:
    """Return a request with these steps."""
    return ApprovalCase(request(**more), steps, newest)


CALL = PresentedCall(
    tenant="default",
    session="s-1",
    principal=ALICE,
    agent=BOT,
    people=("alice", "bot"),
    tool={"name": "pay", "server": None, "schema": None, "declared": True},
    commitment="cd" * 32,
)


def use(
    made: ApprovalCase | None,
    call: PresentedCall = CALL,
    now: datetime = NOON,
    terms: ApprovalTerms = TERMS,
) -> Any:
    return approvals.may_use(made, call, now, terms)


def test_a_grant_of_another_record_does_not_count() -> None:
    """An answer names the request by its hash: one to a request that was exchanged is no answer to
    this one.
    """
    assert use(case(grant())).request.id == "0" * 26
    assert use(case(grant(leaf="ef" * 32))) is RejectionReason.PENDING
    assert approvals.state_of(case(grant(leaf="ef" * 32)), NOON, TERMS) is RequestState.PENDING


def test_one_person_counts_once_however_often_it_is_recorded() -> None:
    """Whatever let a second grant of theirs into the log."""
    rules = (AskedRule("large", "large", (), 2),)
    twice = case(grant(), grant(1, Approver("BOB")), rules=rules)
    assert use(twice) is RejectionReason.APPROVERS_MISSING
    assert approvals.state_of(twice, NOON, TERMS) is RequestState.PENDING
    assert use(case(grant(), grant(1, CAROL), rules=rules)).ordinal == 2


@pytest.mark.parametrize(
    "other",
    [
        "BOB",
        "bob ",
        "\tbob",
        "\u00a0bob\u3000",
        "b\u200bob",
        "bo\ufe0fb",
        "\uff42ob",
        "bob\u3164",
        "\u115fbob",
        "bob\U0001d159",
        "bob\U00016fe4\u0345",
        "b\u043eb",
    ],
)
def test_two_ways_to_write_one_name_are_one_person(other: str) -> None:
    """Blanks, letter case, width, what draws nothing or only decorates, and letters that look
    alike.
    """
    assert approvals.same_identity("bob", other)
    rules = (AskedRule("large", "large", (), 2),)
    assert (
        use(case(grant(), grant(1, Approver(other)), rules=rules))
        is RejectionReason.APPROVERS_MISSING
    )
    call = replace(CALL, people=("alice", "bot", other))
    assert use(case(grant()), call) is RejectionReason.APPROVER_IS_REQUESTER


@pytest.mark.parametrize("other", ["\u042cob", "\u044cob", "b0b", "\u0184ob"])
def test_an_approver_whose_id_can_be_confused_with_a_requesters_is_rejected(other: str) -> None:
    """The answer is rejected, and so is the use, whatever was recorded before: the two may be one
    person.
    """
    assert not approvals.same_identity("bob", other)
    asked = {"id": other, "issuer": None}
    answer = approvals.may_answer(
        case(principal=asked),
        approvals.StepKind.GRANTED,
        Approver("bob", Assurance.VERIFIED),
        now=NOON,
        terms=TERMS,
        token=lambda *_: "",
    )
    assert answer is RejectionReason.APPROVER_LOOKS_ALIKE
    call = replace(CALL, people=("alice", "bot", other))
    assert use(case(grant()), call) is RejectionReason.APPROVER_LOOKS_ALIKE


@pytest.mark.parametrize(
    ("one", "other"),
    [("walter", "vvalter"), ("dara", "clara"), ("bob", "\u044cob"), ("martin", "rnartin")],
)
def test_two_approvers_who_can_be_confused_count_as_one_person(one: str, other: str) -> None:
    """Both when the second one answers, and when the approval is used."""
    rules = (AskedRule("large", "large", (), 2),)
    first, second = Approver(one, Assurance.VERIFIED), Approver(other, Assurance.VERIFIED)
    for who, again in ((first, second), (second, first)):
        answer = approvals.may_answer(
            case(grant(0, who), rules=rules),
            approvals.StepKind.GRANTED,
            again,
            now=NOON,
            terms=TERMS,
            token=lambda *_: "",
        )
        assert answer is RejectionReason.APPROVER_LOOKS_ALIKE
        both = case(grant(0, who), grant(1, again), rules=rules)
        assert use(both) is RejectionReason.APPROVERS_MISSING
        assert approvals.state_of(both, NOON, TERMS) is RequestState.PENDING
        third = case(grant(0, who), grant(1, again), grant(2, CAROL), rules=rules)
        assert [each.id for each in use(third).approvers] == [who.id, "carol"]


def _token(cls: str, id_: str) -> str:
    return f"gr1:{cls}:kid:{hashlib.sha256(id_.encode()).hexdigest()[:24]}"


def test_a_requester_who_is_recorded_as_a_token_does_not_close_the_request() -> None:
    """Only the call shows that the approver is the requester, so their approval neither counts nor
    keeps others from approving.
    """
    hidden = {"id": _token("principal", "aLice"), "form": "token", "issuer": None}

    def answer(made: ApprovalCase, id_: str) -> RejectionReason | None:
        return approvals.may_answer(
            made,
            approvals.StepKind.GRANTED,
            Approver(id_, Assurance.VERIFIED),
            now=NOON,
            terms=TERMS,
            token=_token,
        )

    assert answer(case(principal=hidden), "aLice") is RejectionReason.APPROVER_IS_REQUESTER
    assert answer(case(principal=hidden), "aliCe") is None
    burnt = case(grant(0, Approver("aliCe")), principal=hidden)
    call = replace(CALL, principal=hidden, people=("aLice", "bot"))
    assert use(burnt, call) is RejectionReason.APPROVER_IS_REQUESTER
    assert answer(burnt, "bob") is None
    assert answer(burnt, "alice") is RejectionReason.APPROVER_COUNTED
    mended = case(grant(0, Approver("aliCe")), grant(1), principal=hidden)
    assert [each.id for each in use(mended, call).approvers] == ["bob"]
    late = NOON + timedelta(seconds=900)
    later = case(
        grant(0, Approver("aliCe"), at=late, expires=late + timedelta(seconds=900)),
        grant(1),
        principal=hidden,
    )
    assert use(later, call, late) is RejectionReason.APPROVER_IS_REQUESTER
    assert use(mended, call, late) is RejectionReason.EXPIRED


@pytest.mark.parametrize("typed", ["alice", "ALICE", "Alice", " alice", "\uff41lice"])
def test_a_requester_who_is_recorded_as_a_token_is_known_in_common_spellings(typed: str) -> None:
    ids = (_token("principal", "alice"),)
    assert approvals.is_person_of(ids, Approver(typed), _token)
    assert not approvals.is_person_of(ids, Approver("bob"), _token)


@pytest.mark.parametrize("name", ["", " ", "\u3164", "\u200b\u200d", "\u2800", "\U000e0041"])
def test_a_name_of_which_nothing_can_be_seen_is_nobodys(name: str) -> None:
    """It equals no other, and approves nothing."""
    assert approvals.folded(name) == ""
    assert not approvals.same_identity(name, name)
    answer = approvals.may_answer(
        case(),
        approvals.StepKind.GRANTED,
        Approver(name, Assurance.VERIFIED),
        now=NOON,
        terms=TERMS,
        token=lambda *_: "",
    )
    assert answer is RejectionReason.APPROVER_UNKNOWN


def test_only_the_very_caller_uses_an_approval() -> None:
    """Of the principal and the agent, the id, who vouches for it, and how surely are compared
    exactly.
    """
    assert isinstance(use(case(grant())), approvals.Grant)
    for part, known in (("principal", ALICE), ("agent", BOT)):
        for other in (
            {"id": f"{known['id']} "},
            {"id": known["id"].title()},
            {"issuer": "https://a.example"},
            {"assurance": "absent"},
        ):
            changed: Any = {part: {**known, **other}}
            call = replace(CALL, **changed)
            assert use(case(grant()), call) is RejectionReason.OTHER_SESSION
        vouched: Any = {**known, "issuer": "https://a.example", "assurance": "verified"}
        same = replace(CALL, **{part: vouched})
        assert isinstance(use(case(grant(), **{part: vouched}), same), approvals.Grant)
        assert use(case(grant(), **{part: vouched})) is RejectionReason.OTHER_SESSION


def test_an_approver_who_turns_out_to_be_a_requester_does_not_count() -> None:
    """Whatever was recorded when they approved: the requester's ids are known in clear where the
    call is made.
    """
    call = replace(CALL, people=("alice", "bot", "BOB"))
    assert use(case(grant()), call) is RejectionReason.APPROVER_IS_REQUESTER


def test_a_call_whose_arguments_did_not_fit_has_no_approval() -> None:
    """No commitment, no cover."""
    assert use(case(grant()), replace(CALL, commitment=None)) is RejectionReason.OTHER_ARGUMENTS


def test_the_limits_of_time_are_exact() -> None:
    """Good until the last moment, and not at it; thirty seconds of a slow clock are believed, and
    no more.
    """
    second = timedelta(seconds=1)
    assert use(case(grant()), now=NOON + 899 * second).ordinal == 1
    assert use(case(grant()), now=NOON + 900 * second) is RejectionReason.EXPIRED
    assert use(case(grant()), now=NOON - 30 * second).ordinal == 1
    assert use(case(grant()), now=NOON - 31 * second) is RejectionReason.CLOCK_SKEW
    assert use(case(grant(), newest=NOON + 90 * second), now=NOON) is RejectionReason.CLOCK_SKEW
    old = case(grant(at=NOON + 86_000 * second, expires=NOON + 99_999 * second))
    assert use(old, now=NOON + 86_399 * second).ordinal == 1
    assert use(old, now=NOON + 86_400 * second) is RejectionReason.EXPIRED


def test_a_refusal_counts_whatever_else_is_wrong_with_it() -> None:
    """Of another hash, by nobody, without an end."""
    refusal = ApprovalStep(StepKind.REFUSED, 9, 1, NOON, Approver(""), None, "")
    assert use(case(grant(), refusal)) is RejectionReason.REFUSED
    assert approvals.state_of(case(grant(), refusal), NOON, TERMS) is RequestState.REFUSED


def test_where_a_request_stands() -> None:
    """Each state, from its steps and the time."""
    used = ApprovalStep(StepKind.USED, 9, 1, NOON)
    late = NOON + timedelta(days=2)
    blind: dict[str, Any] = {
        "args": {},
        "removed": {"/card": ["payment"]},
        "rules": (AskedRule("r", "r", ("/card",)),),
    }
    for made, now, state in (
        (case(), NOON, RequestState.PENDING),
        (case(grant()), NOON, RequestState.GRANTED),
        (case(grant(), used), NOON, RequestState.USED),
        (case(), late, RequestState.EXPIRED),
        (case(grant()), NOON + timedelta(hours=1), RequestState.PENDING),
        (case(**blind), NOON, RequestState.BLOCKED),
    ):
        assert approvals.state_of(made, now, TERMS) is state


def test_an_absent_requester_equals_nobody() -> None:
    """Two ids that are not there are not one person."""
    assert not approvals.same_identity("", "")
    made = case(principal={"id": "", "form": "clear"}, agent={"id": "", "form": "clear"})
    answer = approvals.may_answer(
        made,
        StepKind.GRANTED,
        BOB,
        now=NOON,
        terms=TERMS,
        token=lambda cls, value: f"{cls}:{value}",
    )
    assert answer is None
    nobody = approvals.may_answer(
        made, StepKind.GRANTED, Approver(""), now=NOON, terms=TERMS, token=lambda *_: ""
    )
    assert nobody is RejectionReason.APPROVER_UNKNOWN


def test_rules_that_did_not_ask_for_a_person_change_nothing() -> None:
    """Only what asks for people is compared."""
    from guardrail.core import decision as decisions
    from guardrail.testing import allow

    got = use(case(grant()))
    assert approvals.exceeds(got, decisions.parse(allow("something"))) is None


def test_an_allow_beside_a_rule_that_nobody_approved_is_not_believed() -> None:
    """A composition that allowed it would be wrong; the guard compares for itself."""
    from guardrail.core import decision as decisions
    from guardrail.testing import allow

    got = use(case(grant()))
    for name, expected in (("large", None), ("foreign", RejectionReason.RULES_CHANGED)):
        asked = {**allow()["rules"][0], "rule": name, "effect": "require_approval"}
        verdict = decisions.parse(allow(rules=[*allow()["rules"], asked]))
        assert approvals.exceeds(got, verdict) is expected


@pytest.mark.parametrize(
    "value", [None, 5, "", "0" * 25, "0" * 27, "I" * 26, "a" * 26, "\u0660" * 26]
)
def test_only_what_looks_like_a_call_id_is_looked_up(value: object) -> None:
    """26 characters of Crockford's alphabet."""
    assert not approvals.is_approval_id(value)
    assert approvals.is_approval_id("01ARZ3NDEKTSV4RRFFQ69G5FAV")


def test_an_answer_that_is_always_overtaken_gives_up() -> None:
    """With an error; nothing is recorded."""
    made = bench()
    approval = made.ask()
    made.ledger.fail = lambda _: LedgerError("taken", code="ledger.approval_taken")
    with pytest.raises(LedgerError):
        made.guard.approvals.approve(approval, BOB, "yes")


def test_a_ledger_that_cannot_be_written_takes_no_answer() -> None:
    """The approver learns it."""
    made = bench()
    approval = made.ask()
    made.ledger.fail = lambda _: LedgerError("full")
    with pytest.raises(LedgerError) as caught:
        made.guard.approvals.approve(approval, CAROL, "yes")
    assert caught.value.message == "full"


def test_the_user_of_the_process_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name by number, or the number where the system knows no name."""
    assert system_user() == Approver(
        pwd.getpwuid(os.getuid()).pw_name, Assurance.ASSERTED, "os_user"
    )

    def nobody(uid: int) -> Any:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert system_user().id == str(os.getuid())
