"""Classifies the proxy's routes as governed, passed on or refused. Performs no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from guardrail.model_apis.api import Api
from guardrail.model_apis.openai.routes import route_name, without_calls
from guardrail.proxy.errors import ErrorFormat, ProxyError

__all__ = ["Route", "find_route", "format_of"]

_BASE = "v1"
_GOVERNED = {
    ("chat", "completions"): Api.CHAT,
    ("responses",): Api.RESPONSES,
    ("messages",): Api.MESSAGES,
}
_ABOUT_REQUEST = frozenset({("responses", "input_tokens"), ("messages", "count_tokens")})
"""Routes that count the tokens in a request."""
_COMPLETIONS = ("completions",)
_BASE_URLS = "base URL with /v1 for OpenAI's clients, without /v1 for Anthropic's clients"
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@%-]+)+")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Route:
    """A route that the upstream serves."""

    path: str
    """The path after ``/v1``, in the form that is sent to the upstream."""
    api: Api | None
    """The API whose responses are governed, or None if the responses do not contain calls."""
    is_checked: bool = False
    """True if the request's fields could make the provider run tools."""


def find_route(method: str, path: str) -> Route:
    """Return the route for a request. Raises ``ProxyError`` for every route that is not listed."""
    parts = () if path == "/" else _path_segments(path)
    if parts[:1] != (_BASE,) or parts[1:2] in {(), (_BASE,)}:
        raise ProxyError(404, "this path is not served", code="proxy.route", hint=_BASE_URLS)
    parts = parts[1:]
    if method == "POST" and parts in _GOVERNED:
        return Route("/" + "/".join(parts), _GOVERNED[parts])
    rest = path.removeprefix(f"/{_BASE}")
    if method in _METHODS and without_calls(method, parts):
        return Route(rest, None, is_checked=(method, parts) == ("POST", _COMPLETIONS))
    if (method == "POST" and parts in _ABOUT_REQUEST) or (
        method == "DELETE" and parts[:1] in {("responses",), ("conversations",)}
    ):
        return Route(rest, None)
    raise ProxyError(
        404,
        f"{route_name(method, parts, '/v1')} can carry tool calls that the proxy can't decide, or "
        "is unknown to the proxy",
        code="proxy.route",
        hint="docs/proxy.md lists the routes",
    )


def _path_segments(path: str) -> tuple[str, ...]:
    """Return the decoded segments of *path*. Raises ``ProxyError`` if servers could interpret
    *path* differently.
    """
    decoded = unquote(path, errors="replace")
    parts = decoded.split("/")[1:]
    if (
        not _PATH.fullmatch(path)
        or "%" in decoded
        or "\\" in decoded
        or ";" in decoded
        or not decoded.isprintable()
        or any(part in {"", ".", ".."} for part in parts)
    ):
        raise ProxyError(404, "the path of the request is malformed", code="proxy.path")
    return tuple(parts)


def format_of(path: str, headers: list[tuple[str, str]]) -> ErrorFormat:
    """Return the format for error responses to the client."""
    if path.startswith(("/v1/messages", "/v1/v1/messages")) or any(
        name == "anthropic-version" for name, _ in headers
    ):
        return ErrorFormat.ANTHROPIC
    return ErrorFormat.OPENAI
