"""The HTTP client against real servers on sockets: one whole reply before the deadline, or an error
that says why not.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from guardrail.system.http import (
    Endpoint,
    HttpConnection,
    HttpReply,
    RequestStage,
    TransportCause,
    TransportError,
    tls_context,
)
from guardrail.system.http_reply import read_reply
from tests.support.opa_server import Certificates, certificates

SHORT = 2.0
"""A deadline that a server which stalls will miss."""
LONG = 60.0
"""One that no reply in these tests needs."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
GZIP = OK.replace(b"text/plain", b"x\r\nContent-Encoding: gzip")
LONG_HEADER = b"A: " + b"x" * 60_000 + b"\r\n"

Act = Callable[[socket.socket], None]
"""What a server does with a request that it has read."""


def says(raw: bytes) -> Act:
    """Send *raw*, and keep the connection open."""
    return lambda sock: sock.sendall(raw)


def ends(raw: bytes) -> Act:
    """Send *raw*, and close in order."""

    def act(sock: socket.socket) -> None:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_RDWR)

    return act


def resets(raw: bytes) -> Act:
    """Send *raw*, and break the connection off."""

    def act(sock: socket.socket) -> None:
        sock.sendall(raw)
        if raw:
            # The client reads this before the reset throws it away.
            time.sleep(0.3)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(sock.detach())

    return act


def drips(raw: bytes) -> Act:
    """Send *raw* in single bytes."""

    def act(sock: socket.socket) -> None:
        for index in range(len(raw)):
            sock.sendall(raw[index : index + 1])
            time.sleep(0.05)

    return act


class Server:
    """Answers each request with ``act``, and keeps what it was sent."""

    def __init__(self, act: Act, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.act = act
        self.listener = listener
        self.tls = tls
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        found: int = self.listener.getsockname()[1]
        return found

    def endpoint(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Endpoint:
        return Endpoint(host, self.port, tls=tls)

    def close(self) -> None:
        self.listener.close()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            stream = sock.makefile("rb")
            while request := _request(stream):
                self.requests.append(request)
                self.act(sock)
        except (OSError, ValueError):
            pass
        finally:
            sock.close()


def _request(stream) -> bytes:  # type: ignore[no-untyped-def]
    head, length = b"", 0
    while line := stream.readline():
        head += line
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        if line == b"\r\n":
            break
    return head + stream.read(length)


@contextmanager
def serving(
    act: Act = says(OK),  # noqa: B008 - a constant
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """Run a server."""
    server = Server(act, socket.create_server((host, port)), tls)
    try:
        yield server
    finally:
        server.close()


def ask(
    connection: HttpConnection | Endpoint,
    body: bytes = b"",
    *,
    seconds: float = LONG,
    limit: int = 1000,
    path: str = "/",
) -> HttpReply:
    """Ask, on a connection for this request alone unless one is given."""
    given = isinstance(connection, HttpConnection)
    used = connection if isinstance(connection, HttpConnection) else HttpConnection(connection)
    try:
        return used.ask(
            "POST" if body else "GET",
            path,
            body,
            end=time.monotonic() + seconds,
            limit=limit,
        )
    finally:
        if not given:
            used.close()


def failure(
    connection: HttpConnection | Endpoint, body: bytes = b"", *, seconds: float = LONG
) -> tuple[str, str, str]:
    """Return cause, detail and stage of a request that gets no reply."""
    with pytest.raises(TransportError) as caught:
        ask(connection, body, seconds=seconds)
    assert str(caught.value) == f"the server {caught.value.message}"
    return caught.value.cause.value, caught.value.detail, caught.value.stage.value


# -- what is sent, and what comes back ------------------------------------------------------------


def test_a_request_holds_its_headers_and_those_that_every_request_has() -> None:
    """And asks for no compression, and for no connection to be kept unless it is used again."""
    with serving() as server:
        single = HttpConnection(server.endpoint(), headers={"A": "b"})
        reply = single.ask(
            "POST", "/a?b=c", b"body", end=time.monotonic() + LONG, limit=10, authorization="C d"
        )
        kept = HttpConnection(server.endpoint(), keep=True)
        ask(kept)
        kept.close()
        host = f"Host: 127.0.0.1:{server.port}"
    assert (reply.status, reply.reason, reply.body) == (200, "OK", b"ok")
    assert reply.content_type == "text/plain"
    every = f"{host}\r\nUser-Agent: guardrail\r\nAccept-Encoding: identity\r\n"
    more = "Authorization: C d\r\nContent-Length: 4\r\n"
    assert [each.decode() for each in server.requests] == [
        f"POST /a?b=c HTTP/1.1\r\n{every}A: b\r\nConnection: close\r\n{more}\r\nbody",
        f"GET / HTTP/1.1\r\n{every}\r\n",
    ]


@pytest.mark.parametrize(
    ("host", "port", "tls", "authority"),
    [
        ("example.com", 80, False, "example.com"),
        ("example.com", 443, False, "example.com:443"),
        ("example.com", 443, True, "example.com"),
        ("::1", 8181, False, "[::1]:8181"),
    ],
)
def test_the_host_is_named_with_its_port_unless_that_is_the_usual_one(
    host: str, port: int, tls: bool, authority: str
) -> None:
    """As RFC 9110 section 7.2 says."""
    context = tls_context(None) if tls else None
    assert Endpoint(host, port, tls=context).authority == authority


@pytest.mark.parametrize("path", ["/a b", "/a\r\nB: c", "/a\nB: c", "/\u00e9", "/\x00"])
def test_a_path_or_header_that_would_become_another_line_is_not_sent(path: str) -> None:
    """It is a fault of the program that asks, and not the server's."""
    with serving() as server:
        endpoint = server.endpoint()
        with pytest.raises(ValueError, match=r"line of a request|ascii|space"):
            ask(endpoint, path=path)
        with pytest.raises(ValueError, match=r"line of a request"):
            HttpConnection(endpoint, headers={"A": path + "\n"})
        with pytest.raises(ValueError, match=r"line of a request"):
            HttpConnection(endpoint).ask(
                "GET", "/", end=time.monotonic() + LONG, limit=1, authorization=path + "\r"
            )
        assert server.connections == 0


@pytest.mark.parametrize("status", ["302 Found", "301 Moved Permanently", "307 Temporary Redirect"])
def test_a_redirect_is_a_reply_and_is_not_followed(status: str) -> None:
    """The adapter decides; the body of a request goes to nobody else."""
    with serving() as other:
        head = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{other.port}/\r\n"
        with serving(says(head.encode() + b"Content-Length: 0\r\n\r\n")) as server:
            assert ask(server.endpoint(), b"secret").status == int(status[:3])
        assert other.connections == 0


def test_proxies_and_netrc_of_the_environment_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go where the settings say, and carry nothing that the settings do not name."""
    (tmp_path / ".netrc").write_text("default login somebody password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving() as server:
        assert ask(server.endpoint()).body == b"ok"
    assert b"Authorization" not in server.requests[0]


def test_a_unix_socket_is_asked_like_any_server(tmp_path: Path) -> None:
    """Under the name localhost; and a path where nobody listens is refused."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    server = Server(says(OK), listener, None)
    try:
        endpoint = Endpoint.unix(str(path))
        assert not endpoint.is_name
        assert ask(endpoint).body == b"ok"
        assert b"\r\nHost: localhost\r\n" in server.requests[0]
    finally:
        server.close()
    assert failure(Endpoint.unix(str(tmp_path / "gone"))) == ("unreachable", "connect", "connect")


# -- connections that are kept --------------------------------------------------------------------


def test_a_kept_connection_serves_many_requests() -> None:
    """And one that is not kept serves one."""
    with serving() as server:
        kept, single = (
            HttpConnection(server.endpoint(), keep=True),
            HttpConnection(server.endpoint()),
        )
        for _ in range(3):
            ask(kept)
        assert server.connections == 1
        for _ in range(3):
            ask(single)
        assert server.connections == 4
        kept.close()
        kept.close()
        ask(kept)
        assert server.connections == 5
        kept.close()


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"H",
        OK + OK,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        OK.replace(b"200 OK", b"404 No"),
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_a_reply_that_leaves_doubt_where_it_ended_ends_its_connection(raw: bytes) -> None:
    """What follows could be taken for the next answer."""
    with serving(says(raw)) as server:
        kept = HttpConnection(server.endpoint(), keep=True)
        for count in (1, 2, 3):
            assert ask(kept).body == b"ok"
            assert server.connections == count
        kept.close()


def test_a_reply_that_nobody_asked_for_is_never_an_answer() -> None:
    """It comes on a kept connection after the answer, and the next request gets a connection of its
    own.
    """
    go, late = threading.Event(), threading.Event()

    def act(sock: socket.socket) -> None:
        sock.sendall(OK)
        if not late.is_set():
            go.wait(LONG)
            sock.sendall(OK.replace(b"ok", b"no"))
            late.set()

    with serving(act) as server:
        kept = HttpConnection(server.endpoint(), keep=True)
        assert ask(kept).body == b"ok"
        go.set()
        assert late.wait(LONG)
        assert ask(kept).body == b"ok"
        assert server.connections == 2
        kept.close()


def test_only_a_request_that_a_kept_connection_lost_is_sent_again() -> None:
    """Once, and only if not a byte of its reply came."""
    with serving() as server:
        kept = HttpConnection(server.endpoint(), keep=True)
        ask(kept)
        acts = iter([ends(b""), says(OK)])
        server.act = lambda sock: next(acts)(sock)
        assert ask(kept).body == b"ok"
        assert (len(server.requests), server.connections) == (3, 2)
        server.act = ends(b"")
        assert failure(kept) == ("unreachable", "disconnected", "reply")
        assert len(server.requests) == 5
        assert failure(kept) == ("unreachable", "disconnected", "reply")
        assert len(server.requests) == 6
        server.act = says(OK)
        ask(kept)
        server.act = ends(OK[:-1])
        assert failure(kept) == ("malformed", "truncated", "reply")
        assert len(server.requests) == 8


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "expected", "reason"),
    [
        (ends(b""), ("unreachable", "disconnected", "reply"), ""),
        (resets(b""), ("unreachable", "disconnected", "reply"), "Connection reset by peer"),
        (ends(OK[:9]), ("malformed", "truncated", "reply"), ""),
        (resets(OK[:9]), ("malformed", "truncated", "reply"), "Connection reset by peer"),
        (says(b"220 mail ESMTP\r\n"), ("malformed", "http", "reply"), ""),
        (says(OK.replace(b": 2", b": 1001")), ("malformed", "too_large", "reply"), ""),
        (says(OK.replace(b": 2", b": +2")), ("malformed", "length", "reply"), ""),
        (says(GZIP), ("malformed", "encoding", "reply"), ""),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), ("malformed", "interim", "reply"), ""),
        (says(b"HTTP/1.1 200 OK\r\n" + LONG_HEADER * 2), ("malformed", "too_large", "reply"), ""),
    ],
)  # fmt: skip
def test_whatever_a_server_does_the_request_fails_with_a_cause(
    act: Act, expected: tuple[str, str, str], reason: str
) -> None:
    """And the system's own words are kept apart, for the adapter to show."""
    with serving(act) as server, pytest.raises(TransportError) as caught:
        ask(server.endpoint())
    error = caught.value
    assert (error.cause, error.detail, error.stage) == expected
    assert error.reason == reason


@pytest.mark.parametrize("act", [lambda _: time.sleep(LONG), drips(OK * 20)])
def test_a_server_that_hangs_or_drips_is_left_at_the_deadline(act: Act) -> None:
    """The deadline is over everything, and not over each read."""
    with serving(act) as server:
        began = time.monotonic()
        assert failure(server.endpoint(), seconds=SHORT) == ("timeout", "reply", "reply")
        assert time.monotonic() - began < LONG / 2


def test_a_reply_whose_end_comes_after_the_deadline_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although the last read began in time."""

    def read_late(receive: Callable[[int], bytes], *, limit: int, budget: int) -> HttpReply:
        reply = read_reply(receive, limit=limit, budget=budget)
        time.sleep(SHORT)
        return reply

    with serving(says(OK)) as server:
        assert ask(server.endpoint()).body == b"ok"
        monkeypatch.setattr("guardrail.system.http.read_reply", read_late)
        assert failure(server.endpoint(), seconds=SHORT) == ("timeout", "reply", "reply")


def test_a_server_that_does_not_read_is_left_at_the_deadline() -> None:
    """The request is larger than any buffer on the way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1])
        assert failure(endpoint, b"x" * (64 << 20), seconds=3) == ("timeout", "send", "send")


def test_a_deadline_that_is_over_lets_nothing_begin() -> None:
    """Not even a connection."""
    with serving() as server:
        assert failure(server.endpoint(), seconds=0) == ("timeout", "connect", "connect")
        with pytest.raises(TransportError) as caught:
            server.endpoint("server.example").look_up(time.monotonic())
        assert (caught.value.cause, caught.value.stage) == ("timeout", RequestStage.NAME)
        assert server.connections == 0


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    """With the system's words."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(TransportError) as caught:
        ask(Endpoint("127.0.0.1", port))
    assert caught.value.cause is TransportCause.UNREACHABLE
    assert (caught.value.stage, caught.value.reason) == (RequestStage.CONNECT, "Connection refused")


def test_a_process_that_can_open_no_more_files_gets_the_same_error() -> None:
    """An operating system that gives no socket is one more reason why a server can't be reached."""
    program = (
        "import resource, time\n"
        "from guardrail.system.http import Endpoint, HttpConnection, TransportError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try:\n"
        "    connection = HttpConnection(Endpoint('127.0.0.1', 1))\n"
        "    connection.ask('GET', '/', end=time.monotonic() + 60, limit=1)\n"
        "except TransportError as error:\n"
        "    print(error.detail, error.reason, sep=': ')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "connect: Too many open files\n", done.stderr


# -- names ----------------------------------------------------------------------------------------


def resolving(monkeypatch: pytest.MonkeyPatch, port: int, *hosts: str) -> None:
    """Let the system's resolver find *hosts*."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_an_address_and_localhost_are_never_looked_up(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver could lead them anywhere."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("asked"))
    endpoint = Endpoint(host, 1)
    endpoint.look_up(time.monotonic() + LONG)
    assert {where[0] for _, where in endpoint.addresses} <= {"127.0.0.1", "::1"}  # type: ignore[index]
    assert endpoint.addresses


def test_a_name_has_no_addresses_before_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request looks nothing up: the resolver has no deadline, and the caller knows when there is
    time for it.
    """
    with serving() as server:
        endpoint = server.endpoint("server.example")
        assert failure(endpoint) == ("unreachable", "name", "name")
        resolving(monkeypatch, server.port, "127.0.0.1")
        endpoint.look_up(time.monotonic() + LONG)
        assert ask(endpoint).body == b"ok"
        resolving(monkeypatch, server.port)
        with pytest.raises(TransportError) as caught:
            endpoint.look_up(time.monotonic() + LONG)
        assert (caught.value.detail, caught.value.reason) == ("name", "no address")


def test_a_look_up_that_fails_or_hangs_keeps_the_addresses_that_were_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends by its deadline, and one thread at a time hangs in the resolver."""
    endpoint = Endpoint("server.example", 80)
    resolving(monkeypatch, 80, "127.0.0.1")
    endpoint.look_up(time.monotonic() + LONG)
    known = endpoint.addresses
    go = threading.Event()
    asked: list[str] = []

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        go.wait(LONG)
        raise UnicodeError("label too long")

    monkeypatch.setattr("socket.getaddrinfo", hang)
    for _ in range(3):
        with pytest.raises(TransportError) as caught:
            endpoint.look_up(time.monotonic() + 0.1)
        assert (caught.value.cause, caught.value.detail) == ("timeout", "name")
    assert asked == ["server.example"]
    go.set()
    with pytest.raises(TransportError) as caught:
        endpoint.look_up(time.monotonic() + LONG)
    assert (caught.value.cause, caught.value.reason) == ("unreachable", "no address")
    assert endpoint.addresses == known


def test_the_addresses_of_a_name_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One where nobody listens does not keep from the next."""
    with serving() as server:
        resolving(monkeypatch, server.port, "127.0.0.2", "127.0.0.1")
        endpoint = server.endpoint("server.example")
        endpoint.look_up(time.monotonic() + LONG)
        assert ask(endpoint).body == b"ok"


# -- TLS ------------------------------------------------------------------------------------------


def server_context(made: Certificates) -> ssl.SSLContext:
    """Return the TLS settings of a server that shows the certificate of *made*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    return context


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls") / "made")


def test_a_server_shows_a_certificate_of_the_authority_and_of_its_name(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another authority's will do, nor another name's; not a byte of the request is
    sent.
    """
    other = certificates(tmp_path / "other")
    with serving(tls=server_context(made)) as server:
        assert ask(server.endpoint(tls=tls_context(made.ca))).body == b"ok"
        resolving(monkeypatch, server.port, "127.0.0.1")
        for host, ca in (("127.0.0.1", other.ca), ("server.example", made.ca), ("127.0.0.1", None)):
            endpoint = server.endpoint(host, tls=tls_context(ca))
            endpoint.look_up(time.monotonic() + LONG)
            assert failure(endpoint) == ("unreachable", "certificate", "tls")
        assert len(server.requests) == 1


def test_a_client_shows_its_certificate(made: Certificates) -> None:
    """To a server that wants one; without it there is no reply."""
    context = server_context(made)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(made.ca)
    with serving(tls=context) as server:
        assert ask(server.endpoint(tls=tls_context(made.ca, made.cert, made.key))).body == b"ok"
        cause, detail, _ = failure(server.endpoint(tls=tls_context(made.ca)))
        assert (cause, detail) == ("unreachable", "disconnected")


def test_settings_of_tls_that_can_not_be_used_are_refused(
    made: Certificates, tmp_path: Path
) -> None:
    """Nobody is asked for a password on a terminal."""
    (tmp_path / "junk").write_text("nothing")
    locked = tmp_path / "locked"
    key = serialization.load_pem_private_key(made.key.read_bytes(), password=None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    for arguments in (
        (tmp_path / "gone",),
        (tmp_path / "junk",),
        (made.ca, made.cert, locked),
        (made.ca, made.cert, tmp_path / "gone"),
    ):
        with pytest.raises((OSError, ValueError)):
            tls_context(*arguments)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_before_1_2_is_not_spoken(made: Certificates, newest: ssl.TLSVersion) -> None:
    """Whatever else the server offers."""
    context = server_context(made)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = newest
    with serving(tls=context) as server:
        endpoint = server.endpoint(tls=tls_context(made.ca))
        if newest is ssl.TLSVersion.TLSv1_2:
            assert ask(endpoint).body == b"ok"
        else:
            assert failure(endpoint) == ("unreachable", "tls", "tls")


def test_a_server_without_tls_is_unreachable_and_one_that_hangs_late(made: Certificates) -> None:
    """Each with its own detail."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint("127.0.0.1", silent.getsockname()[1], tls=tls_context(made.ca))
        assert failure(endpoint, seconds=SHORT) == ("timeout", "tls", "tls")
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:

        def greet() -> None:
            sock, _ = listener.accept()
            sock.sendall(b"220 mail ESMTP\r\n")
            sock.recv(1 << 16)
            sock.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1], tls=tls_context(made.ca))
        with pytest.raises(TransportError) as caught:
            ask(endpoint)
        thread.join(LONG)
    assert (caught.value.detail, caught.value.reason) == ("tls", "no TLS")


def test_the_answer_of_a_server_says_more_than_an_address_where_nobody_listens(
    made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate that was refused is named, although another address came after it."""
    with serving(tls=server_context(made)) as server:
        resolving(monkeypatch, server.port, "127.0.0.1", "127.0.0.2")
        endpoint = server.endpoint("server.example", tls_context(made.ca))
        endpoint.look_up(time.monotonic() + LONG)
        assert failure(endpoint) == ("unreachable", "certificate", "tls")
