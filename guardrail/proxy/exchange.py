"""Serves one request to a governed API. The response contains only decided calls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from guardrail.core.words import agree, counted
from guardrail.errors import GuardrailError
from guardrail.model_apis.answers import AnswerStream, govern_answer, in_one_line, read_answer
from guardrail.model_apis.asking import Asked, ModelAnswerError
from guardrail.model_apis.deciding import adrive_deciding
from guardrail.model_apis.error_bodies import check_error_body
from guardrail.model_apis.requests import ToolRequest
from guardrail.model_apis.sse import compact
from guardrail.proxy.asgi import Incoming, Outgoing
from guardrail.proxy.errors import NoAnswerError, ProxyError, failure_of
from guardrail.proxy.headers import Headers, as_json, to_client, to_upstream
from guardrail.proxy.large_bodies import processed
from guardrail.proxy.request_body import read_body
from guardrail.proxy.routes import Route
from guardrail.proxy.turn import MOST_CALLS, ProxyTurn

if TYPE_CHECKING:
    from guardrail.proxy.sessions import ProxyCaller
    from guardrail.proxy.shared import Shared
    from guardrail.proxy.upstream import UpstreamReply

__all__ = ["Exchange"]

_STREAM, _JSON = "text/event-stream", "application/json"
_LONGEST_TURN = 0.01
"""Seconds after which other requests are served, if a piece of a stream has many events."""
_SIGN_OF_LIFE = b": waiting for a decision\n\n"


class Exchange:
    """One request and its response."""

    def __init__(
        self, shared: Shared, route: Route, caller: ProxyCaller, incoming: Incoming, out: Outgoing
    ) -> None:
        assert route.api is not None
        self._shared = shared
        self._api = route.api
        self._path = route.path
        self._caller = caller
        self._incoming = incoming
        self._out = out
        self._turn: ProxyTurn
        """The turn, set once the request has been read."""
        self._head: Headers = []
        """The headers of the response."""
        self._events: AnswerStream | None = None
        """The events of the response, or None if the response is not a stream."""
        self._acted = False
        """True once the upstream may have acted on the request."""
        self._asked = 0
        """Number of calls in the response so far."""
        self._pending = bytearray()
        """Bytes for the client that have not been passed to the transport yet."""

    async def run(self) -> None:
        """Serve the request. Raises ``GuardrailError``, except for an error that is reported in a
        stream.
        """
        try:
            text = await self._incoming.body(self._shared.max_request)
            body = await read_body(self._incoming, text)
            settings = self._shared.settings
            request = ToolRequest(self._api, body, settings.hosted_tools, settings.allow_fields)
            async with self._incoming.watched():
                self._turn = await ProxyTurn.begin(
                    self._shared, self._api, self._caller, self._incoming, body
                )
                try:
                    sent = self._turn.restored(await self._turn.offering(request))
                    await self._ask(
                        text if sent is body else await processed(len(text), _serialized, sent)
                    )
                finally:
                    if not self._acted:
                        self._turn.give_back_approvals()
            await self._out.finish()
        except GuardrailError as error:
            if self._events is None or not self._out.started:
                raise
            failure = failure_of(error)
            await self._out.finish(failure.event(self._api, self._events.number))

    async def _ask(self, content: bytes) -> None:
        """Send the request to the upstream, and pass on the response. Calls that the client does
        not receive are withdrawn.
        """
        identity = self._shared.identity_headers
        headers = to_upstream(self._incoming.headers, governed=True, identity=identity)
        try:
            async with (
                _within(self._shared.limits.answer_s),
                self._shared.upstream.send(
                    "POST",
                    self._path,
                    query=self._incoming.query,
                    headers=as_json(headers),
                    body=content,
                    limit=self._shared.limits.answer,
                ) as reply,
            ):
                self._head = to_client(reply.headers, same_body=False)
                self._acted = not 400 <= reply.status < 500
                if reply.status >= 400:
                    error = await reply.body(self._shared.limits.error)
                    self._acted = True  # unless the body is an error as well
                    await processed(len(error), check_error_body, error)
                    self._acted = reply.status >= 500
                    await self._out.start(reply.status, self._head)
                    await self._out.write(error)
                elif reply.media_type == _STREAM:
                    await self._pass_stream(reply)
                elif reply.media_type == _JSON:
                    await self._pass_whole(reply)
                else:
                    raise ProxyError(
                        502,
                        "the upstream's response is neither JSON nor a stream of events",
                        code="proxy.upstream_type",
                    )
        except (ModelAnswerError, ProxyError) as error:
            if isinstance(error, NoAnswerError):
                self._acted = not error.never_sent
            else:
                await self._turn.record_failure(error.code, self._events)
            raise
        finally:
            await self._turn.withdraw()

    async def _pass_whole(self, reply: UpstreamReply) -> None:
        body = await reply.body(self._shared.limits.whole)
        answer = await processed(len(body), read_answer, self._api, body)
        turn = self._turn
        steps = govern_answer(
            self._api, answer, turn.refused, turn.about, hosts_shell=turn.hosts_shell
        )
        made = await adrive_deciding(steps, self._decide)
        if made is not answer:
            body = (await processed(len(body), compact, made)).encode()
        else:
            body = await processed(len(body), in_one_line, body, made)
        self._pending += body
        await self._flush()

    async def _pass_stream(self, reply: UpstreamReply) -> None:
        """Pass on each event as soon as it is complete and its calls are decided."""
        turn = self._turn
        events = AnswerStream(
            self._api,
            turn.refused,
            turn.about,
            hosts_shell=turn.hosts_shell,
            choices=turn.choices,
        )
        self._events = events
        await self._out.start(200, self._head)
        while not events.ended:
            piece = await reply.read()
            since = time.monotonic()
            for event in events.read(piece or None):
                made = await adrive_deciding(events.govern(event), self._decide)
                self._pending += made  # added only now, because deciding flushes
                if time.monotonic() - since > _LONGEST_TURN:
                    await asyncio.sleep(0)
                    since = time.monotonic()
            await self._flush()
            if not piece:
                break
        if events.broken:
            raise ModelAnswerError(
                "the model's response ended early; its undecided calls are dropped"
            )
        await reply.rest()

    async def _flush(self) -> None:
        """Write the pending bytes. Their calls are released once the bytes have been passed to the
        transport.
        """
        if not self._out.started:
            await self._out.start(200, self._head)
        if self._pending:
            data, self._pending = bytes(self._pending), bytearray()
            await self._out.write(data)
        if self._turn.holds:
            # If the client is gone, ``watched`` notices that first, and nothing is written.
            await asyncio.sleep(0)
            self._turn.release()

    async def _decide(self, asked: Asked) -> list[str | None]:
        """Decide calls. Until then, show the client that its request is being served. Raises
        ``ModelAnswerError`` if the response has too many calls, because each leaves records.
        """
        self._asked += len(asked.calls)
        if self._asked > MOST_CALLS:
            raise ModelAnswerError(
                f"the model's response is too large: it has more than {counted(MOST_CALLS, 'call')}"
            )
        if self._pending:
            await self._flush()
        deciding = asyncio.create_task(self._turn.decide(asked))
        try:
            while not deciding.done():
                await asyncio.wait([deciding], timeout=self._shared.limits.keep_alive_s)
                if not deciding.done():
                    await self._show_life()
        finally:
            if not deciding.done():
                deciding.cancel()
                await asyncio.wait([deciding])
        return await deciding

    async def _show_life(self) -> None:
        """Send a keep-alive: a comment in a stream, or a space before a JSON body."""
        if not self._out.started:
            await self._out.start(200, self._head)
        await self._out.write(b" " if self._events is None else _SIGN_OF_LIFE)


def _serialized(sent: Mapping[str, Any]) -> bytes:
    """Return a changed request as JSON. Raises ``ProxyError`` for numbers that JSON can't
    express.
    """
    try:
        return compact(sent).encode()
    except ModelAnswerError:
        failure = ProxyError(400, "the request contains too large a number", code="proxy.request")
    raise failure


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ProxyError(
            504,
            f"the response did not end within {seconds:g} {agree(seconds, 'second')}",
            code="proxy.answer_time",
        ) from None
