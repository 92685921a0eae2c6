"""Only end-to-end headers pass, and none of the proxy's own."""

from __future__ import annotations

import httpx2
import pytest

from guardrail.proxy.headers import to_client, to_upstream
from guardrail.proxy.sessions import credential_digest
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.proxies import proxied

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
    ("X-HTTP-Method-Override", "GET"),
    ("X-Original-URL", "/v1/responses/resp_1"),
]
PASSED = [("authorization", "Bearer key"), ("openai-organization", "o"), ("cookie", "c=1")]


def test_a_request_passes_without_the_headers_of_its_own_connection() -> None:
    """An upstream learns the callers' keys, and nothing about the callers."""
    headers = [*OWN, *PASSED, ("content-length", "7"), ("accept-encoding", "br, gzip")]
    passed = to_upstream(headers, governed=False, identity=frozenset({"x-user"}))
    assert passed == [*PASSED, ("content-length", "7"), ("accept-encoding", "br, gzip")]
    governed = to_upstream(headers, governed=True, identity=frozenset({"x-user"}))
    assert governed == [*PASSED, ("accept-encoding", "identity")]


@pytest.mark.parametrize("governed", [True, False])
def test_no_spelling_of_a_header_that_stays_here_passes(governed: bool) -> None:
    """Servers pass ``x_user`` and ``x-user`` to programs as the same variable."""
    stays = [each for each in OWN if each[0] != "X-Hop"]
    for mark in "_.!~":
        spelled = [(name.replace("-", mark), value) for name, value in stays]
        passed = to_upstream([*spelled, *PASSED], governed=governed, identity=frozenset({"x-user"}))
        kept = {name for name, _ in passed} - {"accept-encoding"}
        assert kept == {name for name, _ in PASSED}
    assert to_client([("X_Guardrail_Session", "s1")], same_body=True) == []


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


SECRETS = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "cookie",
    "x-auth",
    "ocp-apim-subscription-key",
    "x-portkey-api-key",
    "helicone-auth",
    "x-amz-security-token",
    "openai-organization",
    "chatgpt-account-id",
    "x-guardrail-token",
    "x-user-token-trace",
    "anthropic-auth-token",
    "x-new-in-2027",
    "cf-access-client-secret",
    "x-client-cert",
    "content-key",
    "x-user-context",
    "x-account-trace",
    "sec-tenant",
    "x-datadog-tenant",
]
HARMLESS = [
    "user-agent",
    "accept",
    "content-type",
    "content-length",
    "x-stainless-retry-count",
    "traceparent",
    "x-request-id",
    "x-client-request-id",
    "idempotency-key",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "x-amzn-trace-id",
    "sentry-trace",
    "x-cloud-trace-context",
    "x-datadog-trace-id",
    "sec-ch-ua-mobile",
    "x-codex-turn-metadata",
    "x-guardrail-session",
    "referer",
    "x-forwarded-for",
    "host",
    "x-litellm-call-id",
    "sec-fetch-mode",
    "x-user",
]


def digest(*headers: tuple[str, str], query: str = "") -> str:
    return credential_digest(
        [("authorization", "Bearer a"), *headers], query, frozenset({"x-user"})
    )


@pytest.mark.parametrize("name", SECRETS)
def test_every_header_that_may_carry_a_credential_tells_callers_apart(name: str) -> None:
    found = {digest(), digest((name, "a")), digest((name, "b")), digest((name, "ab"))}
    assert len(found) == 4
    assert digest((name, "a"), ("x", "1")) == digest(("x", "1"), (name, "a"))


@pytest.mark.parametrize("name", HARMLESS)
def test_headers_that_differ_between_requests_belong_to_no_credential(name: str) -> None:
    assert digest((name, "a")) == digest((name, "b")) == digest()


def test_a_key_in_the_query_is_a_credential() -> None:
    assert len({digest(query=each) for each in ("", "key=a", "key=b", "KEY=a", "sig=a")}) == 5
    assert digest(query="api-version=1&beta=true") == digest()
    assert digest(query="key=a&x=1") == digest(query="x=1&key=a")


def test_the_parts_of_two_credentials_can_not_be_moved() -> None:
    moved = "a&x-key2=b"
    assert digest(query="x-key=a%26x-key2%3Db") != digest(query=f"x-key={moved}")
    assert digest(("x-key", "a\nheader\ny-key\nb")) != digest(("x-key", "a"), ("y-key", "b"))
    assert digest(("x-key", "")) != digest()


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_the_upstream_reads_the_body_as_the_proxy_did(bench: Bench, path: str) -> None:
    """Another type or encoding of the same bytes could have other fields."""
    with ModelServer([Turn("x")]) as api, proxied(bench.guard, api.openai) as proxy:
        headers = {"content-type": "application/json; charset=utf-7"}
        httpx2.post(f"{proxy.url}/v1/{path}", content='{"model": "m"}', headers=headers)
    (received,) = api.requests
    assert received.header("content-type") == "application/json"
