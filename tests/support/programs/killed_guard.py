"""A process that kills itself at a named point of a governed call. Its arguments are ``FOLDER POINT
call|acall|admit [soon]``; tests/support/forked.py runs it.

One call is made and acknowledged first. Then the point is armed and another call made. A point is
``before:STEP`` or ``after:STEP`` of the numbered steps in guardrail/call/.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import guardrail.call.decision_record
import guardrail.call.settling
import guardrail.call.steps
import guardrail.ledger.writing.work
import guardrail.tools.tool
from guardrail import Guard
from guardrail.core.redaction.redactor import Redactor
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring.opening import open_journal
from tests.support import guards

armed = ""
"""The point that was asked for, once the first call has been made."""


def die(point: str) -> None:
    """End this process at once, where *point* is the one that was asked for."""
    if point == armed:
        os.kill(os.getpid(), signal.SIGKILL)


def hook(owner: Any, name: str, step: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Make ``before:step`` and ``after:step`` of a function into points."""
    real = getattr(owner, name)

    def hooked(*args: Any, **kwargs: Any) -> Any:
        wanted = when(*args)
        if wanted:
            die(f"before:{step}")
        result = real(*args, **kwargs)
        if wanted:
            die(f"after:{step}")
        return result

    setattr(owner, name, hooked)


class Policy(StaticPolicy):
    """Step (5) from both sides: asked, and answered."""

    def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Any:
        die("before:ask")
        future = super().decide(policy_input, shard=shard, deadline=deadline)
        die("after:ask")
        return future


def writes(type_: str) -> Callable[..., bool]:
    return lambda _, draft, *__: draft.type == type_


committed = {"type": ""}


def note_type(_: Any, draft: Any, *__: Any) -> bool:
    committed["type"] = draft.type
    return True


def main(arguments: list[str]) -> None:
    global armed
    folder, wanted, how = Path(arguments[0]), *arguments[1:3]
    hook(guardrail.call.steps.CallSteps, "request", "begin")  # (1)
    hook(guardrail.tools.tool, "take_json", "snapshot")  # (2)
    hook(Redactor, "inspect", "classify")  # (3)
    hook(guardrail.call.decision_record.Recorder, "policy_input", "input")  # (4)
    hook(guardrail.call.steps.decisions, "parse", "parse")  # (6)
    hook(LedgerWriter, "submit", "submit-decision", writes("call.decision"))  # (7), queued
    hook(Store, "add", "insert-decision", writes("call.decision"))  # (7), in the transaction
    hook(Store, "add", "insert-outcome", writes("call.outcome"))  # (9), in the transaction
    hook(Store, "add", "any", note_type)
    hook(Store, "commit", "commit-decision", lambda *_: committed["type"] == "call.decision")
    hook(Store, "commit", "commit-outcome", lambda *_: committed["type"] == "call.outcome")
    hook(guardrail.call.steps, "Admitted", "admitted")  # (7) is durable
    hook(guardrail.call.settling, "build_outcome", "settle")  # (9), before it is queued
    chosen = guards.settings(folder)
    if "soon" in arguments[3:]:
        chosen = chosen.override(ledger={"outcome": "soon"})
        guardrail.ledger.writing.work.LONGEST_DELAY = 3600.0  # the point comes first
    journal, keys = open_journal(chosen, epochs=True)
    guard = Guard(settings=chosen, engine=Policy(allow()), journal=journal, keys=keys)
    guard.declare("send", schema=guards.OPEN)

    def body(**_: Any) -> str:
        (folder / "bodies").open("a").write("x")
        die("in:body")
        return "done"

    async def abody(**_: Any) -> str:
        return body()

    def call() -> None:
        if how == "call":
            guard.call("send", {"a": 1}, body)
        elif how == "acall":
            asyncio.run(guard.acall("send", {"a": 1}, abody))
        else:
            admission = guard.admit("send", {"a": 1})
            body()
            admission.settle()
        die("after:release")

    call()
    armed = wanted
    call()
    print("survived", flush=True)
