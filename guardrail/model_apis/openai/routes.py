"""Determines which routes of the OpenAI API can carry tool calls. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

from guardrail.errors import UsageError
from guardrail.model_apis.api import Api

__all__ = ["check_socket", "refuse", "route_name", "route_of", "without_calls"]

_NO_CALLS = frozenset(
    {
        "audio",
        "completions",
        "containers",
        "content_provenance_checks",
        "embeddings",
        "files",
        "fine_tuning",
        "images",
        "models",
        "moderations",
        "organization",
        "projects",
        "safety",
        "skills",
        "uploads",
        "vector_stores",
        "videos",
        "webhook_endpoints",
        "webhook_event_types",
    }
)
"""First path segments of routes whose responses do not contain calls for the program to run."""
_ONLY_READ = frozenset({"models", "projects"})
"""First path segments under which other providers also serve models: ``POST
/v1/models/NAME:generateContent``.
"""
_GOVERNED = {("chat", "completions"): Api.CHAT, ("responses",): Api.RESPONSES}
_CALLS_OF_REQUEST = frozenset({("responses", "input_tokens"), ("responses", "compact")})
"""Routes whose responses only concern the calls in the request itself."""

_WORD = re.compile(r"[A-Z]{1,10}|[a-z][a-z_]{0,31}")


def without_calls(method: str, parts: Sequence[str]) -> bool:
    """Return True if responses to *method* and a path with these *parts* do not contain calls, and
    the request can't store calls for a later request.
    """
    if not parts or parts[0] not in _NO_CALLS:
        return False
    return parts[0] not in _ONLY_READ or method in {"GET", "DELETE"}


def route_name(method: str, parts: Sequence[str], base: str = "") -> str:
    """Return *method* and the first of *parts*, below *base*, for a message. A word that does not
    look like one of an API is not shown, because a path can contain a key.
    """
    shown = [word if _WORD.fullmatch(word) else "..." for word in (method, *parts[:1])]
    return f"{shown[0]} {base}/{'/'.join(shown[1:])}{'/...' if parts[1:] else ''}"


def route_of(method: str, path: str, base: str) -> Api | None:
    """Return the API whose responses to *method* and *path* must be governed, or None if the
    responses do not contain calls. Raises ``UsageError`` for every other route. *base* is the path
    of the base URL.
    """
    parts = tuple(part for part in path.removeprefix(base.rstrip("/")).split("/") if part)
    if parts[:1] == ("deployments",):  # Azure
        parts = parts[2:]
    if method == "POST" and parts in _GOVERNED:
        return _GOVERNED[parts]
    if method == "DELETE" or parts in _CALLS_OF_REQUEST or without_calls(method, parts):
        return None
    raise refuse(route_name(method, parts))


def check_socket(url: object) -> None:
    """Raise ``UsageError`` if *url* is a WebSocket URL."""
    if str(url).partition(":")[0] in {"ws", "wss"}:
        raise refuse("a WebSocket")


def refuse(name: str) -> UsageError:
    """Return the error for the route *name*, which can carry tool calls but can't be governed."""
    return UsageError(
        f"{name} can carry tool calls that a governed client can't decide",
        code="usage.route",
        hint="use chat completions or responses in the foreground; docs/integrations.md lists the"
        " routes",
    )
