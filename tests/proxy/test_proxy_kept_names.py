"""Others choose the ids that the proxy keeps for later requests, so their size is bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from guardrail.core.types import Principal
from guardrail.model_apis.calls import AskedCall
from guardrail.model_apis.openai.history import RefusedItems
from guardrail.model_apis.openai.mcp_approvals import AdmittedApprovals
from guardrail.proxy.callers import RequestIdentity
from guardrail.proxy.sessions import CallerSessions, ProxyCaller
from tests.support.adapters import Bench

OWNER = ("", "alice", "")
LONG = 2**20


def named(number: int) -> str:
    """Return a long id. It is made anew each time, so only what is kept takes memory."""
    return f"{'a' * LONG}{number}"


@contextmanager
def memory_below(size: int) -> Iterator[None]:
    """Check that the block keeps fewer than *size* bytes."""
    tracemalloc.start()
    try:
        yield
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < size


async def test_sessions_are_found_by_long_ids_that_are_not_kept(bench: Bench) -> None:
    sessions = CallerSessions(bench.guard)
    caller = ProxyCaller(RequestIdentity(Principal("alice")), "credential")
    made = sessions.new(caller)
    with memory_below(LONG):
        for number in range(10):
            sessions.note(caller, [named(number)], made)
    assert await sessions.continued(caller, [named(9)]) is made
    assert await sessions.continued(caller, [named(10)]) is None


def test_approvals_are_found_by_long_ids_that_are_not_kept() -> None:
    approvals = AdmittedApprovals()
    with memory_below(LONG):
        for number in range(10):
            call = AskedCall("pay", "{}", named(number), None, approvable=True)
            approvals.add(OWNER, "s", None, call, named(-number))
        del call
    for number, used in ((9, True), (9, False), (10, False)):
        answer = {"type": "mcp_approval_response", "approval_request_id": named(number)}
        body = {
            "previous_response_id": named(-number),
            "input": [{**answer, "approve": True}],
        }
        assert (approvals.use(OWNER, "s", body) is None) is used


def test_the_refused_calls_that_are_kept_are_bounded_together() -> None:
    """The oldest are forgotten first, also if the same call is refused again and again."""
    kept = RefusedItems()
    for number in (0, *[1] * 70, *range(2, 70)):
        item = {"type": "function_call", "call_id": str(number), "arguments": "x" * LONG}
        kept.add(OWNER, item, "no", frozenset({"r"}))
        if number == 1:
            assert len(restored(kept)) == 2
    assert restored(kept) == [str(number) for number in range(7, 70)]


def restored(kept: RefusedItems) -> list[str]:
    sent = kept.restored(OWNER, {"previous_response_id": "r", "input": []})
    return [each["call_id"] for each in sent["input"]]
