"""With a policy that allows everything, official clients read the same as without guardrail."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from openai import ContentFilterFinishReasonError, LengthFinishReasonError
from openai.lib.streaming._deltas import accumulate_delta

from guardrail.model_apis.answers import AnswerStream
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked
from guardrail.model_apis.deciding import drive_deciding
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.generated_streams import generated
from tests.support.model_server import MODEL, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES
from tests.support.proxies import proxied
from tests.support.replayed import anthropic_client, openai_client
from tests.support.wire import Wire

STREAMS = 500
OVER_HTTP = 30
CHOICES = 3
"""The largest number of choices in a generated stream."""
MANY: Any = {**CHAT, "n": CHOICES}
MESSAGES: Any = {"model": MODEL, "max_tokens": 9, "messages": CHAT["messages"]}

apis = pytest.mark.parametrize("api", list(Api), ids=str)


def everything(asked: Asked) -> list[str | None]:
    """Allow all calls that are complete and known."""
    for call in asked.calls:
        assert call.refusal is None or call.refusal.reason == "provider_tool", call
    return [None if call.refusal is None else call.refusal.text for call in asked.calls]


def governed(api: Api, pieces: Sequence[bytes]) -> list[bytes]:
    """Return what a program gets of a stream."""
    answer = AnswerStream(api, choices=CHOICES)
    out = [
        drive_deciding(answer.govern(event), everything)
        for piece in [*pieces, None]
        for event in answer.read(piece)
    ]
    assert not answer.broken
    return out


def of_chat(client: Any, *, plain: bool) -> Any:
    """Return what the raw stream says, choice by choice, and what ``.stream()`` makes of it."""
    choices: dict[int, Any] = {}
    rest: list[Any] = []
    for chunk in client.chat.completions.create(**MANY, stream=True):
        found = chunk.to_dict()
        for choice in found.pop("choices"):
            known = choices.setdefault(choice["index"], {"delta": {}})
            known["delta"] = accumulate_delta(known["delta"], choice["delta"])
            known["ending"] = choice.get("finish_reason") or known.get("ending")
        rest.append(found)
    made: list[Any] = [choices, rest[0] | {"usage": None}, rest[-1].get("usage")]
    if plain:
        with client.chat.completions.stream(**MANY) as events:
            for _ in events:
                pass
            try:
                made.append(events.get_final_completion().to_dict())
            except (LengthFinishReasonError, ContentFilterFinishReasonError) as error:
                made.append((type(error), str(error)))
    return made


def of_responses(client: Any) -> Any:
    """Return what the events say, item by item, and what ``.stream()`` makes of them."""
    items: dict[int, dict[str, Any]] = {}
    last = None
    for event in client.responses.create(**RESPONSES, stream=True):
        found = event.to_dict()
        if "output_index" in found:
            known = items.setdefault(found["output_index"], {})
            if "delta" in found:
                key = f"{found['type']} {found.get('content_index')}"
                known[key] = known.get(key, "") + found["delta"]
            elif not found["type"].endswith((".delta", ".done")) or "item" in found:
                known[found["type"]] = found.get("item")
        last = found
    assert last is not None
    last.pop("sequence_number")
    for item in items.values():
        # An empty text needs no event.
        for key in [key for key, value in item.items() if value == ""]:
            del item[key]
    with client.responses.stream(**RESPONSES) as events:
        return items, last, events.get_final_response().to_dict()


def of_messages(client: Any) -> Any:
    """Return what each of the client's ways makes of a stream."""
    made = []
    for api in (client.messages, client.beta.messages):
        with api.stream(**MESSAGES) as events:
            made.append(events.get_final_message().to_dict())
    return made


def read(api: Api, client: Any, *, plain: bool) -> Any:
    """Return what the official client reads; what it raises, if it can't."""
    if api is Api.CHAT:
        return of_chat(client, plain=plain)
    return of_responses(client) if api is Api.RESPONSES else of_messages(client)


@apis
def test_clients_read_the_same(api: Api) -> None:
    """Interleaved, in pieces of any size, with every kind of part."""
    make = anthropic_client if api is Api.MESSAGES else openai_client
    for seed in range(STREAMS):
        pieces, plain = generated(api, seed)
        with make([b"".join(pieces)]) as client:
            wanted = read(api, client, plain=plain)
        with make(governed(api, pieces)) as client:
            assert read(api, client, plain=plain) == wanted, f"{api} {seed}"


@pytest.mark.slow
@apis
def test_clients_read_the_same_through_the_proxy(api: Api) -> None:
    """Over HTTP."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    make = anthropic_client if api is Api.MESSAGES else openai_client
    turns, wanted = [], []
    for seed in range(OVER_HTTP):
        pieces, plain = generated(api, seed)
        with make(pieces) as client:
            wanted.append((plain, read(api, client, plain=plain)))
        wire = Wire(body=b"".join(pieces), content_type="text/event-stream", piece=37)
        # The clients ask twice, in two of their ways.
        turns += [Turn(wire=wire)] * (1 if api is Api.CHAT and not plain else 2)
    with (
        ModelServer(turns) as upstream,
        proxied(guard, upstream.openai) as proxy,
        contextlib.closing(proxy.anthropic() if make is anthropic_client else proxy.openai()) as it,
    ):
        for seed, (plain, expected) in enumerate(wanted):
            assert read(api, it, plain=plain) == expected, f"{api} {seed}"
