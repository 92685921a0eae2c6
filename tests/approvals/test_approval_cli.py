"""``guardrail approvals``, ``approve`` and ``refuse``, as a person meets them."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import guardrail
from guardrail.approvals.rules import RejectionReason
from guardrail.core.types import Effect
from guardrail.errors import ApprovalRequired, Denied
from guardrail.guard import Guard
from guardrail.policy.sources import installed_folder
from guardrail.review.approval_words import COUNTS_IF, REASONS
from guardrail.review.terminal import width
from guardrail.testing import document
from tests.support.approvals import Asks, Body, ask_for, guarded, records, run
from tests.support.tokens import AUDIENCE, ISSUER, jwk, key_set, token

ME = pwd.getpwuid(os.getuid()).pw_name
HOSTILE = "x\x1b[31m\u202e\nFORGED\u200b"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose settings let asserted approvers count."""
    text = '[ledger]\npath = "audit.db"\n[approvals]\nunsafe_asserted_approvals = true\n'
    (tmp_path / "guardrail.toml").write_text(text)
    return tmp_path


def ask(folder: Path, policy: Any = None, args: dict[str, Any] | None = None, **who: str) -> str:
    """Make a call that a person must approve."""
    with guarded(folder, policy) as guard:
        person = {"principal": "alice@example.com", "agent": "bot", "id": "s-1"} | who
        with guard.session(**person), pytest.raises(ApprovalRequired) as caught:
            guard.call("pay", args or {"amount": 5}, Body())
    return caught.value.approval


def test_a_person_sees_what_is_asked_and_approves_it(folder: Path) -> None:
    """Who asks, for what, by which rule, and what is hidden; then it is approved, by the beginning
    of its id.
    """
    approval = ask(folder, args={"amount": 5, "card": "4111111111111111"})
    shown = run(folder, "approvals")
    assert shown.returncode == 0
    for words in (
        approval,
        "pay",
        "PENDING",
        "bot (asserted by context) for alice@example.com (asserted by context)",
        "session s-1, tenant default",
        "large - large says so",
        "amount: 5",
        "hidden  /card: class secret",
        "given   0 of 1",
    ):
        assert words in shown.stdout, words
    assert "41111111" not in shown.stdout
    done = run(folder, "approve", approval[:-2], "--reason", "he may")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["APPROVED", "pay:"])
    assert "not shown to you: /card" in done.stdout
    assert "unsafe_asserted" in done.stderr
    (grant,) = records(folder, "approval.granted")
    assert grant["approver"] == {"id": ME, "assurance": "asserted", "method": "os_user"}
    assert grant["reason"] == "he may"
    for said in (shown.stderr, run(folder, "why", approval).stdout):
        assert COUNTS_IF not in " ".join(said.split())  # these settings accept it
    assert "GRANTED" in run(folder, "approvals").stdout
    with (
        guarded(folder) as guard,
        guard.session(principal="alice@example.com", agent="bot", id="s-1"),
    ):
        args = {"amount": 5, "card": "4111111111111111"}
        assert guard.call("pay", args, Body(), approval=approval) == "paid"
    assert run(folder, "approvals").stdout == ""
    assert "USED" in run(folder, "approvals", "--all").stdout


def test_a_person_refuses(folder: Path) -> None:
    """For good; approving it afterwards is turned down with exit code 1."""
    approval = ask(folder)
    done = run(folder, "refuse", approval, "--reason", "no")
    assert (done.returncode, done.stdout.split()[0]) == (0, "REFUSED")
    assert run(folder, "approvals").stdout == ""
    late = run(folder, "approve", approval, "--reason", "yes")
    assert late.returncode == 1
    assert "NOT APPROVED" in late.stdout
    assert "refused" in late.stdout
    assert [r["code"] for r in records(folder, "approval.rejected")] == ["refused"]
    again = run(folder, "refuse", approval, "--reason", "no")
    assert (again.returncode, again.stdout.split()[:2]) == (1, ["ALREADY", "REFUSED"])


def test_approving_is_refused_without_the_setting(tmp_path: Path) -> None:
    """With what to set; the attempt is recorded. Refusing needs no setting."""
    (tmp_path / "guardrail.toml").write_text('[ledger]\npath = "audit.db"\n')
    approval = ask(tmp_path)
    done = run(tmp_path, "approve", approval, "--reason", "yes")
    assert done.returncode == 1
    assert "unsafe_asserted_approvals = true" in done.stderr
    assert records(tmp_path, "approval.rejected")[0]["code"] == "asserted"
    for said in (
        run(tmp_path, "approvals").stderr,
        run(tmp_path, "why", approval).stdout,
    ):
        assert "guardrail approve ID --reason TEXT" in " ".join(said.split())
        assert COUNTS_IF in " ".join(said.split())
    assert run(tmp_path, "refuse", approval, "--reason", "no").returncode == 0


def test_who_asks_cannot_approve_whatever_the_environment_says(folder: Path) -> None:
    """The user is asked of the system, by number."""
    approval = ask(folder, principal=ME)
    env = {"LOGNAME": "mallory", "USER": "mallory", "LNAME": "mallory", "USERNAME": "mallory"}
    done = run(folder, "approve", approval, "--reason", "me", env=env)
    assert done.returncode == 1
    assert "approver_is_requester" in done.stdout
    assert "next:  another operating-system user must run: guardrail approve" in done.stderr
    assert records(folder, "approval.rejected")[0]["approver"]["id"] == ME
    assert getpass.getuser()


def test_json_says_all_of_it(folder: Path) -> None:
    """A document for the list and one for each answer, turned down or not."""
    approval = ask(folder, Asks(needs=("/amount",), approvers=2))
    document_ = json.loads(run(folder, "approvals", "--json").stdout)
    (entry,) = document_["requests"]
    assert document_["total"] == 1
    assert (entry["approval"], entry["tool"], entry["args"]) == (approval, "pay", {"amount": 5})
    assert (entry["state"], entry["needed"], entry["given"]) == ("pending", 2, [])
    assert entry["rules"] == [
        {"rule": "large", "message": "large says so", "needs": ["/amount"], "approvers": 2}
    ]
    answer = json.loads(run(folder, "approve", approval, "--reason", "one", "--json").stdout)
    assert (answer["done"], answer["code"], answer["given"], answer["needed"]) == (True, None, 1, 2)
    again = run(folder, "approve", approval, "--reason", "two", "--json")
    answer = json.loads(again.stdout)
    assert (again.returncode, answer["done"], answer["code"]) == (1, False, "approver_counted")
    refused = json.loads(run(folder, "refuse", approval, "--reason", "no", "--json").stdout)
    assert (refused["done"], refused["expires"]) == (True, None)


def test_one_of_two_people_is_told_that_another_is_needed(folder: Path) -> None:
    """On stderr, as a next step."""
    approval = ask(folder, Asks(approvers=2))
    done = run(folder, "approve", approval, "--reason", "one")
    assert "1 of 2" in done.stdout
    assert "1 more person must approve it" in done.stderr
    assert f"given   1 of 2: {ME} (asserted by os_user)" in run(folder, "approvals").stdout


def test_what_the_approver_must_see_and_cannot_is_said(folder: Path) -> None:
    """In the list and in the answer."""
    args = {"amount": 5, "card": "4111111111111111"}
    approval = ask(folder, Asks(needs=("/card",)), args)
    shown = run(folder, "approvals").stdout
    assert "BLOCKED" in shown
    assert "you see /card, which is hidden" in " ".join(shown.split())
    done = run(folder, "approve", approval, "--reason", "blind")
    assert done.returncode == 1
    assert "needs_hidden" in done.stdout
    assert "hidden  /card" in done.stdout
    told = " ".join(run(folder, "why", approval).stdout.split())
    assert "Nobody can: a rule needs /card, which the record hides." in told
    assert "Next: Stop hiding the values listed in the rule's needs" in told
    assert "guardrail approve" not in told


def test_the_starter_shows_the_approver_of_a_mail_its_subject_but_no_address(folder: Path) -> None:
    """As its comment and the page about policies say: to require the address would block it."""
    mail = {"to": "eve@elsewhere.org", "subject": "Offer 7", "body": "x", "customer": "C-17"}
    starter = installed_folder() / "starter"
    with Guard.open(folder / "guardrail.toml", policies=starter) as guard:
        guard.declare("send_email", schema={"type": "object"})
        with guard.session(principal="alice"), pytest.raises(ApprovalRequired):
            guard.call("send_email", mail, Body())
    shown = run(folder, "approvals").stdout
    assert "PENDING" in shown
    for words in ("Offer 7", "C-17", "/to: class contact"):
        assert words in shown
    assert "eve@" not in shown
    assert '"needs": ["/to"]' in (starter / "mail.rego").read_text()


def test_hostile_text_reaches_no_terminal_raw(folder: Path) -> None:
    """Arguments, keys, rules, messages and names, however they were chosen."""

    def policy(_: dict[str, Any]) -> dict[str, Any]:
        entry = {
            "rule": HOSTILE,
            "message": HOSTILE,
            "severity": "info",
            "effect": "require_approval",
            "needs": ["/" + HOSTILE],
            "approvers": 1,
        }
        return document(Effect.REQUIRE_APPROVAL, rules=[entry])

    approval = ask(folder, policy, {HOSTILE: HOSTILE, "to": "y" * 4000}, agent="a\u00a0b")
    for words in (
        ("approvals",),
        ("approvals", "--json"),
        ("approve", approval, "--reason", HOSTILE),
        ("approvals", "--all"),
        ("approve", HOSTILE, "--reason", "x"),
        ("refuse", approval, "--reason", HOSTILE, "--json"),
    ):
        done = run(folder, *words)
        for text in (done.stdout, done.stderr):
            assert not {"\x1b", "\u202e", "\u200b", "\r"} & set(text), words
            assert "\nFORGED" not in text, words


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_request_fits_the_terminal_and_nothing_of_it_is_cut(folder: Path, columns: str) -> None:
    """Recorded text goes on below itself, never where a line of ours begins, and keeps every
    character.
    """
    forged = "z" * 30 + "  given   9 of 9: carol (verified by oidc) " * 6
    long = {"to": "y" * 90, "amount": 5, "note": forged, "日本" * 30: ["x" * 90]}
    ask(folder, Asks(rules=("large", "w" * 100)), long, principal="p" * 90)
    with (
        guarded(folder) as guard,
        guard.session(principal="a", agent="b"),
        pytest.raises(ApprovalRequired),
    ):
        guard.call("t" * 64, {}, Body())
    shown = run(folder, "approvals", env={"COLUMNS": columns}).stdout
    assert all(width(line) <= int(columns) for line in shown.splitlines()), shown
    assert "…" not in shown
    assert sum(line.startswith("  given") for line in shown.splitlines()) == 2
    whole = "".join(shown.split())
    for text in ("y" * 90, forged, "日本" * 30, "x" * 90, "w" * 100, "p" * 90, "t" * 64):
        assert "".join(text.split()) in whole


def test_times_are_shown_in_one_form(folder: Path) -> None:
    """When it was asked, and until when an approval counts."""
    approval = ask(folder)
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search(
        rf"^  asked   {stamp} \(\d+ s ago\), record \d+$",
        run(folder, "approvals").stdout,
        re.MULTILINE,
    )
    done = run(folder, "approve", approval, "--reason", "yes").stdout
    assert re.search(rf"^  until   {stamp}$", done, re.MULTILINE)


def test_a_secret_in_a_reason_is_not_written(folder: Path) -> None:
    """Not to the ledger, not to the terminal."""
    approval = ask(folder)
    key = "AKIA" + "Q3EGUZ5XYKD7NJ2M"
    done = run(folder, "approve", approval, "--reason", f"she gave me {key}", "--json")
    assert done.returncode == 0
    assert key not in done.stdout + done.stderr
    assert key.encode() not in (folder / "audit.db").read_bytes()
    assert records(folder, "approval.granted")[0]["reason"].startswith("she gave me gr1:")


def test_names_that_lead_nowhere_change_nothing(folder: Path) -> None:
    """Exit code 3, and no record."""
    first, second = ask(folder), ask(folder)
    size = len(records(folder))
    numbers = [record["seq"] for record in records(folder, "call.decision")]
    for name in ("01", "nonsense", "999", "0", "\u0661", "-x"):
        done = run(folder, "approve", "--reason", "x", "--", name)
        assert done.returncode == 3, name
    assert first != second
    assert "more than one" in run(folder, "approve", "01", "--reason", "x").stderr
    assert len(records(folder)) == size
    assert run(folder, "approve", str(numbers[1]), "--reason", "x").returncode == 0
    assert records(folder, "approval.granted")[0]["approval"]["id"] == second


@pytest.mark.parametrize("words", [("approve", "01"), ("refuse", "01"), ("approve",)])
def test_a_reason_and_an_id_are_required(folder: Path, words: tuple[str, ...]) -> None:
    """Usage."""
    assert run(folder, *words).returncode == 2


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001])
def test_an_empty_or_endless_reason_is_refused(folder: Path, reason: str) -> None:
    """Nothing is recorded."""
    approval = ask(folder)
    assert run(folder, "approve", approval, "--reason", reason).returncode == 2
    assert records(folder, "approval.granted") == []


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Approving creates nothing."""
    for words in (
        ("approvals",),
        ("approve", "01", "--reason", "x"),
        ("refuse", "01", "--reason", "x"),
    ):
        assert run(tmp_path, *words).returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_answering_needs_no_guard_and_leaves_only_its_own_record(folder: Path) -> None:
    """No policy is loaded, no tool can run; the ledger holds one record more."""
    approval = ask(folder)
    size = len(records(folder))
    code = (
        f"import sys; from guardrail.cli.app import run; code = run(['approve', {approval!r},"
        " '--reason', 'x']); loaded = {'guardrail.guard', 'guardrail.call.steps',"
        " 'guardrail.call.admission'} & set(sys.modules); assert not loaded, loaded;"
        " sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(guardrail.__file__).parents[1])},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(records(folder)) == size + 1


def test_every_reason_has_its_sentence() -> None:
    """No code reaches a person without words."""
    assert set(REASONS) == set(RejectionReason)


def test_other_commands_show_approvals_as_records(folder: Path) -> None:
    """``show`` and ``why`` cope with them."""
    approval = ask(folder)
    run(folder, "approve", approval, "--reason", "he may")
    (grant,) = records(folder, "approval.granted")
    shown = run(folder, "show", str(grant["seq"]))
    assert shown.returncode == 0
    assert "he may" in shown.stdout
    assert run(folder, "why", str(grant["seq"])).returncode == 3
    assert run(folder, "sessions").returncode == 0


def use(folder: Path, approval: str) -> int:
    """Make the call with the approval, and return the number of its decision."""
    with (
        guarded(folder) as guard,
        guard.session(principal="alice@example.com", agent="bot", id="s-1"),
    ):
        guard.call("pay", {"amount": 5}, Body(), approval=approval)
    return next(
        record["seq"] for record in reversed(records(folder)) if record["type"] == "call.decision"
    )


def test_who_approved_is_told_by_every_command_and_stays_told(folder: Path) -> None:
    """In the list, in the session, at the request, at the call that it allowed, and in why; also
    once it has expired.
    """
    approval = ask(folder)
    run(folder, "approve", approval, "--reason", "INC-4711")
    asked = next(record["seq"] for record in records(folder) if record["type"] == "call.decision")
    assert f"approved by {ME} (asserted by os_user)" in run(folder, "why", str(asked)).stdout
    ran = run(folder, "why", str(asked)).stdout
    assert "It was approved, and the approval has not been used yet." in " ".join(ran.split())
    assert "guardrail approve" not in ran
    used = use(folder, approval)
    (folder / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[approvals]\nttl_s = 1\nunsafe_asserted_approvals = true\n'
    )
    time.sleep(1.2)
    listed = run(folder, "approvals", "--all").stdout
    assert "USED" in listed
    assert f"given   1 of 1: {ME} (asserted by os_user)" in listed
    assert f"used    by record {used}" in listed
    who = f"{ME} (asserted by os_user)"
    for words in (("show", "s-1"), ("show", str(used)), ("why", str(used))):
        told = " ".join(run(folder, *words).stdout.split())
        assert f"approved by {who}, on request {approval}" in told
    for words in (("show", "s-1"), ("show", str(asked)), ("why", str(asked))):
        told = " ".join(run(folder, *words).stdout.split())
        assert f"used by record {used}, on the approval of {who}" in told
    explained = run(folder, "why", str(asked)).stdout
    assert f"the call was made with that approval: record {used}" in " ".join(explained.split())
    assert "guardrail approve" not in explained
    granted = next(
        record["seq"] for record in records(folder) if record["type"] == "approval.granted"
    )
    assert (
        f"APPROVED  the request of record {asked}, by {who}"
        in run(folder, "show", str(granted)).stdout
    )


def test_json_names_who_approved(folder: Path) -> None:
    """The same in `show`, `why` and `approvals`."""
    approval = ask(folder)
    run(folder, "approve", approval, "--reason", "INC-4711")
    used = use(folder, approval)
    me = {"id": ME, "assurance": "asserted", "method": "os_user"}
    request, call = json.loads(run(folder, "show", "s-1", "--json").stdout)["calls"]
    assert [(each["kind"], each["people"]) for each in request["answers"]] == [
        ("granted", [me]),
        ("used", [me]),
    ]
    assert request["approval"] is None
    assert call["approval"] == {"id": approval, "approvers": [me]}
    assert json.loads(run(folder, "why", str(used), "--json").stdout)["call"] == call
    [listed] = json.loads(run(folder, "approvals", "--all", "--json").stdout)["requests"]
    assert [each["kind"] for each in listed["answers"]] == ["granted", "used"]
    assert listed["answers"][1]["people"] == [me]


def test_a_use_that_does_not_count_is_told_in_words(folder: Path) -> None:
    """The arguments as they were asked for; of others, where they differ, and why their values are
    not shown.
    """
    approval = ask(folder)
    with (
        guarded(folder) as guard,
        guard.session(principal="alice@example.com", agent="bot", id="s-1"),
    ):
        for amount in (5, 6):
            with pytest.raises(Denied):
                guard.call("pay", {"amount": amount}, Body(), approval=approval)
    pending, other = (record["seq"] for record in records(folder, "call.decision")[-2:])
    told = run(folder, "why", str(pending)).stdout
    assert "amount: 5" in told
    assert "nobody has approved it yet" in told
    assert "large - large says so" in told
    assert "undeclared" not in told
    told = " ".join(run(folder, "why", str(other)).stdout.split())
    assert "its arguments differ from those of the request at /amount" in told
    assert (
        "(all arguments): only keys, types and lengths are recorded, because the policy "
        "did not determine which arguments to hide"
    ) in told
    assert "amount: [int, gr1:text:" in told
    assert "undeclared" not in told
    shown = json.loads(run(folder, "show", "s-1", "--json").stdout)["calls"]
    assert [call["differs"] for call in shown] == [None, None, ["/amount"]]


def test_who_refused_is_told_and_nothing_is_left_to_do(folder: Path) -> None:
    """A refusal is for good."""
    approval = ask(folder)
    run(folder, "refuse", approval, "--reason", "not this month")
    asked = next(record["seq"] for record in records(folder) if record["type"] == "call.decision")
    assert f"refused by {ME} (asserted by os_user)" in run(folder, "approvals", "--all").stdout
    explained = run(folder, "why", str(asked)).stdout
    assert f"refused by {ME} (asserted by os_user)" in explained
    assert "the call can no longer be approved" in " ".join(explained.split())
    assert "guardrail approve" not in explained


def test_an_approval_that_expired_before_it_was_used_is_told(folder: Path) -> None:
    """Who gave it stays to be seen, and that it no longer counts."""
    (folder / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[approvals]\nttl_s = 1\nunsafe_asserted_approvals = true\n'
    )
    approval = ask(folder)
    run(folder, "approve", approval, "--reason", "INC-4711")
    time.sleep(1.2)
    listed = run(folder, "approvals").stdout
    assert "PENDING" in listed
    assert "given   0 of 1; earlier approvals expired" in listed
    assert approval in listed


def test_answers_that_do_not_count_are_shown_as_that(folder: Path) -> None:
    """With who gave them, and why; the request says nothing of them."""
    approval = ask(folder, principal=ME)
    run(folder, "approve", approval, "--reason", "me again")
    seq = next(record["seq"] for record in records(folder) if record["type"] == "approval.rejected")
    shown = run(folder, "show", str(seq)).stdout
    assert f"{ME} (asserted by os_user) answered the request of record" in shown
    assert "requesters can't approve" in shown


def test_hostile_names_of_approvers_reach_no_terminal_raw(folder: Path) -> None:
    """A ledger can be written by anybody who has its keys."""
    from guardrail.cli.render import approval_lines
    from guardrail.review.records import call_of

    people = [{"id": HOSTILE, "assurance": HOSTILE, "method": HOSTILE}, 5, {}]
    told = "".join(approval_lines(call_of({"approval": {"id": HOSTILE, "approvers": people}})))
    assert not set("\x1b\u202e\n\u200b") & set(told)
    for nonsense in (None, 5, [], "x", {"id": 5, "approvers": 5}):
        assert list(approval_lines(call_of({"approval": nonsense, "presented": nonsense}))) in (
            [],
            ["the call presented the approval x, which was not valid"],
        )


def token_project(folder: Path, **table: str) -> Path:
    """Make a project whose settings name an issuer; return the path for a token."""
    (folder / "jwks.json").write_text(key_set(jwk()))
    more = "".join(f'{key} = "{value}"\n' for key, value in table.items())
    (folder / "guardrail.toml").write_text(
        f'[ledger]\npath = "audit.db"\n[identity.issuers."{ISSUER}"]\njwks = "jwks.json"\n'
        f'audience = "{AUDIENCE}"\n{more}'
    )
    file = folder / "token"
    file.touch(0o600)
    return file


def test_a_verified_person_approves_without_the_setting(tmp_path: Path) -> None:
    """The record names the person and the issuer, and no byte of the token is written."""
    file = token_project(tmp_path)
    approval = ask(tmp_path)
    text = token(sub="carol@example.com", now=int(time.time()))
    file.write_text(text + "\n")
    words = ("approve", approval, "--reason", "fine", "--token-file", str(file))
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "not verified" not in done.stderr
    (granted,) = records(tmp_path, "approval.granted")
    assert granted["approver"] == {
        "id": "carol@example.com",
        "assurance": "verified",
        "method": "oidc_jwt",
        "issuer": ISSUER,
    }
    assert granted["unsafe_asserted"] is False
    with guarded(tmp_path) as guard, guard.session("alice@example.com", "bot", id="s-1"):
        guard.call("pay", {"amount": 5}, Body(), approval=approval)
    used = [r for r in records(tmp_path, "call.decision") if r["approval"]]
    assert used[0]["approval"]["approvers"] == [granted["approver"]]
    assert "carol@example.com (verified by oidc_jwt)" in run(tmp_path, "why", approval).stdout
    written = b"".join(path.read_bytes() for path in tmp_path.glob("audit*") if path.is_file())
    assert not any(part.encode() in written for part in text.split("."))


@pytest.mark.parametrize(
    ("claims", "words", "status"),
    [
        ({"sub": "alice@example.com"}, "approver_is_requester", 1),
        ({"tid": "other"}, "another tenant than the request", 3),
        ({"tid": None}, "has no tenant", 3),
        ({"act": {"sub": "bot"}}, "acts for a person", 3),
        ({"client_id": "carol@example.com"}, "belongs to a service", 3),
        ({"aud": "other"}, "another audience", 3),
        ({"iat": 1, "exp": 2}, "has expired", 3),
    ],
)
def test_a_token_that_is_no_approvers_is_refused(
    tmp_path: Path, claims: dict[str, Any], words: str, status: int
) -> None:
    """The requester's own, another tenant's, a program's, and one that is not valid."""
    file = token_project(tmp_path, tenant_claim="tid")
    approval = ask(tmp_path)
    stated = {"sub": "carol@example.com", "tid": "default", "now": int(time.time()), **claims}
    file.write_text(token(**stated))
    done = run(tmp_path, "approve", approval, "--reason", "fine", "--token-file", str(file))
    assert done.returncode == status
    assert words in done.stdout + done.stderr
    assert ("another person must run" in done.stderr) == (status == 1)
    assert records(tmp_path, "approval.granted") == []


def test_who_approves_a_sufficient_request_again_is_told_that_it_is_enough(tmp_path: Path) -> None:
    """Others may still approve it, because the requester is recorded as a token, but need not."""
    file = token_project(tmp_path)
    with guarded(tmp_path, identity={"principal_form": "token"}) as guard:
        approval = ask_for(guard)
    file.write_text(token(sub="carol@example.com", now=int(time.time())))
    words = ("approve", approval, "--reason", "fine", "--token-file", str(file))
    assert run(tmp_path, *words).returncode == 0
    again = run(tmp_path, *words)
    assert again.returncode == 1
    assert "your approval already counts, and it is enough" in " ".join(again.stdout.split())


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "[tenants.acme]\n"), ('[identity]\ntenant = "other"\n', "")],
)
def test_a_token_without_a_tenant_answers_for_none_of_several(
    tmp_path: Path, before: str, after: str
) -> None:
    """Its holder could be a person of any tenant: of the tables, or of the shared ledger."""
    file = token_project(tmp_path)
    approval = ask(tmp_path)
    settings = tmp_path / "guardrail.toml"
    settings.write_text(f"{before}{settings.read_text()}{after}")
    file.write_text(token(sub="carol@example.com", now=int(time.time())))
    done = run(tmp_path, "approve", approval, "--reason", "fine", "--token-file", str(file))
    assert done.returncode == 3
    assert "names no tenant" in done.stderr
    assert "tenant_claim" in done.stderr
    assert records(tmp_path, "approval.granted") == []
    settings.write_text(f'{settings.read_text().replace(after, "")}tenant = "default"\n{after}')
    done = run(tmp_path, "approve", approval, "--reason", "fine", "--token-file", str(file))
    assert done.returncode == 0, done.stderr


def test_a_token_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    """And what belongs into it."""
    file = token_project(tmp_path)
    file.unlink()
    approval = ask(tmp_path)
    done = run(tmp_path, "refuse", approval, "--reason", "no", "--token-file", str(file))
    assert done.returncode == 3
    assert "No such file" in done.stderr
    assert "access token" in done.stderr
