"""Resolving effect keys from the command line: what a person types, sees and gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.app import Exit
from guardrail.errors import Denied
from tests.support.approvals import UNSAFE
from tests.support.command_line import Cli
from tests.support.guards import PAYMENT, Body, child, guarded, records, whole

ALLOWED = "[approvals]\nunsafe_asserted_approvals = true\n"


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A ledger, found by the commands, in which a killed payment holds its key; the number of its
    decision.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUARDRAIL_LEDGER", str(tmp_path / "audit.db"))
    (tmp_path / "guardrail.toml").write_text(ALLOWED)
    with child(tmp_path) as first:
        first.send("pay_and_die", 5)
        first.died()
    with guarded(tmp_path):
        pass
    (decision,) = records(tmp_path / "audit.db", "call.decision")
    return int(decision["seq"])


def pay(folder: Path) -> str:
    """Pay the invoice; return the code of the denial, or an empty string."""
    with guarded(folder, **UNSAFE) as guard, guard.session(principal="alice", agent="bot"):
        guard.declare("pay", schema=PAYMENT, effect_key=["/invoice"])
        try:
            guard.call("pay", {"invoice": 5}, Body())
        except Denied as error:
            return error.code
    return ""


def resolve(cli: Cli, seq: int, outcome: str, *more: str) -> Any:
    return cli("resolve", str(seq), outcome, "--reason", "the bank says so", *more)


def test_the_commands_of_the_page_do_what_it_says(cli: Cli, held: int, tmp_path: Path) -> None:
    """A payment of unknown outcome is not made again until a person says that it did not run."""
    assert pay(tmp_path) == "denied.effect"
    why = cli("why", "last")
    assert f"guardrail resolve {held} not-run" in " ".join(why.out.split())
    done = resolve(cli, held, "not-run")
    assert done.code == Exit.YES, done.err
    assert "RESOLVED  pay: it did not run; its effect key is free" in done.out
    assert "not verified" in done.err
    assert pay(tmp_path) == ""
    assert pay(tmp_path) == "denied.effect"
    (record,) = records(tmp_path / "audit.db", "admin.resolved")
    detail = record["detail"]
    assert (detail["decision"], detail["ran"], detail["outcome"]) == (held, False, "unknown")
    assert record["actor"]["assurance"] == "asserted"
    assert "admin.resolved" in cli("show", str(record["seq"])).out
    whole(tmp_path / "audit.db")


def test_a_confirmed_call_keeps_its_key(cli: Cli, held: int, tmp_path: Path) -> None:
    """And a person can still correct it."""
    done = resolve(cli, held, "ran", "--json")
    assert json.loads(done.out)["ran"] is True
    assert pay(tmp_path) == "denied.effect"
    assert resolve(cli, held, "not-run").code == Exit.YES
    assert pay(tmp_path) == ""
    again = resolve(cli, held, "not-run")
    assert again.code == Exit.UNKNOWN
    assert "does not hold its effect key any longer" in again.err


def test_only_people_who_could_approve_may_resolve(
    cli: Cli, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an unverified person without the setting, and never the requester."""
    monkeypatch.setattr("guardrail.approvals.service.user_name", lambda: "Alice")
    with guarded(tmp_path) as guard, guard.session(principal="alice", agent="bot"):
        guard.declare("pay", schema=PAYMENT, effect_key=["/invoice"])
        guard.call("pay", {"invoice": 6}, Body())
    own = records(tmp_path / "audit.db", "call.decision")[-1]["seq"]
    refused = resolve(cli, own, "not-run")
    assert refused.code == Exit.NO
    assert "NOT RESOLVED" in refused.out
    code = json.loads(resolve(cli, own, "not-run", "--json").out)["code"]
    assert code == "approver_is_requester"
    (tmp_path / "guardrail.toml").write_text("")
    monkeypatch.setattr("guardrail.approvals.service.user_name", lambda: "bob")
    code = json.loads(resolve(cli, held, "not-run", "--json").out)["code"]
    assert code == "asserted"
    assert records(tmp_path / "audit.db", "admin.resolved") == []


def test_a_call_that_may_still_run_is_not_resolved(cli: Cli, held: int, tmp_path: Path) -> None:
    """Nor a record that took no key."""
    with guarded(tmp_path) as guard:
        guard.declare("pay", schema=PAYMENT, effect_key=["/invoice"])
        admitted = guard.admit("pay", {"invoice": 9})
        seq = records(tmp_path / "audit.db", "call.decision")[-1]["seq"]
        running = resolve(cli, seq, "not-run")
        admitted.settle()
    assert running.code == Exit.UNKNOWN
    assert "no outcome yet" in running.err
    for other in (held - 1, 9_999):
        assert resolve(cli, other, "ran").code == Exit.UNKNOWN
