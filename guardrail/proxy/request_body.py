"""Reads the JSON object in the body of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.core import json_text
from guardrail.core.words import counted
from guardrail.proxy.asgi import Incoming
from guardrail.proxy.errors import ProxyError
from guardrail.proxy.large_bodies import processed

__all__ = ["read_body"]


async def read_body(incoming: Incoming, text: bytes) -> Mapping[str, Any]:
    """Return the JSON object in *text*, the body of a request. Raises ``ProxyError`` if the object
    has too many values, or if a different parser could interpret *text* differently, because the
    upstream must see the same object.
    """
    if incoming.header("content-encoding") not in {None, "identity"}:
        raise ProxyError(
            400, "compressed requests are not supported", code="proxy.request_encoding"
        )
    problem = "is not a JSON object that all parsers interpret in the same way"
    try:
        body = await processed(len(text), _parsed, text)
    except ValueError as error:
        body = None
        if isinstance(error, json_text.JsonTextError) and error.detail == "not_json":
            problem = "is not valid JSON"
    if not isinstance(body, dict):
        raise ProxyError(400, f"the request {problem}", code="proxy.request")
    return body


def _parsed(text: bytes) -> Any:
    given = text.decode("utf-8")
    if json_text.has_many_values(given):
        raise ProxyError(
            413,
            f"the request has more than {counted(json_text.MOST_VALUES, 'value')}",
            code="proxy.request_size",
        )
    return json_text.read(given)
