"""A call that a person must approve is held while its client is told that its request is alive."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from guardrail.errors import LedgerError
from guardrail.proxy.limits import ProxyLimits
from tests.support.approvals import BOB, Asks, Bench
from tests.support.approvals import bench as approving_bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, WAYS, Way
from tests.support.proxies import RunningProxy, proxied
from tests.support.waiting import PATIENCE, until

LIVELY = ProxyLimits(keep_alive_s=0.05)
PAY = Turn(calls=[Call("pay", {"amount": 5}, "call_1")])
AGAIN = Turn(calls=[Call("pay", '{ "amount": 5 }', "call_2")])


@pytest.fixture
def asking() -> Bench:
    return approving_bench(Asks())


def requests_of(bench: Bench) -> list[str]:
    """Return the ids of the approvals that were asked for."""
    decisions = bench.ledger.of("call.decision")
    asked = [each for each in decisions if each["decision"]["effect"] == "require_approval"]
    return [each["call"] for each in asked]


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread while the block runs."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def approve_soon(bench: Bench) -> Callable[[], None]:
    """Return a function that approves the first request."""

    def work() -> None:
        until(lambda: requests_of(bench), "the request for an approval")
        threading.Event().wait(5 * LIVELY.keep_alive_s)
        bench.guard.approvals.approve(requests_of(bench)[0], BOB, "known")

    return work


CREATED = [
    way
    for way in WAYS
    if way.name
    in {
        "chat",
        "chat-stream",
        "achat",
        "achat-chunks",
        "responses",
        "responses-stream",
        "aresponses",
    }
]


@pytest.mark.parametrize("way", CREATED, ids=lambda way: way.name)
def test_a_call_that_is_approved_in_time_is_handed_over(asking: Bench, way: Way) -> None:
    """The official clients ignore the signs of life."""
    with (
        ModelServer([PAY]) as upstream,
        proxied(asking.guard, upstream.openai, limits=LIVELY, approval_wait_s=60) as proxy,
        meanwhile(approve_soon(asking)),
    ):
        seen = way.seen(proxy.openai(asynchronous=way.asynchronous))
    assert [name for name, *_ in seen.calls] == ["call_1"]
    assert not seen.refusals


@pytest.mark.parametrize(
    ("stream", "sign"), [(False, "  "), (True, ": waiting for a decision\n\n")]
)
def test_the_connection_shows_life_before_the_decision(
    asking: Bench, stream: bool, sign: str
) -> None:
    """Comments in a stream, and spaces before a JSON document."""
    asked = {**CHAT, "stream": stream}
    with (
        ModelServer([PAY]) as upstream,
        proxied(asking.guard, upstream.openai, limits=LIVELY, approval_wait_s=600) as proxy,
        httpx2.stream(
            "POST", f"{proxy.url}/v1/chat/completions", json=asked, timeout=PATIENCE
        ) as answer,
    ):
        text = ""
        for piece in answer.iter_text():
            text += piece
            if requests_of(asking) and sign * 2 in text and "granted" not in text:
                asking.guard.approvals.approve(requests_of(asking)[0], BOB, "known")
                text = "granted\n"
    assert '"tool_calls"' in text
    if not stream:
        json.loads(text.removeprefix("granted"))


def test_the_operator_is_told_once_that_a_call_waits(asking: Bench) -> None:
    """The client sees only that its answer is late."""
    told: list[str] = []
    with (
        ModelServer([PAY]) as upstream,
        proxied(
            asking.guard, upstream.openai, limits=LIVELY, approval_wait_s=600, notify=told.append
        ) as proxy,
        meanwhile(approve_soon(asking)),
    ):
        assert refusal_of(proxy) is None
    assert told == ["pay is waiting for approval (up to 600 s): guardrail approvals"]


def test_a_line_that_nobody_can_read_does_not_end_the_wait(asking: Bench) -> None:
    def fail(_: str) -> None:
        raise BrokenPipeError

    with (
        ModelServer([PAY]) as upstream,
        proxied(asking.guard, upstream.openai, approval_wait_s=600, notify=fail) as proxy,
        meanwhile(approve_soon(asking)),
    ):
        assert refusal_of(proxy) is None


def test_a_call_does_not_wait_if_the_settings_accept_no_approval() -> None:
    """A client would wait in vain."""
    bench = approving_bench(Asks(), approvals={"unsafe_asserted_approvals": False})
    told: list[str] = []
    with (
        ModelServer([PAY]) as upstream,
        proxied(bench.guard, upstream.openai, approval_wait_s=3600, notify=told.append) as proxy,
    ):
        assert "a person must approve this call" in refusal_of(proxy)
    assert told == []
    assert len(requests_of(bench)) == 1


def test_a_call_that_nobody_approves_is_refused_and_can_be_asked_again(asking: Bench) -> None:
    """An approval that comes later counts for the same call in the same session."""
    with (
        ModelServer([PAY, AGAIN, AGAIN, AGAIN]) as upstream,
        proxied(asking.guard, upstream.openai) as proxy,
    ):
        first, second = refusal_of(proxy), refusal_of(proxy)
        (request,) = requests_of(asking)
        asking.guard.approvals.approve(request, BOB, "known")
        assert refusal_of(proxy) is None
        third = refusal_of(proxy)
    for text in (first, second, third):
        assert "a person must approve this call; after that, you can request it again" in text
        assert "guardrail" not in text
        assert request not in text
    assert len(requests_of(asking)) == 2  # the approval was for one call


def test_an_approval_counts_in_its_own_session_only(asking: Bench) -> None:
    with (
        ModelServer([PAY, AGAIN]) as upstream,
        proxied(asking.guard, upstream.openai) as proxy,
    ):
        refusal_of(proxy)
        asking.guard.approvals.approve(requests_of(asking)[0], BOB, "known")
        assert refusal_of(proxy, "another") is not None
    assert len(requests_of(asking)) == 2


def test_a_refusal_by_a_person_is_told_once(asking: Bench) -> None:
    """If the model asks again after that, a person is asked again."""
    with (
        ModelServer([PAY, AGAIN, AGAIN]) as upstream,
        proxied(asking.guard, upstream.openai) as proxy,
    ):
        refusal_of(proxy)
        asking.guard.approvals.refuse(requests_of(asking)[0], BOB, "no")
        assert "refused" in (refusal_of(proxy) or "")
        refusal_of(proxy)
    assert len(requests_of(asking)) == 2


def refusal_of(proxy: RunningProxy, session: str = "s1") -> Any:
    """Ask, and return the refusal of the call, or None."""
    message = proxy.session(session).chat.completions.create(**CHAT).choices[0].message
    return message.refusal


def test_a_ledger_that_fails_after_signs_of_life_breaks_the_connection_off(asking: Bench) -> None:
    """Its status is sent, so nothing else tells a client that there is no answer."""

    def break_soon() -> None:
        until(lambda: requests_of(asking), "the request for an approval")
        threading.Event().wait(0.3)
        asking.ledger.fail = lambda draft: (
            LedgerError("gone", code="ledger.io") if draft.type == "call.decision" else None
        )
        asking.guard.approvals.approve(requests_of(asking)[0], BOB, "known")

    with (
        ModelServer([PAY]) as upstream,
        proxied(asking.guard, upstream.openai, limits=LIVELY, approval_wait_s=60) as proxy,
        meanwhile(break_soon),
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        httpx2.post(f"{proxy.url}/v1/responses", json=RESPONSES, timeout=60)


def test_a_client_that_goes_away_while_its_call_waits_gets_no_call(asking: Bench) -> None:
    with (
        ModelServer([PAY]) as upstream,
        proxied(asking.guard, upstream.openai, limits=LIVELY, approval_wait_s=60) as proxy,
    ):
        url = f"{proxy.url}/v1/chat/completions"
        with httpx2.stream("POST", url, json={**CHAT, "stream": True}, timeout=60) as answer:
            next(answer.iter_bytes())
            until(lambda: requests_of(asking), "the request for an approval")
        threading.Event().wait(0.3)
        asking.guard.approvals.approve(requests_of(asking)[0], BOB, "known")
        threading.Event().wait(3)
        effects = [each["decision"]["effect"] for each in asking.ledger.of("call.decision")]
    assert effects == ["require_approval"]
