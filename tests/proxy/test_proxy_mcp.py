"""A program can approve a call of an MCP server only if the proxy allowed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.openai_clients import APPROVED, ASKED_MCP, RESPONSES
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
def test_an_allowed_call_can_be_approved_as_often_as_its_history_is_sent(
    bench: Bench, *, whole: bool
) -> None:
    """Its arguments can be written in another way."""
    given = [{**ASKED_MCP, "arguments": '{ "city":"Bern" }'}, APPROVED] if whole else [APPROVED]
    with asked(bench) as (proxy, upstream):
        for _ in range(3):
            send(proxy, *given)
    assert [each["input"] for each in upstream.bodies[1:]] == [given] * 3
    assert len(bench.decisions) == 1
    assert bench.rejected == []


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
