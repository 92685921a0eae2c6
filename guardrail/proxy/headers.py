"""Selects the headers that the proxy passes on, in both directions. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl

__all__ = [
    "SESSION",
    "Headers",
    "as_json",
    "canonical_name",
    "credentials_in",
    "decoded",
    "to_client",
    "to_upstream",
]

Headers = list[tuple[str, str]]

SESSION = "x-guardrail-session"
"""The header that specifies the session of a request."""
_OWN = "x-guardrail-"
_OF_CALLER = "x-guardrail-token"
_SECRET = re.compile(r"auth|key|token|secret|cookie|cred|passw|signature|jwt|bearer|cert|assertion")
"""Matches a name whose value may identify a caller."""
_HARMLESS = re.compile(
    r"(?:accept|content|x-stainless|sec-ch|sec-fetch|openai-beta|x-b3|x-codex-turn)(?:-|\Z)"
    r"|(?:user-agent|connection|cache-control|pragma|priority|date|origin|baggage|traceparent"
    r"|tracestate|idempotency-key|http-referer|x-title|x-app|x-initiator|x-openai-subagent"
    r"|api-version|beta|anthropic-version|anthropic-beta)\Z"
    r"|(?:sec-gpc|sentry-trace"
    r"|x-datadog-(?:origin|parent-id|sampling-priority|tags|trace-id))\Z"
    r"|(?:.*-)?(?:request|trace|span|correlation|interaction|turn|call)-id\Z"
    r"|.*(?:-trace-context|traceparent|retry-count|attempt|timeout|timestamp)\Z"
)
"""Matches names of headers and query parameters that can differ between requests from one
caller.
"""

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
"""Headers that apply only to a single connection (RFC 9110, section 7.6.1)."""
_NOT_TO_UPSTREAM = frozenset(
    {
        "expect",
        "forwarded",
        "host",
        "referer",
        "via",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)
"""Headers that are not sent to the upstream. A referer can contain the secret of ``guardrail
run``. The last ones name another method or path than those that the proxy checked.
"""
_NOT_TO_CLIENT = frozenset({"alt-svc", "strict-transport-security", "server", "date"})
"""Headers that refer to other addresses of the upstream, or that the proxy's own server adds."""
_OF_BODY = frozenset({"content-length", "content-encoding"})


_OTHER_CHARACTERS = re.compile(r"[^a-z0-9]")


def canonical_name(name: str) -> str:
    """Return the name of a header in the one spelling that stands for all those that a server could
    take for the same: in lower case, with ``-`` for every character that is no letter or digit.
    CGI and its successors pass ``x_user`` and ``x-user`` to programs as the same variable.
    """
    return _OTHER_CHARACTERS.sub("-", name.lower())


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers as strings, with names in lower case."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]


def _end_to_end(headers: Iterable[tuple[str, str]], drop: frozenset[str]) -> Headers:
    """Return the headers without those of one connection and without those in *drop*, in whatever
    spelling. Headers of guardrail's own are never passed on.
    """
    found = [(name.lower(), canonical_name(name), value) for name, value in headers]
    named = {
        canonical_name(each.strip())
        for _, name, value in found
        if name == "connection"
        for each in value.split(",")
    }
    without = _HOP | named | {canonical_name(each) for each in drop}
    return [
        (sent, value)
        for sent, name, value in found
        if name not in without and not name.startswith(_OWN)
    ]


def to_upstream(
    headers: Headers, *, governed: bool, identity: frozenset[str] = frozenset()
) -> Headers:
    """Return the headers for a request to the upstream. *identity* are the headers that identify
    the caller to the proxy.
    """
    drop = _NOT_TO_UPSTREAM | identity
    if governed:
        drop |= _OF_BODY | {"accept-encoding"}
    kept = [
        (name, value)
        for name, value in _end_to_end(headers, drop)
        if not canonical_name(name).startswith("x-forwarded-")
    ]
    return [*kept, ("accept-encoding", "identity")] if governed else kept


def as_json(headers: Headers) -> Headers:
    """Return the *headers* of a request whose body the proxy has read as JSON in UTF-8, so that the
    upstream does not read it as another type or in another encoding.
    """
    kept = [each for each in headers if each[0] != "content-type"]
    return [*kept, ("content-type", "application/json")]


def credentials_in(
    headers: Headers, query: str, identity: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Yield the parts of a request that may identify its caller to the upstream or to the proxy:
    every header that is passed on and every query parameter, except those that are known to be
    harmless. Their order depends only on the parts themselves. *identity* has the same meaning as
    in ``to_upstream``.
    """
    passed = to_upstream(headers, governed=True, identity=identity)
    own = [each for each in headers if each[0] == _OF_CALLER]
    for kind, pairs in (("header", [*passed, *own]), ("query", parse_qsl(query, True))):
        for name, value in sorted(pairs):
            lower = name.lower()
            secret = lower != "idempotency-key" and _SECRET.search(lower) is not None
            if secret or _HARMLESS.match(lower) is None:
                yield repr((kind, name, value))


def to_client(headers: Headers, *, same_body: bool) -> Headers:
    """Return the headers for a response to the client. If *same_body* is True, the headers that
    describe the bytes of the body are kept.
    """
    drop = _NOT_TO_CLIENT if same_body else _NOT_TO_CLIENT | _OF_BODY
    return _end_to_end(headers, drop)
