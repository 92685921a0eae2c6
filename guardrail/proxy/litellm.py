"""LiteLLM's ``generic_guardrail_api``: LiteLLM asks whether a model's response may pass.

This is weaker than the proxy itself. LiteLLM chooses which responses to ask about, and can ignore
the verdict. A response can only pass or be blocked completely. The tools in requests are not
checked, not even tools that the provider runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guardrail.errors import GuardrailError
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked, told
from guardrail.model_apis.openai.chat_events import TOOLS, calls_of
from guardrail.model_apis.sse import compact, read_object
from guardrail.proxy.errors import failure_of
from guardrail.proxy.large_bodies import processed
from guardrail.proxy.turn import ProxyTurn

if TYPE_CHECKING:
    from guardrail.proxy.asgi import Incoming, Outgoing
    from guardrail.proxy.sessions import ProxyCaller
    from guardrail.proxy.shared import Shared

__all__ = ["LITELLM_PATH", "answer_litellm"]

LITELLM_PATH = "/beta/litellm_basic_guardrail_api"


async def answer_litellm(
    shared: Shared, caller: ProxyCaller, incoming: Incoming, out: Outgoing
) -> None:
    """Respond with ``NONE`` if every call is allowed and recorded, otherwise with ``BLOCKED``. The
    verdict is also ``BLOCKED`` if the guard fails, because LiteLLM can be configured to ignore
    errors. The calls in a blocked response are cancelled.
    """
    text = await incoming.body(shared.max_request)
    turn = None
    try:
        try:
            body = await processed(len(text), read_object, text)
            caller = replace(caller, credential=f"{caller.credential}\n{_key_of(body)}")
            async with incoming.watched():
                turn = await ProxyTurn.begin(shared, Api.CHAT, caller, incoming, _history(body))
                refusals = await _refusals(turn, body)
        except GuardrailError as error:
            refusals = [failure_of(error).message]
        verdict = {"action": "NONE"}
        if refusals:
            verdict = {"action": "BLOCKED", "blocked_reason": "\n".join(refusals)}
        await out.whole(200, [("content-type", "application/json")], compact(verdict).encode())
        if turn is not None and turn.holds and not refusals:
            turn.release()
    finally:
        if turn is not None:
            await turn.withdraw()


async def _refusals(turn: ProxyTurn, body: Mapping[str, Any]) -> list[str]:
    """Decide the calls in a response, and return the texts of the refusals. Raises
    ``GuardrailError``.
    """
    if not body.get(TOOLS):
        return []
    calls = calls_of(body, TOOLS)
    rulings = await turn.decide(Asked(calls, body.get("model"), None))
    return [
        told(call, ruling)
        for call, ruling in zip(calls, rulings, strict=True)
        if ruling is not None
    ]


def _key_of(body: Mapping[str, Any]) -> object:
    """Return the digest of the key that LiteLLM's own client used."""
    about = body.get("request_data")
    return about.get("user_api_key_hash") if isinstance(about, dict) else None


def _history(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request in the format of chat completions, in which messages report the results of
    calls.
    """
    return {"messages": body.get("structured_messages")}
