"""Passes on requests that can't carry tool calls, and their responses, as streams of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable

from guardrail.model_apis.request_fields import check_completion
from guardrail.proxy.asgi import Incoming, Outgoing
from guardrail.proxy.errors import ProxyError
from guardrail.proxy.headers import as_json, to_client, to_upstream
from guardrail.proxy.request_body import read_body
from guardrail.proxy.routes import Route
from guardrail.proxy.shared import Shared

__all__ = ["pass_on"]


async def pass_on(shared: Shared, route: Route, incoming: Incoming, out: Outgoing) -> None:
    """Pass on a request, and send the response. Raises ``ProxyError`` or ``ModelRequestError`` only
    if nothing has been sent yet.
    """
    limit = shared.limits.passed
    body: AsyncIterable[bytes] | bytes | None = None
    if route.is_checked:
        body = await _checked(shared, incoming)
    elif incoming.has_body:
        body = incoming.pieces(limit)
    identity = shared.identity_headers
    headers = to_upstream(incoming.headers, governed=False, identity=identity)
    try:
        async with (
            incoming.watched(),
            shared.upstream.send(
                incoming.method,
                route.path,
                query=incoming.query,
                headers=as_json(headers) if route.is_checked else headers,
                body=body,
                limit=limit,
            ) as reply,
        ):
            await out.start(reply.status, to_client(reply.headers, same_body=True))
            while piece := await reply.raw():
                await out.write(piece)
    except ProxyError:
        if incoming.problem is not None and not out.started:
            # the reason why the upstream did not receive the complete request
            raise incoming.problem from None
        raise
    await out.finish()


async def _checked(shared: Shared, incoming: Incoming) -> bytes:
    """Return the body of a request whose fields could make the provider run tools. Raises
    ``ModelRequestError`` if they would.
    """
    text = await incoming.body(shared.max_request)
    settings = shared.settings
    check_completion(await read_body(incoming, text), settings.hosted_tools, settings.allow_fields)
    return text
