"""The rules of every HTTP server, as values: addresses, hosts, origins, framing and sizes."""

from __future__ import annotations

import pytest

from guardrail.errors import ConfigError
from guardrail.system.listener import (
    ListenAddress,
    ListenerRules,
    check_binding,
    host_names,
    refusal_of,
)

LOOPBACK = ListenAddress.parse("127.0.0.1:8290")
RULES = ListenerRules(address=LOOPBACK, max_body=1000)
HOST = (b"host", b"127.0.0.1:8290")


def refused(*headers: tuple[bytes, bytes], rules: ListenerRules = RULES) -> str | None:
    """The rule that refuses a request with these headers."""
    found = refusal_of(b"/v1/models", headers, rules)
    return None if found is None else f"{found.status} {found.code}"


def test_an_address_is_an_ip_address_and_a_port() -> None:
    assert ListenAddress.parse("[::1]:0") == ListenAddress("::1", 0)
    assert str(ListenAddress.parse("[::1]:80")) == "[::1]:80"
    assert ListenAddress.parse("localhost:9") == ListenAddress("127.0.0.1", 9)
    for text in ("", "8290", "127.0.0.1", "example.com:80", "1.2.3.4:65536", "1.2.3.4:-1", ":80"):
        with pytest.raises(ConfigError) as wrong:
            ListenAddress.parse(text)
        assert wrong.value.code == "listener.address"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"])
def test_a_loopback_address_needs_nothing(address: str) -> None:
    check_binding(ListenAddress.parse(address), tls=False, authenticated=False)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[2001:db8::1]:1"])
def test_any_other_address_needs_tls_and_callers_that_are_known(address: str) -> None:
    at = ListenAddress.parse(address)
    check_binding(at, tls=True, authenticated=True)
    for tls, authenticated, code in (
        (False, True, "listener.tls_required"),
        (False, False, "listener.tls_required"),
        (True, False, "listener.callers_required"),
    ):
        with pytest.raises(ConfigError) as wrong:
            check_binding(at, tls=tls, authenticated=authenticated)
        assert wrong.value.code == code
        assert wrong.value.hint


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8290", "localhost:8290", "LocalHost:8290", "[::1]:8290"]
)
def test_loopback_names_with_the_port_are_accepted(host: str) -> None:
    assert refused((b"host", host.encode())) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8290",
        "localhost",
        "localhost:80",
        "localhost:8291",
        "localhost.evil.example:8290",
        "127.0.0.1.evil.example:8290",
        "10.0.0.1:8290",
        "0.0.0.0:8290",
        "[::ffff:10.0.0.1]:8290",
        "user@localhost:8290",
        "localhost:8290/",
        "localhost:8290 ",
        " localhost:8290",
        "localhost:082900",
        "[::1:8290",
        "",
        "\u00b2localhost:8290",
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    """A web page could otherwise give this machine another name (DNS rebinding)."""
    assert refused((b"host", host.encode("latin-1"))) == "421 host"


def test_a_host_is_named_once() -> None:
    assert refused() == "400 host"
    assert refused(HOST, HOST) == "400 host"


def test_configured_hosts_are_accepted_with_any_port_or_with_one() -> None:
    rules = ListenerRules(
        address=ListenAddress.parse("10.0.0.1:443"), hosts=host_names(["A.example", "b.example:1"])
    )
    for host in (b"a.example", b"a.EXAMPLE:99", b"b.example:1", b"10.0.0.1", b"10.0.0.1:443"):
        assert refused((b"host", host), rules=rules) is None, host
    for host in (b"b.example", b"b.example:2", b"localhost:443", b"127.0.0.1:443", b"10.0.0.1:1"):
        assert refused((b"host", host), rules=rules) == "421 host", host
    wild = ListenerRules(address=ListenAddress.parse("0.0.0.0:443"))
    for host in (b"0.0.0.0:443", b"127.0.0.1:443", b"localhost:443"):
        assert refused((b"host", host), rules=wild) == "421 host", host
    for name in ("http://a.example", "a.example/", "a b", "", "*", "a.example:"):
        with pytest.raises(ConfigError) as wrong:
            host_names([name])
        assert wrong.value.code == "listener.hosts"


def test_web_pages_of_other_origins_are_refused() -> None:
    rules = ListenerRules(address=LOOPBACK, origins=frozenset({"https://chat.example"}))
    listed = (b"origin", b"https://chat.example")
    assert refused(HOST, listed, rules=rules) is None
    assert refused(HOST, listed, (b"sec-fetch-site", b"cross-site"), rules=rules) is None
    for other in (
        b"null",
        b"https://evil.example",
        b"https://chat.example:444",
        b"http://chat.example",
        b"",
    ):
        assert refused(HOST, (b"origin", other), rules=rules) == "403 origin"
        assert refused(HOST, listed, (b"origin", other), rules=rules) == "403 origin"
    assert refused(HOST, listed) == "403 origin"
    assert refused(HOST, (b"sec-fetch-site", b"cross-site")) == "403 origin"
    assert refused(HOST, (b"sec-fetch-site", b"none")) is None


def test_a_body_whose_end_two_servers_could_see_differently_is_refused() -> None:
    length, chunked = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
    assert refused(HOST, length) is None
    assert refused(HOST, chunked) is None
    for pair in ((length, chunked), (length, length), (chunked, chunked)):
        assert refused(HOST, *pair) == "400 framing"
    for wrong in (b"-1", b"+5", b"5, 5", b"0x5", b"", b"5 "):
        assert refused(HOST, (b"content-length", wrong)) == "400 framing"


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    assert refused(HOST, (b"content-length", b"1000")) is None
    assert refused(HOST, (b"content-length", b"1001")) == "413 body"
    assert refused(HOST, (b"content-length", b"9" * 5000)) == "413 body"
    assert refused(HOST, *[(b"a", b"b")] * 127) is None
    assert refused(HOST, *[(b"a", b"b")] * 128) == "431 headers"
    assert refused(HOST, (b"a", b"b" * 40_000)) == "431 headers"
    found = refusal_of(b"/" + b"a" * 9000, [HOST], RULES)
    assert found is not None
    assert found.status == 414


@pytest.mark.parametrize("target", [b"http://evil.example/", b"*", b"", b"evil.example:80"])
def test_a_request_names_a_path(target: bytes) -> None:
    found = refusal_of(target, [HOST], RULES)
    assert found is not None
    assert (found.status, found.code) == (400, "target")


@pytest.mark.parametrize("value", [b"a\x01b", b"a\x00", b"\x7f", b"a\nb"])
def test_a_header_with_a_control_character_is_refused(value: bytes) -> None:
    """RFC 9110, section 5.5: only a tab may be inside a value."""
    assert refused(HOST, (b"x-a", value)) == "400 headers"
    assert refused(HOST, (b"x-a", b"a\tb\xe9")) is None


def test_compressed_bodies_and_websockets_are_refused() -> None:
    for coding in (b"gzip", b"zstd", b"identity, gzip", b"br", b"GZIP"):
        assert refused(HOST, (b"content-encoding", coding)) == "415 encoding"
    assert refused(HOST, (b"content-encoding", b"Identity")) is None
    for upgrade in (b"websocket", b"WebSocket", b"h2c, websocket"):
        assert refused(HOST, (b"upgrade", upgrade)) == "404 upgrade"
    assert refused(HOST, (b"upgrade", b"h2c")) is None


def test_no_refusal_quotes_the_request() -> None:
    """A log or a page that shows it can't be given text by a stranger."""
    mark = b"sk-very-secret"
    for headers in (
        [(b"host", mark)],
        [HOST, (b"origin", mark)],
        [HOST, (b"content-length", mark)],
    ):
        found = refusal_of(b"/", headers, RULES)
        assert found is not None
        assert "secret" not in found.message
