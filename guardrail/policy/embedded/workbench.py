"""A worker, used by one thread, that parses, loads and evaluates unchecked policies within a time
limit.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from guardrail.errors import PolicyError
from guardrail.policy.embedded.process import Frame, FrameError, WorkerProcess, frame

__all__ = ["DEFAULT_MEMORY", "UNDEFINED", "EngineRefusal", "Undefined", "Workbench"]

DEFAULT_MEMORY = 1 << 29
_MAX_ANSWER = 1 << 28


class Undefined:
    """The type of ``UNDEFINED``, which is returned for a rule that is undefined. It differs from
    null and false.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


class EngineRefusal(Exception):
    """The engine reported an error.

    ``text`` is the engine's message, which can quote the policy. Show it only to authors, and never
    record it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Workbench:
    """A worker process that serves one request at a time.

    A request that kills the process or takes too long affects no other request.
    """

    def __init__(self, *, time_limit: float = 10.0, memory: int = DEFAULT_MEMORY) -> None:
        """*time_limit* is the limit for each request, in seconds; *memory* is the limit for the
        process, in bytes.
        """
        self._time_limit = time_limit
        self._memory = memory
        self._worker: WorkerProcess | None = None
        self._scratch: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the process. Idempotent."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def parse(self, name: str, text: str) -> dict[str, Any]:
        """Return the syntax tree of one module.

        Raises ``EngineRefusal`` if it is not valid Rego, and ``PolicyError`` if the parser hangs or
        crashes.
        """
        answer = self._ask(b"P", {"name": name, "text": text})
        tree: dict[str, Any] = json.loads(answer.body)[0]["ast"]
        return tree

    def load(
        self, modules: Sequence[tuple[str, str]], data: str | None, *, observe: bool = False
    ) -> None:
        """Load *modules* (name, text) and *data* (JSON) for subsequent queries.

        If *observe* is True, the modules can call ``guardrail_observe(text)``, and ``observed``
        returns these strings.
        """
        self._scratch = _encode(
            {"modules": [list(module) for module in modules], "data": data, "observe": observe}
        )
        self._send(b"S", self._scratch)

    def observed(self) -> list[str]:
        """Return the distinct strings that policies have passed to ``guardrail_observe`` since the
        last call of this method. Raises ``PolicyError``.
        """
        if self._worker is None:
            # The second engine died with the process; the next query loads the modules again.
            return []
        kept: list[str] = json.loads(self._send(b"W", b"").body)
        return kept

    def rule(self, path: str, policy_input: str | None = None) -> object:
        """Return the value of the rule at *path*, or ``UNDEFINED``. Raises ``EngineRefusal`` or
        ``PolicyError``.
        """
        answer = self._ask_loaded({"rule": path, "input": policy_input})
        return UNDEFINED if answer.kind == b"u" else json.loads(answer.body)

    def query(self, text: str, policy_input: str | None = None) -> dict[str, Any]:
        """Return the engine's complete result for a query. Raises ``EngineRefusal`` or
        ``PolicyError``.
        """
        answer: dict[str, Any] = json.loads(
            self._ask_loaded({"query": text, "input": policy_input}).body
        )
        return answer

    def _ask_loaded(self, question: dict[str, object]) -> Frame:
        if self._worker is None and self._scratch is not None:
            self._send(b"S", self._scratch)
        return self._ask(b"Q", question)

    def _ask(self, kind: bytes, body: dict[str, object]) -> Frame:
        return self._send(kind, _encode(body))

    def _send(self, kind: bytes, body: bytes) -> Frame:
        if self._worker is None:
            self._worker = WorkerProcess(memory=self._memory)
        worker = self._worker
        rid = os.urandom(16)
        worker.write(frame(rid, kind, body))
        answer = self._wait_for_answer(worker, time.monotonic() + self._time_limit)
        if answer.rid != rid:
            self.close()
            raise PolicyError(
                "the policy worker answered a different request", cause="crashed", detail="wrong_id"
            )
        if answer.kind == b"e":
            raise EngineRefusal(str(json.loads(answer.body).get("error", "")))
        if answer.kind == b"b":
            raise PolicyError(
                "the policy engine's answer is too large",
                cause="malformed",
                detail="too_large",
            )
        return answer

    def _wait_for_answer(self, worker: WorkerProcess, deadline: float) -> Frame:
        poll = select.poll()
        while True:
            poll.register(worker.reader, select.POLLIN)
            poll.register(worker.writer, select.POLLOUT if worker.pending else 0)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self.close()
                raise PolicyError(
                    "the policy engine did not finish in time", cause="timeout", detail="eval_limit"
                )
            poll.poll(remaining * 1000)
            if worker.pending:
                worker.flush()
            try:
                alive = worker.read()
                for answer in worker.frames(_MAX_ANSWER):
                    return answer
            except FrameError:
                alive = False
            if not alive:
                self._worker = None
                death = worker.reap(1.0)
                raise PolicyError("the policy worker died", cause=death.cause, detail=death.detail)


def _encode(body: dict[str, object]) -> bytes:
    return json.dumps(body).encode("ascii")
