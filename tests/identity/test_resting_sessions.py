"""A session that was not used for a long time takes little memory, and is the same session."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import threading
from typing import Any

import pytest

from guardrail.core.redaction.session_memory import LOCK
from guardrail.core.types import Principal
from guardrail.identity.session import MOST_AWAKE
from guardrail.testing import StaticPolicy, allow, memory_guard

OPEN = {"type": "object", "additionalProperties": True}
VALUE = "kT7-zQ29-vv31-LpX"
_VARYING = {"call", "seq", "decision_seq", "ts", "time", "prev", "ms", "commitment"}
_MARK = re.compile(r"gr1:secret:-:[a-z2-7]{24}")


def fixed(value: Any) -> Any:
    """Return a part of a record without what differs in each."""
    if isinstance(value, dict):
        return {name: fixed(each) for name, each in value.items() if name not in _VARYING}
    if isinstance(value, list):
        return [fixed(each) for each in value]
    return _MARK.sub("mark", value) if isinstance(value, str) else value


def test_records_of_a_session_are_the_same_after_it_rested() -> None:
    """Whoever the program described, and whatever was learned about it before."""
    alice = Principal("alice", roles=("clerk",), attributes={"unit": VALUE, "desk": "north"})
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("read", schema=OPEN)
    scope = guard.session(alice, "bot", attributes={"password": "hunter2-Qx9"}, delegation=[])
    guard.call("read", {"password": VALUE}, lambda **_: None, session=scope)
    guard.call("read", {"note": f"so {VALUE}"}, lambda **_: None, session=scope)
    awake = [fixed(record) for record in ledger.records[-2:]]
    scope.state.free_cache()
    assert scope.state.memory.knows(VALUE) == "secret"
    guard.call("read", {"note": f"so {VALUE}"}, lambda **_: None, session=scope)
    rested = [fixed(record) for record in ledger.records[-2:]]
    assert VALUE not in str(ledger.records[-4:])
    assert rested == awake
    assert "north" in str(rested)


def test_no_call_gets_the_recorded_attributes_that_a_slower_call_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value that the session has learned stays hidden, even if another call of the session that
    began before then ends later, or the session rests.
    """
    guard, _ = memory_guard(StaticPolicy(allow()))
    state = guard.session(Principal("alice", attributes={"unit": VALUE}), "bot").state
    state.memory.remember("Tr0ub4dor-9x-EVE", "contact")
    hide = state.redactor.value
    faster: list[str] = []

    def slow(value: Any, memory: Any, **options: Any) -> Any:
        view = hide(value, memory, **options)
        if memory is state.memory and state.memory.added == 1:
            state.memory.remember(VALUE, "secret")  # as another call in the session does
            faster.append(str(state.recorded().subject))
        return view

    monkeypatch.setattr(
        type(state.redactor), "value", lambda _, *each, **options: slow(*each, **options)
    )
    # The slower call began before the value was known.
    assert VALUE in str(state.recorded().subject)
    assert VALUE not in faster[0]
    assert VALUE not in str(state.recorded().subject)
    state.free_cache()
    assert VALUE not in str(state.recorded().subject)


def test_texts_that_were_recorded_before_show_nothing_that_was_learned_since() -> None:
    """Plain texts, JSON in texts, and texts that never had a value."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    state = guard.session("alice", "bot").state
    texts = [f"about {VALUE}", json.dumps({"about": VALUE}), "about nothing", "x" * 5_000]
    assert [state.text(text) for text in texts] == texts
    state.memory.remember("another-Pq7-value-81", "contact")
    assert [state.text(text) for text in texts] == texts
    state.memory.remember(VALUE, "contact")
    shown = [state.text(text) for text in texts]
    assert VALUE not in str(shown)
    assert shown[2:] == texts[2:]
    assert [state.text(text) for text in texts] == shown
    assert [state.text(f"text {number}") for number in range(600)][-1] == "text 599"
    assert len(state.texts) == 512


def test_a_call_can_be_settled_after_its_session_rested() -> None:
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session("alice", "bot")
    admission = guard.admit("read", {"a": 1}, session=scope)
    scope.state.free_cache()
    admission.settle()
    decision, outcome = ledger.records[-2:]
    for name in ("session", "principal", "agent", "tenant", "origin"):
        assert decision[name] == outcome[name]


def test_sessions_that_are_not_used_take_little_memory() -> None:
    """Only the newest are ready for a call."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    scopes = [guard.session("alice", "bot") for _ in range(MOST_AWAKE + 20)]
    resting = [scope for scope in scopes if scope.state.is_cache_empty]
    assert resting == scopes[:20]
    guard.call("read", {}, lambda: None, session=scopes[0])
    assert not scopes[0].state.is_cache_empty
    assert scopes[20].state.is_cache_empty
    other = {id(each) for each in _reachable(scopes[2])}
    own = [each for each in _reachable(scopes[3]) if id(each) not in other]
    assert sum(map(sys.getsizeof, own)) < 1_500


def _reachable(scope: Any) -> list[object]:
    state = scope.state
    found: dict[int, object] = {id(state): state}
    waiting = [state.session, state.memory, state.claim]
    while waiting:
        each = waiting.pop()
        if id(each) not in found and not isinstance(each, type) and not callable(each):
            found[id(each)] = each
            waiting.extend(gc.get_referents(each))
    return list(found.values())


def test_a_child_forked_while_a_session_learns_of_a_value_can_use_the_session() -> None:
    """The fork waits until the change is complete. The child has neither the thread that made it
    nor a lock that nobody would release.
    """
    guard, _ = memory_guard(StaticPolicy(allow()))
    state = guard.session("alice", "bot").state
    changing, complete = threading.Event(), threading.Event()

    def learn() -> None:
        with LOCK:  # as every change of a memory does
            changing.set()
            complete.wait(10)

    thread = threading.Thread(target=learn)
    thread.start()
    changing.wait(10)
    threading.Timer(0.05, complete.set).start()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        state.memory.remember(VALUE, "secret")
        os._exit(0 if state.memory.knows(VALUE) == "secret" else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
