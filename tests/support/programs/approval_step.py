"""A process that takes one step of an approval: ``approval_step.py FOLDER WHAT POINT WORD...``, or
``main`` with these arguments.

WHAT is ``ask``, ``approve ID NAME``, ``refuse ID NAME`` or ``use ID``. With a POINT other than
``-`` it kills itself there. What came of it goes to standard output as one JSON line; with ``go``
as the last word it first says ``ready`` and waits for a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail.approvals.rules import Approver
from guardrail.errors import ApprovalRequired, Denied
from guardrail.ledger.sqlite.appending import Store
from tests.support.approvals import Asks, guarded

written = {"type": ""}
asked = {"point": "-"}


def die(point: str) -> None:
    if point == asked["point"]:
        os.kill(os.getpid(), signal.SIGKILL)


def hook() -> None:
    """Make the commits of decisions and answers into points."""
    add, commit = Store.add, Store.commit

    def noted(self: Store, draft: Any, tail: Any) -> Any:
        written["type"] = draft.type
        return add(self, draft, tail)

    def committed(self: Store) -> None:
        kind = written["type"].split(".")[-1]
        die(f"before:{kind}")
        commit(self)
        die(f"after:{kind}")

    Store.add, Store.commit = noted, committed  # type: ignore[method-assign]


def outcome(step: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"done": step()}
    except ApprovalRequired as required:
        return {"approval": required.approval}
    except Denied as denial:
        return {"denied": denial.code}


def main(arguments: list[str]) -> None:
    place, what, asked["point"], *words = arguments
    folder = Path(place)
    approvers = int(os.environ.get("APPROVERS", "1"))

    def body(**_: Any) -> str:
        die("in:body")
        with (folder / "bodies").open("a") as bodies:
            bodies.write("x")
        return "paid"

    with guarded(folder, Asks(approvers=approvers)) as guard:
        if words and words[-1] == "go":
            print("ready", flush=True)
            sys.stdin.readline()
        hook()

        def call(approval: str | None) -> Any:
            with guard.session(principal="alice", agent="bot", id="s-1"):
                return guard.call("pay", {"amount": 5}, body, approval=approval)

        def answer(say: Callable[..., Any]) -> Any:
            rejected = say(words[0], Approver(words[1]), "because").rejected
            return "answered" if rejected is None else str(rejected)

        steps: dict[str, Callable[[], Any]] = {
            "ask": lambda: call(None),
            "use": lambda: call(words[0]),
            "approve": lambda: answer(guard.approvals.approve),
            "refuse": lambda: answer(guard.approvals.refuse),
        }
        print(json.dumps(outcome(steps[what])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
