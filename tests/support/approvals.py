"""Shared by the tests of approvals: a policy that asks for people, guards over it, and people who
answer.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.approvals.rules import Approver
from guardrail.config import Settings
from guardrail.core.log.record import decode, dumps, leaf_hash
from guardrail.core.types import Effect
from guardrail.errors import ApprovalRequired
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.testing import MemoryLedger, StaticPolicy, document, memory_guard
from guardrail.wiring.opening import open_journal

SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer"},
        "to": {"type": "string"},
        "card": {"type": "string", "writeOnly": True},
    },
    "additionalProperties": True,
}
BOB, CAROL = Approver("bob"), Approver("carol")
UNSAFE = {"approvals": {"unsafe_asserted_approvals": True}}


def rule(
    name: str, effect: Effect, needs: tuple[str, ...] = (), approvers: int = 1
) -> dict[str, Any]:
    """Return one rule of a reply."""
    return {
        "rule": name,
        "message": f"{name} says so",
        "severity": "info",
        "effect": str(effect),
        "needs": list(needs),
        "approvers": approvers,
    }


@dataclass
class Asks:
    """A policy that asks for people, as the shipped composition does: an approval that covers every
    rule allows.
    """

    needs: tuple[str, ...] = ()
    approvers: int = 1
    rules: tuple[str, ...] = ("large",)
    denies: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(asked)
        if self.denies:
            return document(Effect.DENY, "forbidden")
        approval = asked["context"]["approval"] or {"valid": False, "rules": []}
        wanted = [
            rule(name, Effect.REQUIRE_APPROVAL, self.needs, self.approvers) for name in self.rules
        ]
        covered = approval["valid"] is True and set(self.rules) <= set(approval["rules"])
        effect = Effect.ALLOW if covered or not self.rules else Effect.REQUIRE_APPROVAL
        return document(effect, rules=[*wanted, rule("known", Effect.ALLOW)])


class Body:
    """A tool body that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, **_: Any) -> str:
        self.runs += 1
        return "paid"


@dataclass
class Bench:
    """A guard on a ledger in memory, whose clock is the test's."""

    guard: Guard
    ledger: MemoryLedger
    policy: Asks
    body: Body = field(default_factory=Body)

    def call(
        self,
        args: Mapping[str, Any] | None = None,
        *,
        tool: str = "pay",
        session: str = "s-1",
        principal: str = "alice",
        agent: str = "bot",
        **how: Any,
    ) -> Any:
        """Make a call in a session."""
        with self.guard.session(principal=principal, agent=agent, id=session):
            return self.guard.call(tool, args or {"amount": 5}, self.body, **how)

    def ask(self, args: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Make a call that a person must approve; return the approval's id."""
        try:
            self.call(args, **more)
        except ApprovalRequired as required:
            return required.approval
        raise AssertionError("nobody was asked")

    def later(self, **delta: float) -> None:
        """Let time pass."""
        self.ledger.now += timedelta(**delta)

    @property
    def last(self) -> dict[str, Any]:
        """The newest record."""
        return self.ledger.records[-1]


def bench(policy: Asks | None = None, **sections: Mapping[str, object]) -> Bench:
    """Return a guard in memory; approvals by people whom nobody verified count, unless *sections*
    say otherwise.
    """
    policy = policy or Asks()
    settings = Settings().override(**(UNSAFE | sections))
    guard, ledger = memory_guard(StaticPolicy(policy), settings=settings)
    guard.declare("pay", schema=SCHEMA)
    guard.declare("give", schema=SCHEMA)
    return Bench(guard, ledger, policy)


def settings_in(folder: Path, **sections: Mapping[str, object]) -> Settings:
    """Return settings with everything in *folder*."""
    base = Settings().override(
        ledger={"path": folder / "audit.db"}, policy={"path": [folder / "policies"]}, **UNSAFE
    )
    return base.override(**sections) if sections else base


@contextmanager
def guarded(
    folder: Path, policy: Callable[[dict[str, Any]], Any] | None = None, **sections: Any
) -> Iterator[Guard]:
    """Open a guard on a real ledger."""
    chosen = settings_in(folder, **sections)
    journal, keys = open_journal(chosen, epochs=True)
    engine = StaticPolicy(policy or Asks())
    guard = Guard(settings=chosen, engine=engine, journal=journal, keys=keys)
    guard.declare("pay", schema=SCHEMA)
    try:
        yield guard
    finally:
        guard.close()


def records(folder: Path, type_: str | None = None) -> list[dict[str, Any]]:
    """Return the records of the ledger in *folder*, after making sure that it is whole."""
    report = verify_ledger(folder / "audit.db")
    assert report.state is VerifyState.NOT_ANCHORED, report
    with LedgerReader.open(folder / "audit.db") as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record for record in found if type_ is None or record["type"] == type_]


def ask_for(guard: Guard, amount: int = 5) -> str:
    """Ask a person for a payment in session ``s-1``; return the approval's id."""
    try:
        attempt(guard, None, amount=amount)
    except ApprovalRequired as required:
        return required.approval
    raise AssertionError("nobody was asked")


def attempt(guard: Guard, approval: str | None, body: Any = None, *, amount: int = 5) -> Any:
    """Make the payment in session ``s-1``, with an approval."""
    with guard.session(principal="alice", agent="bot", id="s-1"):
        return guard.call("pay", {"amount": amount}, body or Body(), approval=approval)


def run(
    folder: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in *folder*, in this process."""
    import pytest  # not above: programs import this module

    from guardrail.cli.app import run as run_command

    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith("GUARDRAIL_")]:
            patch.delenv(name)
        for name, value in {"NO_COLOR": "1", **(env or {})}.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = int(run_command(list(words)))
    said = []
    for stream in (out, errors):
        stream.seek(0)
        said.append(stream.read())
    return subprocess.CompletedProcess(list(words), code, *said)


def granted(request: bytes, *, seq: int, ordinal: int = 0, who: str = "carol") -> bytes:
    """Return a grant of *request* that nobody gave, as a verified person would have given it."""
    asked = decode(request)
    return dumps(
        {
            "v": 1,
            "log": asked["log"],
            "type": "approval.granted",
            "tenant": asked["tenant"],
            "session": asked["session"],
            "approval": {"id": asked["call"], "ordinal": ordinal},
            "request": {"seq": asked["seq"], "leaf": leaf_hash(request).hex()},
            "approver": {"id": who, "assurance": "verified", "method": "oidc"},
            "origin": asked["origin"],
            "reason": "fine",
            "rules": ["large"],
            "expires": "2099-01-01T00:00:00.000000Z",
            "given": 1,
            "needed": 1,
            "unsafe_asserted": False,
            "seq": seq,
            "prev": "0" * 64,
            "ts": asked["ts"],
        }
    )
