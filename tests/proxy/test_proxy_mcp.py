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
        ModelServer([Turn(items=[request]), *[Turn("Sun.")] * 3]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        proxy.openai().responses.create(**RESPONSES)
        yield proxy, upstream


def send(proxy: RunningProxy, *items: Any, key: str = "key-of-alice") -> None:
    proxy.openai(api_key=key).responses.create(**{**RESPONSES, "input": list(items)})


def refused(proxy: RunningProxy, *items: Any, key: str = "key-of-alice") -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        send(proxy, *items, key=key)
    assert raised.value.code == "model_request.approval"
    assert "ask for the call again" in raised.value.message


@pytest.mark.parametrize("whole", [True, False], ids=["repeated", "stored"])
def test_an_allowed_call_can_be_approved_once(bench: Bench, *, whole: bool) -> None:
    """Its arguments can be written in another way. Its history can be sent again."""
    given = [{**ASKED_MCP, "arguments": '{ "city":"Bern" }'}, APPROVED] if whole else [APPROVED]
    with asked(bench) as (proxy, upstream):
        send(proxy, *given)
        refused(proxy, *given)
        send(proxy, *given, RAN_MCP)
    assert [each["input"] for each in upstream.bodies[1:]] == [given, [*given, RAN_MCP]]
    assert len(bench.decisions) == 1
    assert [each["reason"] for each in bench.rejected] == ["model_request.approval"]


def test_two_approvals_of_a_call_in_one_request_are_refused(bench: Bench) -> None:
    with asked(bench) as (proxy, _):
        refused(proxy, APPROVED, APPROVED)


def test_a_call_is_approved_in_its_own_session(bench: Bench) -> None:
    with asked(bench) as (proxy, _):
        other = proxy.openai(default_headers={"x-guardrail-session": "another"})
        with pytest.raises(openai.BadRequestError):
            other.responses.create(**{**RESPONSES, "input": [APPROVED]})
        send(proxy, APPROVED)


@pytest.mark.parametrize(("status", "again"), [(429, True), (400, True), (500, False)])
def test_an_approval_is_used_if_the_provider_may_have_run_the_call(
    bench: Bench, status: int, *, again: bool
) -> None:
    """A provider that refuses the request runs nothing, and the client tries again."""
    failed = Turn(status=status)
    with (
        ModelServer([Turn(items=[ASKED_MCP]), failed, Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai(max_retries=0)
        client.responses.create(**RESPONSES)
        with pytest.raises(openai.APIStatusError):
            client.responses.create(**{**RESPONSES, "input": [APPROVED]})
        if again:
            client.responses.create(**{**RESPONSES, "input": [APPROVED]})
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
