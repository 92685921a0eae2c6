"""Selects the headers that the proxy passes on, in both directions. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["CREDENTIALS", "SESSION", "Headers", "decoded", "to_client", "to_upstream"]

Headers = list[tuple[str, str]]

SESSION = "x-guardrail-session"
"""The header that names the session of a request."""
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-guardrail-token"})
"""Headers that identify a caller, to the upstream or to the proxy."""

_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that concern one connection only (RFC 9110, section 7.6.1)."""
_NOT_TO_UPSTREAM = frozenset({"host", "expect", "forwarded", "referer", "via"})
"""A referer can contain the secret of ``guardrail run``."""
_NOT_TO_CLIENT = frozenset({"alt-svc", "strict-transport-security", "server", "date"})
"""Headers that name other addresses of the upstream, or that the proxy's own server adds."""
_OF_BODY = frozenset({"content-length", "content-encoding"})


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return headers as text, with names in lower case."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]


def _end_to_end(headers: Iterable[tuple[str, str]], drop: frozenset[str]) -> Headers:
    found = [(name.lower(), value) for name, value in headers]
    named = {
        each.strip().lower()
        for name, value in found
        if name == "connection"
        for each in value.split(",")
    }
    return [(name, value) for name, value in found if name not in _HOP | named | drop]


def to_upstream(headers: Headers, *, governed: bool, identity: str | None = None) -> Headers:
    """Return the headers of a request for the upstream. *identity* is the header in which a peer
    specifies the principal.
    """
    drop = _NOT_TO_UPSTREAM if identity is None else _NOT_TO_UPSTREAM | {identity}
    if governed:
        drop |= _OF_BODY | {"accept-encoding"}
    kept = [
        (name, value)
        for name, value in _end_to_end(headers, drop)
        if not name.startswith(("x-guardrail-", "x-forwarded-"))
    ]
    return [*kept, ("accept-encoding", "identity")] if governed else kept


def to_client(headers: Headers, *, same_body: bool) -> Headers:
    """Return the headers of a response to the client. If *same_body* is True, the headers that
    describe the bytes of the body are kept.
    """
    drop = _NOT_TO_CLIENT if same_body else _NOT_TO_CLIENT | _OF_BODY
    kept = _end_to_end(headers, drop)
    return [(name, value) for name, value in kept if not name.startswith("x-guardrail-")]
