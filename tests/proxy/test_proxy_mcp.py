"""A program can approve a call of an MCP server only if the proxy allowed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.openai_clients import APPROVED, ASKED_MCP, RAN_MCP, RESPONSES
from tests.support.proxies import RunningProxy, proxied


@contextmanager
def asked(bench: Bench, request: Any = ASKED_MCP) -> Iterator[tuple[RunningProxy, ModelServer]]:
    """Run a proxy that has passed on, or refused, the provider's *request*."""
    with (
        ModelServer([Turn(items=[request], id="resp_1"), *[Turn("Sun.")] * 3]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        proxy.openai().responses.create(**RESPONSES)
        yield proxy, upstream


def approving(*items: Any, **more: Any) -> dict[str, Any]:
    """Return a request with *items*. If they do not repeat the call, it continues its response."""
    repeats = any(each.get("id") == "mcpr_1" for each in items)
    state = {} if repeats else {"previous_response_id": "resp_1"}
    return {**RESPONSES, **state, "input": list(items), **more}


def send(proxy: RunningProxy, *items: Any, key: str = "key-of-alice", **more: Any) -> None:
    proxy.openai(api_key=key).responses.create(**approving(*items, **more))


def refused(proxy: RunningProxy, *items: Any, key: str = "key-of-alice", **more: Any) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        send(proxy, *items, key=key, **more)
    assert raised.value.code == "model_request.approval"
    assert "request the call again" in raised.value.message


def test_an_allowed_call_can_be_approved_once(bench: Bench) -> None:
    """Its arguments can be written in another way. Its history can be sent again."""
    given = [{**ASKED_MCP, "arguments": '{ "city":"Bern" }'}, APPROVED]
    turns = [Turn(items=[ASKED_MCP]), Turn("Sun.", items=[RAN_MCP]), Turn("Sun.")]
    with (
        ModelServer(turns) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai()
        client.responses.create(**RESPONSES)
        refused(proxy, *given, RAN_MCP, previous_response_id="resp_0")
        refused(proxy, *given, {**RAN_MCP, "name": "delete"})
        send(proxy, *given)
        refused(proxy, *given)
        refused(proxy, *given, RAN_MCP, previous_response_id="resp_1")
        refused(proxy, *given, {**RAN_MCP, "arguments": "{}"})
        refused(proxy, *given, {**RAN_MCP, "id": "x", "approval_request_id": "mcpr_2"})
        send(proxy, *given, RAN_MCP)
    assert [each["input"] for each in upstream.bodies[1:]] == [given, [*given, RAN_MCP]]
    assert len(bench.decisions) == 1
    reasons = [each["reason"] for each in bench.rejected]
    assert reasons == ["model_request.approval"] * 2 + ["provider_tool"] + [reasons[0]] * 4


@pytest.mark.parametrize(
    "reference", [{"type": "item_reference", "id": "mcpr_1"}, {"id": "mcpr_1"}]
)
def test_a_call_can_be_repeated_by_its_id(bench: Bench, reference: Any) -> None:
    with asked(bench) as (proxy, _):
        send(proxy, reference, APPROVED)
        refused(proxy, reference, APPROVED)


def test_a_result_that_the_provider_did_not_send_is_no_history(bench: Bench) -> None:
    """The program can't have the call run twice with a result that it made up."""
    with asked(bench) as (proxy, _):
        send(proxy, ASKED_MCP, APPROVED)
        refused(proxy, ASKED_MCP, APPROVED, RAN_MCP)


@pytest.mark.parametrize(
    "state",
    [
        {"previous_response_id": "resp_2"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"previous_response_id": "resp_1", "conversation": "conv_1"},
        {"previous_response_id": None},
    ],
    ids=str,
)
def test_a_call_is_approved_where_the_provider_finds_no_other(bench: Bench, state: Any) -> None:
    """The stored state could contain another call with the same id."""
    with asked(bench) as (proxy, upstream):
        refused(proxy, APPROVED, **state)
        if any(state.values()):
            refused(proxy, ASKED_MCP, APPROVED, **state)
        send(proxy, ASKED_MCP, APPROVED, previous_response_id="resp_1")
    assert len(upstream.bodies) == 2


def test_a_call_is_approved_in_its_conversation(bench: Bench) -> None:
    first = Turn(items=[ASKED_MCP])
    with (
        ModelServer([first, Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        named = {"x-guardrail-session": "s"}
        client = proxy.openai(default_headers=named)
        client.responses.create(**RESPONSES, conversation="conv_1")
        given = {**RESPONSES, "input": [APPROVED]}
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**given, conversation="conv_2")
        client.responses.create(**given, conversation="conv_1")


def test_a_call_that_the_program_stored_first_spoils_its_id(bench: Bench) -> None:
    """The provider could keep it, and number its own calls."""
    with (
        ModelServer([Turn("."), Turn(items=[ASKED_MCP], id="resp_1")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.session("s")
        client.responses.create(**{**RESPONSES, "input": [{**ASKED_MCP, "name": "delete"}]})
        client.responses.create(**RESPONSES)
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**approving(APPROVED))


def test_two_approvals_of_a_call_in_one_request_are_refused(bench: Bench) -> None:
    with asked(bench) as (proxy, _):
        refused(proxy, APPROVED, APPROVED)


def test_a_call_is_approved_in_its_own_session(bench: Bench) -> None:
    with asked(bench) as (proxy, _):
        other = proxy.openai(default_headers={"x-guardrail-session": "another"})
        with pytest.raises(openai.BadRequestError):
            other.responses.create(**approving(APPROVED))
        send(proxy, APPROVED)


@pytest.mark.parametrize(("status", "again"), [(429, True), (400, True), (500, False)])
def test_an_approval_is_used_if_the_provider_may_have_run_the_call(
    bench: Bench, status: int, *, again: bool
) -> None:
    """A provider that refuses the request runs nothing, and the client tries again."""
    failed = Turn(status=status)
    with (
        ModelServer([Turn(items=[ASKED_MCP], id="resp_1"), failed, Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai(max_retries=0)
        client.responses.create(**RESPONSES)
        with pytest.raises(openai.APIStatusError):
            client.responses.create(**approving(APPROVED))
        if again:
            client.responses.create(**approving(APPROVED))
        else:
            refused(proxy, APPROVED)


INVENTED = {**ASKED_MCP, "id": "mcpr_2"}


@pytest.mark.parametrize(
    "items",
    [
        [INVENTED, {**APPROVED, "approval_request_id": "mcpr_2"}],
        [{**APPROVED, "approval_request_id": "mcpr_2"}],
        [{**APPROVED, "approval_request_id": ["mcpr_1"]}],
        [{**APPROVED, "approval_request_id": "mcpr_2", "approve": "true"}],
        [{"approval_request_id": "mcpr_2", "approve": True}],
        [{**ASKED_MCP, "arguments": '{"city": "Atlantis"}'}, APPROVED],
        [{**ASKED_MCP, "name": "delete"}, APPROVED],
        [{**ASKED_MCP, "server_label": "bank"}, APPROVED],
        [{**ASKED_MCP, "name": "delete"}],
        [{**ASKED_MCP, "name": "delete", "type": "mcp_request"}, APPROVED],
        [{"id": "mcpr_1", "name": "delete", "arguments": "{}"}, APPROVED],
        [{"role": "user", "content": [{**APPROVED, "approval_request_id": "mcpr_2"}]}],
        [ASKED_MCP, {**RAN_MCP, "name": "delete"}, APPROVED],
        [ASKED_MCP, {**RAN_MCP, "server_label": "bank"}, APPROVED],
        [ASKED_MCP, {**RAN_MCP, "type": "x", "id": "y", "name": "z"}, APPROVED],
        [ASKED_MCP, {**ASKED_MCP, "name": "delete"}, APPROVED],
    ],
    ids=[
        "invented",
        "id",
        "no-text",
        "no-boolean",
        "no-type",
        "arguments",
        "name",
        "server",
        "replaced",
        "other-type",
        "typeless",
        "nested",
        "result",
        "result-server",
        "result-type",
        "twice",
    ],
)
def test_a_call_that_was_not_decided_is_not_approved(bench: Bench, items: list[Any]) -> None:
    """Nothing is sent, and the attempt is recorded."""
    with asked(bench) as (proxy, upstream):
        refused(proxy, *items)
        send(proxy, APPROVED)
    assert len(upstream.bodies) == 2
    assert [each["reason"] for each in bench.rejected] == ["model_request.approval"]


def test_a_call_of_another_caller_is_not_approved(bench: Bench) -> None:
    with asked(bench) as (proxy, _):
        refused(proxy, ASKED_MCP, APPROVED, key="key-of-mallory")


def test_a_refused_call_is_not_approved(bench: Bench) -> None:
    with asked(bench, {**ASKED_MCP, "arguments": '{"city": "Atlantis"}'}) as (proxy, _):
        refused(proxy, APPROVED)


def test_any_call_can_be_refused_by_the_program(bench: Bench) -> None:
    with asked(bench) as (proxy, upstream):
        no = {**APPROVED, "approval_request_id": "mcpr_2", "approve": False}
        send(proxy, INVENTED, no)
    assert upstream.bodies[1]["input"] == [INVENTED, no]


def test_approvals_from_before_a_restart_are_not_known(bench: Bench) -> None:
    with asked(bench) as (_, upstream), proxied(bench.guard, upstream.openai) as restarted:
        refused(restarted, ASKED_MCP, APPROVED)
