"""The acts of the demo. Each act checks that its text matches the records."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from guardrail.cli.app import Exit
from guardrail.config import DEFAULT_LEDGER
from guardrail.demo import telling
from guardrail.demo.shop import governed_tools, open_guard
from guardrail.guard import Guard
from guardrail.ledger.reader import LedgerReader
from guardrail.review.records import RecordedCall
from guardrail.review.sessions import last_call, with_outcome

__all__ = ["Story", "UnexpectedError"]

SESSION = "demo"
_AMOUNT = 40.0
_TOKEN = "ghp_" + "Zk3u" * 9
"""A string that looks like a live token but is not. It is assembled at run time, so that secret
scanners do not report it.
"""

_EDIT = (b'"amount":40.0', b'"amount":90.0')


class UnexpectedError(Exception):
    """The demo did not go as described, because of a bug in guardrail or in the demo."""


class Story:
    """One run of the demo in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / DEFAULT_LEDGER
        self._calls = 0

    def run(self) -> None:
        """Run every act. Raises ``UnexpectedError`` if any act does not go as described."""
        self._opening()
        guard = open_guard(self.folder)
        try:
            with guard.session(principal="mia@example.com", agent="support-bot", id=SESSION):
                self._calls_of_the_agent(governed_tools(guard, self.folder))
        finally:
            guard.close()
        self._show_killed_call()
        self._show_review()
        self._show_tampering()

    # -- acts --------------------------------------------------------------------------------------

    def _opening(self) -> None:
        telling.say(
            "A support agent answers a customer of a small shop. A script plays the model; the "
            "tools (LangChain), the policy (Rego) and the ledger (SQLite) are real. The policy, in "
            "words:"
        )
        telling.item("read-only calls are allowed, and orders may be shipped")
        telling.item("refunds are allowed up to 100; above that, a person must approve")
        telling.item("mail goes to customers only")
        telling.item("everything else is denied")

    def _calls_of_the_agent(self, tools: Mapping[str, BaseTool]) -> None:
        telling.heading("1. Allowed: decided, recorded, run, and its outcome recorded")
        self._call(tools, "lookup_order", {"order_id": "A-1042"}, "allow", "ok")
        self._call(tools, "refund", {"order_id": "A-1042", "amount": _AMOUNT}, "allow", "ok")
        telling.heading("2. Needs approval: a person must look first, so it did not run")
        self._call(
            tools, "refund", {"order_id": "A-1043", "amount": 412.0}, "require_approval", None
        )
        telling.heading("3. Denied: the agent reads why, and continues")
        mail = {
            "to": "eve@example.net",
            "subject": "Customers",
            "body": "All of them, as you asked.",
        }
        self._call(tools, "send_email", mail, "deny", None)
        telling.heading("4. Redacted: the customer gets the token, the ledger never does")
        mail = {
            "to": "mia@example.com",
            "subject": "Your new token",
            "body": f"Here it is: {_TOKEN}",
        }
        call = self._call(tools, "send_email", mail, "allow", "ok")
        self._compare(call)
        telling.heading("5. Failing: the error is the outcome, and the agent gets it")
        self._call(tools, "track_parcel", {"order_id": "A-1042"}, "allow", "error")

    def _call(
        self,
        tools: Mapping[str, BaseTool],
        name: str,
        args: Mapping[str, Any],
        effect: str,
        status: str | None,
    ) -> RecordedCall:
        self._calls += 1
        telling.called(name, args)
        message = {
            "type": "tool_call",
            "id": f"call-{self._calls}",
            "name": name,
            "args": dict(args),
        }
        try:
            answer = tools[name].invoke(message)
        except ConnectionError as error:
            answer = f"{type(error).__name__}: {error}"
        call = self._recorded()
        ended = None if call.outcome is None else call.outcome.status
        if (call.tool, call.effect, ended) != (name, effect, status):
            raise UnexpectedError(f"{name}: {call.effect}, {ended}")
        telling.recorded(call)
        telling.said(str(answer.content if isinstance(answer, ToolMessage) else answer))
        return call

    def _compare(self, call: RecordedCall) -> None:
        sent = (self.folder / "outbox" / "1.txt").read_text(encoding="utf-8")
        body = str(call.args.get("body", "")) if isinstance(call.args, dict) else ""
        telling.fact("sent", sent.splitlines()[-1])
        telling.fact("recorded", body)
        written = b"".join(
            path.read_bytes() for path in self.ledger.parent.rglob("*") if path.is_file()
        )
        if _TOKEN not in sent or _TOKEN.encode() in written or not body:
            raise UnexpectedError("the token")
        telling.fact("checked", "the token is nowhere in the ledger's files")

    def _show_killed_call(self) -> None:
        telling.heading("6. Killed: the process dies while the tool runs")
        telling.called("ship_order", {"order_id": "A-1042"})
        command = [sys.executable, "-m", "guardrail.demo.crash", str(self.folder), SESSION]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        call = self._recorded()
        if done.returncode != -signal.SIGKILL or call.tool != "ship_order" or not call.open:
            raise UnexpectedError(f"ship_order: exit code {done.returncode}")
        telling.recorded(call)
        telling.say(
            "The process was killed (SIGKILL) during the call: the decision is on disk, the "
            "outcome is not. The next process that opens the ledger records this, because it can't "
            "know how far the tool got:"
        )
        guard: Guard = open_guard(self.folder)
        guard.close()
        call = self._recorded()
        if call.outcome is None or call.outcome.status != "unknown":
            raise UnexpectedError("ship_order: no outcome")
        telling.recorded(call)

    def _show_review(self) -> None:
        telling.heading("7. The session, as a reviewer sees it")
        self._command(Exit.YES, "show", SESSION, "--ledger", str(DEFAULT_LEDGER))
        telling.heading("8. What can be proved")
        self._command(Exit.RESERVED, "verify", "--ledger", str(DEFAULT_LEDGER))
        telling.say(
            "Every record is linked to the previous record. Not anchored: without an external "
            "checkpoint, nobody can tell whether the end has been truncated or the whole ledger "
            "rewritten, so the result is not a plain yes."
        )

    def _show_tampering(self) -> None:
        telling.heading("9. One byte edited, in a copy")
        copies = [
            shutil.copy(path, self.folder / path.name.replace("ledger", "edited"))
            for path in self._files()
        ]
        edited = Path(copies[0])
        content = edited.read_bytes()
        before, after = _EDIT
        if content.count(before) != 1:
            raise UnexpectedError("the amount of the refund")
        edited.write_bytes(content.replace(before, after))
        telling.say(f"The refund of {_AMOUNT:.0f} now reads {after.decode()} in edited.db.")
        self._command(Exit.NO, "verify", "--ledger", "edited.db")

    # -- helpers

    def _files(self) -> Sequence[Path]:
        return [path for path in (self.ledger, Path(f"{self.ledger}-wal")) if path.exists()]

    def _recorded(self) -> RecordedCall:
        with LedgerReader.open(self.ledger) as reader:
            return with_outcome(reader, last_call(reader).seq)

    def _command(self, expected: Exit, *args: str) -> None:
        code = telling.guardrail(*args, folder=self.folder)
        if code != expected:
            raise UnexpectedError(f"guardrail {args[0]}: exit code {code}")
