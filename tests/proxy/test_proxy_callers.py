"""Who a request is from: a peer's header, the user of a loopback caller, a token, or nobody."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.config import ProxySettings
from guardrail.core.types import Assurance
from guardrail.errors import ConfigError, IdentityError
from guardrail.proxy.callers import CallerIdentity
from guardrail.system.asgi_rules import Scope
from guardrail.system.os_user import user_name
from tests.support.http_listener import EchoApp, connect, head, listening, read_all

PEER = ProxySettings(peers=("10.0.0.7", "::1"), identity_header="X-User")
PLAIN = CallerIdentity(ProxySettings())


def request(client: str, *names: bytes, caller: str | None = None) -> Scope:
    """A request from the address *client*, which names the caller in x-user."""
    state = {} if caller is None else {"guardrail.caller": caller}
    headers = [(b"x-user", name) for name in names]
    return {
        "client": (client, 5000),
        "server": ("10.0.0.1", 443),
        "headers": headers,
        "state": state,
    }


@pytest.mark.parametrize("client", ["10.0.0.7", "::ffff:10.0.0.7", "::1"])
def test_the_header_of_a_configured_peer_names_the_caller(client: str) -> None:
    found = (
        CallerIdentity(PEER).identify(request(client, "al\u00efce@example.com".encode())).principal
    )
    assert (found.id, found.method) == ("al\u00efce@example.com", "peer_header")
    assert found.assurance is Assurance.ASSERTED


def test_a_peer_that_names_nobody_calls_for_nobody() -> None:
    """Its own user and token say who runs the peer."""
    found = CallerIdentity(PEER).identify(request("::1", caller="nginx"))
    assert (found.principal.assurance, found.agent) == (Assurance.ABSENT, None)


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([b"alice", b"alice"], "identity.several"),
        ([b"alice", b"bob"], "identity.several"),
        ([b""], "identity.length"),
        ([b"a" * 513], "identity.length"),
        ([b"al\x00ice"], "identity.characters"),
        ([b"alice\x7f"], "identity.characters"),
        (["al\u202eice".encode()], "identity.characters"),
        ([b"\xff"], "identity.characters"),
    ],
)
def test_a_hostile_header_is_refused(names: list[bytes], code: str) -> None:
    with pytest.raises(IdentityError) as wrong:
        CallerIdentity(PEER).identify(request("10.0.0.7", *names))
    assert wrong.value.code == code


@pytest.mark.parametrize("client", ["10.0.0.8", "127.0.0.1"])
def test_nobody_else_may_name_the_caller(client: str) -> None:
    with pytest.raises(IdentityError) as wrong:
        CallerIdentity(PEER).identify(request(client, b"root", caller="ci"))
    assert wrong.value.code == "identity.peer"
    # Without the setting, the header has no meaning.
    assert PLAIN.identify(request("10.0.0.8", b"root", caller="ci")).principal.id == "ci"


@pytest.mark.parametrize("client", [None, ("", 0), ("/run/guardrail.sock", 0), ("unix:", 0)])
def test_a_client_of_a_unix_socket_is_no_peer(client: Any) -> None:
    """Other servers than guardrail's can have one: the client has no address, or a path as one."""
    scope = {**request("::1"), "client": client}
    assert CallerIdentity(PEER).identify(scope).principal.assurance is Assurance.ABSENT
    with pytest.raises(IdentityError) as wrong:
        CallerIdentity(PEER).identify({**request("::1", b"root"), "client": client})
    assert wrong.value.code == "identity.peer"


def test_a_remote_caller_is_named_by_its_token_or_not_at_all() -> None:
    identity = PLAIN.identify(request("10.0.0.8", caller="ci"))
    found = identity.principal
    assert (found.id, found.method, found.assurance) == ("ci", "token", Assurance.ASSERTED)
    assert identity.agent is None
    assert identity.program is not None
    assert identity.program.id == "ci"
    assert PLAIN.identify(request("10.0.0.8")).principal.assurance is Assurance.ABSENT


def test_a_loopback_caller_is_the_user_who_runs_it() -> None:
    app = EchoApp()
    found: list[Any] = []

    async def asking(scope: Scope, receive: Any, send: Any) -> None:
        found.append(PLAIN.identify(scope).principal)
        await app(scope, receive, send)

    with listening(asking) as listener, connect(listener) as sock:
        sock.sendall(head(listener, "GET / HTTP/1.1"))
        sock.recv(65536)
        sock.sendall(head(listener, "GET / HTTP/1.1", "Connection: close"))
        read_all(sock)
    assert [(each.id, each.method) for each in found] == [(user_name(), "os_user")] * 2
    assert found[0].assurance is Assurance.ASSERTED


@pytest.mark.parametrize(
    "settings",
    [
        {"peers": ("10.0.0.7",)},
        {"identity_header": "x-user"},
        {"peers": ("10.0.0.7",), "identity_header": "Authorization"},
        {"peers": ("10.0.0.7",), "identity_header": "x user"},
        {"peers": ("proxy.example.com",), "identity_header": "x-user"},
        {"peers": ("/run/proxy.sock",), "identity_header": "x-user"},
        {"peers": ("10.0.0.0/8",), "identity_header": "x-user"},
    ],
)
def test_settings_that_would_believe_anybody_or_nobody_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigError) as wrong:
        CallerIdentity(ProxySettings(**settings))
    assert wrong.value.code in {"config.identity_header", "config.peers"}
    assert wrong.value.hint
