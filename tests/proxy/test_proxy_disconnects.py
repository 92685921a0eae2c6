"""A call is handed over when its bytes are with the transport, and not before.

The tests are the server of the proxy here, so that a client can go away at an exact moment.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from guardrail.config import ProxySettings
from guardrail.proxy.app import Proxy
from tests.support.adapters import Bench
from tests.support.model_server import SPEAKERS, ModelServer
from tests.support.openai_clients import CHAT, asking
from tests.support.wire import Wire


class Connection:
    """A connection of a client that goes away before, or soon after, it gets a word."""

    def __init__(self, asked: dict[str, Any], *, before: bytes = b"", after: bytes = b"") -> None:
        self._body = json.dumps(asked).encode()
        self._before, self._after = before, after
        self._asked = False
        self._gone = asyncio.Event()
        self.written = b""

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Write, unless the client is gone: then nothing happens, as in web servers."""
        data = message.get("body", b"")
        if self._before and self._before in data:
            self._gone.set()
        if not self._gone.is_set():
            self.written += data
            if self._after and self._after in data:
                asyncio.get_running_loop().call_later(0.05, self._gone.set)


async def serve(bench: Bench, url: str, connection: Connection) -> None:
    proxy = Proxy(bench.guard, url, ProxySettings(approval_wait_s=0))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await proxy(scope, connection.receive, connection.send)
    await proxy.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_was_not_written_is_cancelled(bench: Bench, stream: bool) -> None:
    """It was allowed, and its client was gone when it would have been written."""
    with ModelServer([asking("Bern")]) as upstream:
        connection = Connection({**CHAT, "stream": stream}, before=b"weather")
        await serve(bench, upstream.openai, connection)
    assert b"weather" not in connection.written
    assert len(bench.decisions) == 1
    assert [each["status"] for each in bench.outcomes] == ["cancelled"]


async def test_a_call_that_was_written_stays_open(bench: Bench) -> None:
    """Its client may have got it before it went away."""
    turn = replace(asking("Bern"), wire=Wire(endless=b": alive\n\n", pause=0.01))
    events = list(SPEAKERS["/v1/chat/completions"].stream(turn, {}))[:-1]
    with ModelServer([replace(turn, events=events)]) as upstream:
        connection = Connection({**CHAT, "stream": True}, after=b"weather")
        await serve(bench, upstream.openai, connection)
    assert b"weather" in connection.written
    assert [each["status"] for each in bench.outcomes] == ["unknown"]
