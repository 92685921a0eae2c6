"""Only end-to-end headers pass, and none of the proxy's own."""

from __future__ import annotations

from guardrail.proxy.headers import to_client, to_upstream

OWN = [
    ("Host", "proxy.example"),
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Transfer-Encoding", "chunked"),
    ("TE", "trailers"),
    ("Upgrade", "h2c"),
    ("Proxy-Authorization", "Basic x"),
    ("X-Guardrail-Session", "s1"),
    ("X-Guardrail-Token", "t"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("Forwarded", "for=10.0.0.1"),
    ("X-User", "alice"),
    ("Referer", "http://127.0.0.1:1/secret/v1"),
]
PASSED = [("authorization", "Bearer key"), ("openai-organization", "o"), ("cookie", "c=1")]


def test_a_request_passes_without_the_headers_of_its_own_connection() -> None:
    """An upstream learns the callers' keys, and nothing about the callers."""
    headers = [*OWN, *PASSED, ("content-length", "7"), ("accept-encoding", "br, gzip")]
    passed = to_upstream(headers, governed=False, identity="x-user")
    assert passed == [*PASSED, ("content-length", "7"), ("accept-encoding", "br, gzip")]
    governed = to_upstream(headers, governed=True, identity="x-user")
    assert governed == [*PASSED, ("accept-encoding", "identity")]


def test_an_answer_passes_without_headers_about_a_body_that_was_changed() -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("Retry-After", "7"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "9"),
        ("Content-Encoding", "gzip"),
        ("Connection", "close"),
        ("Alt-Svc", "h3=:443"),
        ("Strict-Transport-Security", "max-age=1"),
        ("X-Guardrail-Session", "s1"),
    ]
    kept = [
        ("content-type", "application/json"),
        ("retry-after", "7"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]
    assert to_client(headers, same_body=False) == kept
    assert to_client(headers, same_body=True) == [
        *kept,
        ("content-length", "9"),
        ("content-encoding", "gzip"),
    ]
