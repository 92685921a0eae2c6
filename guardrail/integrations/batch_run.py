"""Runs the tool calls of one model response concurrently: each call is decided, recorded, run and
answered.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from guardrail.call.bodies import is_async
from guardrail.errors import ApprovalRequired, Denied, LedgerError, UsageError
from guardrail.integrations.model_calls import CallBatch, ContentParts, Registered
from guardrail.model_apis.calls import AskedCall, ToolAnswer
from guardrail.model_apis.denials import error_text, recorded_tool, refusal_text
from guardrail.tools.results import result_text
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard

__all__ = ["BatchRun"]

_THREADS = 64
"""Maximum number of calls from one response that run in threads at the same time."""
_SHOWN = 64
"""Maximum number of characters of an unknown tool's name in a message to the model."""


class BatchRun:
    """Runs the calls in one response."""

    def __init__(
        self,
        guard: Guard,
        batch: CallBatch,
        *,
        adapter: str,
        session: SessionScope | None,
        wait_for_approval: float | None,
        replayed: bool,
    ) -> None:
        self._guard = guard
        self._decided: dict[str, Any] = {
            "wait_for_approval": wait_for_approval,
            "replayed": replayed,
        }
        self._shared: dict[str, Any] = {
            "adapter": adapter,
            "context": batch.context,
            "session": session,
        }

    def run_all(self, pairs: Sequence[tuple[AskedCall, Registered | None]]) -> list[Any]:
        """Run each call, in its own thread if there are several. Return the answers in order.

        If a call raises ``LedgerError``, the error is raised again after every call has ended.
        """
        for _, entry in pairs:
            if entry is not None and is_async(entry.body):
                raise UsageError(
                    f"{entry.tool.name} is a coroutine function", code="usage.run", hint="use arun"
                )
        if len(pairs) == 1:
            return [self._run(*pairs[0])]
        if not pairs:
            return []
        pool = ThreadPoolExecutor(min(len(pairs), _THREADS), "guardrail-tool")
        try:
            futures = [
                pool.submit(contextvars.copy_context().run, self._run, call, entry)
                for call, entry in pairs
            ]
            wait(futures)
        finally:
            # If the wait is interrupted, queued calls never start. Running calls still record their
            # outcomes.
            pool.shutdown(cancel_futures=True)
        _raise_first([future.exception() for future in futures])
        return [future.result() for future in futures]

    async def arun_all(self, pairs: Sequence[tuple[AskedCall, Registered | None]]) -> list[Any]:
        """Run each call as a task, and return the answers in order. If the caller is cancelled,
        every task is cancelled too, and this method returns only after all outcomes are recorded.
        """
        if len(pairs) == 1:
            return [await self._arun(*pairs[0])]
        ended = await asyncio.gather(*(self._arun(*pair) for pair in pairs), return_exceptions=True)
        _raise_first(ended)
        return ended

    def _run(self, call: AskedCall, entry: Registered | None) -> Any:
        try:
            if entry is None:
                self._guard.reject(*_rejected(call), call_id=call.id, **self._shared)
                answer = _not_run(call)
            else:
                result = self._guard.call(
                    entry.tool,
                    call.arguments,
                    entry.body,
                    call_id=call.id,
                    **self._decided,
                    **self._shared,
                )
                answer = _result_answer(entry.tool, result)
        except BaseException as error:  # noqa: BLE001 - raised on, unless a model can read it
            answer = _error_answer(error)
        return None if call.answer is None else call.answer(answer)

    async def _arun(self, call: AskedCall, entry: Registered | None) -> Any:
        try:
            if entry is None:
                await self._guard.areject(*_rejected(call), call_id=call.id, **self._shared)
                answer = _not_run(call)
            else:
                result = await self._guard.acall(
                    entry.tool,
                    call.arguments,
                    entry.body,
                    call_id=call.id,
                    **self._decided,
                    **self._shared,
                )
                answer = _result_answer(entry.tool, result)
        except BaseException as error:  # noqa: BLE001 - raised on, unless a model can read it
            answer = _error_answer(error)
        return None if call.answer is None else call.answer(answer)


def _rejected(call: AskedCall) -> tuple[Tool, str]:
    """Return the tool and the reason for a call that is recorded as rejected."""
    assert call.refusal is not None
    return recorded_tool(call.name, call.server), call.refusal.reason


def _not_run(call: AskedCall) -> ToolAnswer:
    assert call.refusal is not None
    name = call.name[:_SHOWN] if isinstance(call.name, str) else "a tool"
    return _failure(f"not run: {name}: {call.refusal.text}")


def _result_answer(tool: Tool, result: object) -> ToolAnswer:
    if isinstance(result, ContentParts):
        return ToolAnswer(list(result), failed=False)
    try:
        return ToolAnswer(result_text(result), failed=False)
    except UsageError as error:
        return _failure(f"{tool.name} ran, but {error}")


def _error_answer(error: BaseException) -> ToolAnswer:
    """Return *error* as a result for the model, or raise *error* if it is meant for the program."""
    if isinstance(error, Denied | ApprovalRequired):
        return _failure(refusal_text(error))
    if isinstance(error, BaseExceptionGroup):
        # A task group in a body wraps the exceptions of its calls in an exception group.
        error = _first_of(error, LedgerError) or error
    if isinstance(error, LedgerError | UsageError) or not isinstance(error, Exception):
        raise error
    return _failure(error_text(error))


def _failure(text: str) -> ToolAnswer:
    # Text from a model, a provider or a body may contain lone surrogates, which a request can't
    # contain.
    return ToolAnswer(result_text(text), failed=True)


def _first_of(group: BaseExceptionGroup[Any], kind: type[BaseException]) -> BaseException | None:
    """Return the first exception of *kind* in *group*, or None."""
    found: Any = group.subgroup(kind)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found  # type: ignore[no-any-return]


def _raise_first(ended: Sequence[object]) -> None:
    """Raise the first ``LedgerError`` that a call raised, otherwise the first exception, if there
    is any.
    """
    problems = [each for each in ended if isinstance(each, BaseException)]
    for problem in (*(each for each in problems if isinstance(each, LedgerError)), *problems):
        raise problem
