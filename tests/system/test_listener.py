"""A server under the rules, with real sockets: what hostile, slow and many clients can do."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.errors import ConfigError
from guardrail.system.asgi_rules import caller_of, facts_of
from guardrail.system.asgi_server import Listener, server_tls
from guardrail.system.listener import (
    Headers,
    ListenAddress,
    ListenerRefusal,
    ListenerRules,
    values_of,
)
from tests.support.http_listener import (
    LOOPBACK,
    EchoApp,
    ask,
    connect,
    head,
    listening,
    read_all,
    statuses,
)
from tests.support.opa_server import certificates
from tests.support.waiting import until


def test_a_request_is_answered_by_the_app() -> None:
    app = EchoApp()
    with listening(app) as listener:
        body = head(listener, "POST /a HTTP/1.1", "Content-Length: 3", "Connection: close") + b"abc"
        answer = ask(listener, body)
    assert statuses(answer) == [200]
    assert b"got 3" in answer
    assert b"uvicorn" not in answer.lower()
    assert app.seen[0]["path"] == "/a"


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 0"],
        ["Content-Length: 0", "Content-Length: 5"],
        ["Content-Length: 0, 5"],
        ["Content-Length: +0"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding : chunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Content-Length : 5"],
        ["Host: evil.example"],
        ["X: a\x00b"],
        ["X: a\rb"],
        ["X\tY: b"],
        [": no name"],
        ["no colon"],
    ],
)
def test_a_request_that_two_servers_could_read_differently_is_refused(lines: list[str]) -> None:
    """Nothing after it is served either."""
    app = EchoApp()
    with listening(app) as listener:
        hidden = SMUGGLED.format(host=listener.address)
        request = head(listener, "POST / HTTP/1.1", *lines) + b"0\r\n\r\n" + hidden.encode()
        answer = ask(listener, request)
        assert [each // 100 in (4, 5) for each in statuses(answer)] == [True]
        assert app.seen == []
        assert statuses(ask(listener, head(listener, "GET / HTTP/1.1", "Connection: close"))) == [
            200
        ]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_not_http_1_1_is_refused(request_: bytes) -> None:
    app = EchoApp()
    with listening(app) as listener:
        assert statuses(ask(listener, request_))[0] // 100 == 4
    assert app.seen == []


@pytest.mark.parametrize("chunk", [b"zz\r\nabc\r\n", b"3\r\nabcd\r\n", b"-3\r\nabc\r\n"])
def test_a_malformed_chunk_ends_the_request_with_a_reply(chunk: bytes) -> None:
    """The app, which has the beginning of the body, learns that the rest does not come."""
    app = EchoApp()
    with listening(app) as listener:
        with connect(listener) as sock:
            sock.sendall(head(listener, "POST / HTTP/1.1", "Transfer-Encoding: chunked"))
            sock.sendall(b"1\r\na\r\n")
            until(lambda: app.seen, "the app gets the request")
            sock.sendall(chunk)
            assert statuses(read_all(sock)) == [400]
        until(lambda: app.ended == ["gone"], "the app learns of it")
    assert app.sizes == []


def test_two_requests_at_once_get_two_answers_in_order() -> None:
    app = EchoApp()
    with listening(app) as listener:
        two = head(listener, "GET /1 HTTP/1.1") + head(
            listener, "GET /2 HTTP/1.1", "Connection: close"
        )
        assert statuses(ask(listener, two)) == [200, 200]
    assert [each["path"] for each in app.seen] == ["/1", "/2"]


def test_parts_of_an_answer_do_not_wait_for_each_other() -> None:
    """A client on a connection that is kept open acknowledges late: 40 ms for each answer."""
    times = []
    with listening() as listener:
        line = http.client.HTTPConnection("127.0.0.1", listener.address.port)
        for _ in range(20):
            began = time.perf_counter()
            line.request("POST", "/", b"abc")
            assert line.getresponse().read() == b"got 3"
            times.append(time.perf_counter() - began)
        line.close()
    assert min(times[5:]) < 0.03


def test_an_address_that_a_header_claims_is_not_believed() -> None:
    """The address tells who calls."""
    app = EchoApp()
    with listening(app) as listener:
        lines = ("X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9", "Connection: close")
        with connect(listener) as sock:
            sock.sendall(head(listener, "GET / HTTP/1.1", *lines))
            read_all(sock)
            own = sock.getsockname()
    assert tuple(app.seen[0]["client"]) == own
    facts = facts_of(app.seen[0])
    assert facts.client == own
    assert facts.server == (listener.address.host, listener.address.port)


def test_ten_thousand_headers_or_a_giant_one_reach_no_app() -> None:
    app = EchoApp()
    with listening(app) as listener:
        for lines in (["a: b"] * 10_000, ["a: " + "b" * 5_000_000], ["a: " + "b" * 31_000] * 2):
            answer = ask(listener, head(listener, "GET / HTTP/1.1", *lines))
            assert [each in (400, 431) for each in statuses(answer)] in ([True], [])
        assert statuses(ask(listener, head(listener, "GET / HTTP/1.1", "Connection: close"))) == [
            200
        ]
    assert len(app.seen) == 1


def chunks(size: int, count: int) -> bytes:
    """The chunks of a body, and its end."""
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count + b"0\r\n\r\n"


def test_a_body_is_counted_whatever_it_says_about_its_size() -> None:
    app = EchoApp()
    with listening(app, max_body=100_000) as listener:
        chunked = head(listener, "POST / HTTP/1.1", "Transfer-Encoding: chunked")
        assert statuses(ask(listener, chunked + chunks(1000, 101))) == [413]
        assert statuses(ask(listener, chunked + chunks(5_000_000, 3))) == [413]
        announced = head(listener, "POST / HTTP/1.1", "Content-Length: 100001")
        assert statuses(ask(listener, announced + b"x" * 100_001)) == [413]
        closing = head(
            listener, "POST / HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close"
        )
        assert statuses(ask(listener, closing + chunks(1000, 100))) == [200]
    assert app.sizes == [100_000]


def test_a_body_of_tiny_chunks_is_refused() -> None:
    """Each chunk costs as much as a large one, so a megabyte of them would occupy the server."""
    app = EchoApp()
    with listening(app) as listener:
        chunked = head(
            listener, "POST / HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close"
        )
        began = time.process_time()
        assert statuses(ask(listener, chunked + chunks(1, 2_000_000))) in ([400], [])
        assert time.process_time() - began < 10
        assert statuses(ask(listener, chunked + chunks(16, 20_000))) == [200]
        assert statuses(ask(listener, chunked + chunks(1, 5_000))) == [200]
    assert app.sizes == [320_000, 5_000]


def test_a_client_that_is_refused_early_can_read_why() -> None:
    """The server reads on for a moment: otherwise the client's system discards the reply."""
    with listening(max_body=1000) as listener:
        request = head(listener, "POST / HTTP/1.1", "Content-Length: 20000000")
        assert b"1,000 bytes" in ask(listener, request + b"x" * 20_000_000)


def test_a_client_that_waits_for_permission_gets_it_only_for_a_good_request() -> None:
    with listening(max_body=1000) as listener:
        expects = "Expect: 100-continue"
        with connect(listener) as sock:
            sock.sendall(
                head(listener, "POST / HTTP/1.1", expects, "Content-Length: 3", "Connection: close")
            )
            assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
            sock.sendall(b"abc")
            assert statuses(read_all(sock)) == [200]
        with connect(listener) as sock:
            sock.sendall(head(listener, "POST / HTTP/1.1", expects, "Content-Length: 1001"))
            assert sock.recv(100).startswith(b"HTTP/1.1 413 ")


def test_headers_that_trickle_in_do_not_hold_a_connection() -> None:
    """Each byte arrives in time, the request does not."""
    with listening(idle_s=0.5) as listener:
        for first in (b"", head(listener, "GET / HTTP/1.1")):
            with connect(listener) as sock:
                sock.sendall(first)
                if first:
                    assert statuses(sock.recv(65536)) == [200]
                with pytest.raises(OSError):  # noqa: PT012 - until the server closes it
                    while True:
                        sock.sendall(b"G" if sock.send(b"G") else b"")
                        time.sleep(0.05)


def test_a_connection_without_a_request_is_closed() -> None:
    with listening(idle_s=0.5) as listener, connect(listener) as sock:
        assert read_all(sock) == b""


def test_a_body_that_trickles_in_is_refused_with_the_reason() -> None:
    app = EchoApp()
    with listening(app, idle_s=0.5) as listener, connect(listener) as sock:
        sock.sendall(head(listener, "POST / HTTP/1.1", "Content-Length: 100000"))
        sock.settimeout(0.05)
        answer = b""
        for _ in range(1000):
            try:
                sock.sendall(b"x")
                answer += sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if answer:
                break
    assert statuses(answer) == [408]
    assert app.sizes == []


def test_a_client_that_does_not_read_is_disconnected() -> None:
    app = EchoApp()
    with listening(app, idle_s=0.5) as listener, connect(listener) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(head(listener, "GET /large HTTP/1.1"))
        until(lambda: listener.app.streams == 1, "the answer has begun")
        until(lambda: listener.app.streams == 0, "the stream is given up")


def test_the_number_of_streams_is_limited() -> None:
    app = EchoApp()
    with listening(app, max_streams=2, stop_s=5) as listener:
        held = [connect(listener) for _ in range(2)]
        for sock in held:
            sock.sendall(head(listener, "GET /hold HTTP/1.1"))
        until(lambda: listener.app.streams == 2, "both are held")
        answer = ask(listener, head(listener, "GET / HTTP/1.1"))
        assert statuses(answer) == [503]
        assert b"retry-after: 1" in answer
        app.release.set()
        for sock in held:
            assert b"got 0" in sock.recv(65536) + sock.recv(65536) + sock.recv(65536)
            sock.close()
        closing = head(listener, "GET / HTTP/1.1", "Connection: close")
        until(lambda: statuses(ask(listener, closing)) == [200], "there is room again")


def test_idle_connections_do_not_keep_others_out() -> None:
    """The oldest that waits for its client makes room; one that is answered does not."""
    app = EchoApp()
    with listening(app, max_streams=2, stop_s=5) as listener:
        busy = connect(listener)
        busy.sendall(head(listener, "GET /hold HTTP/1.1"))
        until(app.held.is_set, "a request is held")
        many = [connect(listener) for _ in range(150)]
        closing = head(listener, "GET / HTTP/1.1", "Connection: close")
        assert statuses(ask(listener, closing)) == [200]
        app.release.set()
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):  # in as many pieces as the system likes
            piece = busy.recv(65536)
            assert piece, answer
            answer += piece
        assert b"got 0" in answer
        for sock in (busy, *many):
            sock.close()


def test_an_error_of_the_app_is_answered_without_its_words() -> None:
    """The message of an exception may quote a request."""
    lines: list[str] = []

    async def failing(*_: object) -> None:
        raise ValueError("sk-secret")

    listener = Listener(failing, ListenerRules(), LOOPBACK, log=lines.append)
    with listener:
        answer = ask(listener, head(listener, "GET / HTTP/1.1"))
    assert statuses(answer) == [500]
    assert b"secret" not in answer
    assert [line.partition(" at ")[0] for line in lines] == ["a request failed: ValueError"]
    assert "secret" not in "".join(lines)


def test_an_answer_that_breaks_off_is_not_a_complete_one() -> None:
    with listening() as listener:
        answer = ask(listener, head(listener, "GET /fail HTTP/1.1"))
    assert statuses(answer) == [200]
    assert not answer.endswith(b"0\r\n\r\n")


def test_a_page_of_a_listed_origin_may_send_requests() -> None:
    app = EchoApp()
    with listening(app, origins=frozenset({"https://chat.example"})) as listener:
        origin = "Origin: https://chat.example"
        asks = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-api-key")
        before = ask(
            listener, head(listener, "OPTIONS /a HTTP/1.1", origin, *asks, "Connection: close")
        )
        assert statuses(before) == [204]
        assert b"access-control-allow-headers: x-api-key" in before
        assert app.seen == []
        answer = ask(listener, head(listener, "GET /a HTTP/1.1", origin, "Connection: close"))
        assert b"access-control-allow-origin: https://chat.example" in answer
        other = ask(
            listener, head(listener, "OPTIONS /a HTTP/1.1", "Origin: https://evil.example", *asks)
        )
        assert statuses(other) == [403]
        assert b"access-control" not in other
    assert len(app.seen) == 1


def token(headers: Headers) -> str | ListenerRefusal:
    """The caller ci, if it has its token."""
    if values_of(headers, b"x-token") == [b"good"]:
        return "ci"
    return ListenerRefusal(401, "caller", "send the header x-token")


def test_a_caller_without_a_token_reaches_no_app() -> None:
    app = EchoApp()
    with listening(app, authenticate=token) as listener:
        for lines in ((), ("X-Token: bad",), ("X-Token: good", "X-Token: bad")):
            assert statuses(ask(listener, head(listener, "GET / HTTP/1.1", *lines))) == [401]
        assert app.seen == []
        ask(listener, head(listener, "GET / HTTP/1.1", "X-Token: good", "Connection: close"))
    assert caller_of(app.seen[0]) == "ci"


def test_no_other_machine_is_served_without_tls_and_tokens(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    everywhere = ListenAddress.parse("0.0.0.0:0")
    tls = server_tls(made.cert, made.key)
    for rules, used, code in (
        (ListenerRules(), None, "listener.tls_required"),
        (ListenerRules(authenticate=token), None, "listener.tls_required"),
        (ListenerRules(), tls, "listener.callers_required"),
    ):
        with pytest.raises(ConfigError) as wrong:
            Listener(EchoApp(), rules, everywhere, tls=used)
        assert wrong.value.code == code
    app = EchoApp()
    rules = ListenerRules(authenticate=token, hosts=frozenset({"localhost"}))
    with Listener(app, rules, everywhere, tls=tls) as url:
        fetch = (
            "import ssl, sys, urllib.request as r; c = ssl.create_default_context(cafile=sys.argv[1]);"
            "q = r.Request(sys.argv[2], headers={'X-Token': 'good'});"
            "print(r.urlopen(q, context=c).read())"
        )
        at = url.replace("127.0.0.1", "localhost")
        done = subprocess.run(
            [sys.executable, "-c", fetch, str(made.ca), at],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout == "b'got 0'\n", done.stderr


def test_clients_that_do_not_finish_tls_hold_nobody_up(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    app = EchoApp()
    rules = ListenerRules()
    with Listener(app, rules, LOOPBACK, tls=server_tls(made.cert, made.key)) as url:
        port = int(url.rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            for first in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") * 20:
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                sock.sendall(first)
            trusted = ssl.create_default_context(cafile=made.ca)
            client = http.client.HTTPSConnection("localhost", port, context=trusted)
            client.request("GET", "/")
            assert client.getresponse().read() == b"got 0"
            client.close()
    assert len(app.seen) == 1


TOKENS = [
    b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"Host: localhost\r\n",
    b"Host: {at}\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"abc",
    b"3\r\nabc\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"3;x=y\r\nabc\r\n", b"\0", b"\xff",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(TOKENS), max_size=12), max_size=4))
def test_whatever_bytes_arrive_the_next_client_is_served(pieces: list[list[bytes]]) -> None:
    """Each reply is a whole one, and no body of one request is taken for another request."""
    listener = fuzzed()
    at = str(listener.address).encode()
    with connect(listener) as sock, contextlib.suppress(ConnectionError):
        for piece in pieces:
            sock.sendall(b"".join(piece).replace(b"{at}", at))
        with contextlib.suppress(OSError):  # the server was faster
            sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
        assert all(
            each in {100, 200, 400, 404, 408, 413, 421, 431, 501} for each in statuses(answer)
        )
    closing = head(listener, "GET / HTTP/1.1", "Connection: close")
    assert statuses(ask(listener, closing)) == [200]


@functools.cache
def fuzzed() -> Listener:
    """A listener that lives as long as the tests."""
    listener = Listener(EchoApp(), ListenerRules(idle_s=5), LOOPBACK)
    listener.__enter__()
    return listener


def test_a_certificate_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        server_tls(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert wrong.value.code == "listener.tls"


def test_a_port_in_use_is_named_with_the_next_step() -> None:
    with listening() as listener:
        with pytest.raises(ConfigError) as wrong:
            Listener(EchoApp(), ListenerRules(), listener.address)
        assert wrong.value.code == "listener.listen"
        assert str(listener.address) in wrong.value.message
        assert "--listen 127.0.0.1:0" in wrong.value.hint


CROWDED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 1024))
from guardrail.system import asgi_server, h11_limits
from guardrail.system.asgi_server import Listener, server_tls
from guardrail.system.listener import ListenerRules
from tests.support.http_listener import LOOPBACK, EchoApp

h11_limits.HANDSHAKE_S = asgi_server.HANDSHAKE_S = 2.0
tls = server_tls(Path(sys.argv[1]), Path(sys.argv[2])) if sys.argv[1:] else None
listener = Listener(EchoApp(), ListenerRules(), LOOPBACK, tls=tls)
listener.run(lambda: print(listener.address.port, flush=True))
"""


@pytest.mark.parametrize("encrypted", [False, True])
def test_connections_leave_descriptors_for_the_ledger(tmp_path: Path, encrypted: bool) -> None:
    """Connections that wait, or do not finish TLS, are closed before none is left."""
    made = certificates(tmp_path)
    files = [str(made.cert), str(made.key)] if encrypted else []
    with subprocess.Popen(
        [sys.executable, "-c", CROWDED, *files], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        descriptors = Path(f"/proc/{program.pid}/fd")

        def is_served() -> bool:
            client: http.client.HTTPConnection = http.client.HTTPConnection("localhost", port)
            if encrypted:
                trusted = ssl.create_default_context(cafile=made.ca)
                client = http.client.HTTPSConnection("localhost", port, context=trusted)
            with contextlib.suppress(OSError, http.client.HTTPException):
                client.request("GET", "/", headers={"Connection": "close"})
                return client.getresponse().read() == b"got 0"
            client.close()
            return False

        try:
            with contextlib.ExitStack() as stack:
                most = 0
                for _ in range(300):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    most = max(most, len(os.listdir(descriptors)))
                until(is_served, "a client is served while the others stay connected")
                assert max(most, len(os.listdir(descriptors))) < 90
        finally:
            program.send_signal(signal.SIGTERM)
    assert program.returncode == 0


def test_a_signal_before_the_start_stops_the_server_too() -> None:
    listener = Listener(EchoApp(), ListenerRules(), LOOPBACK)
    listener.stop()
    listener.run()
    assert refuses(listener)


def test_no_child_process_inherits_the_socket() -> None:
    """It would keep the port after the server has stopped."""
    with listening() as listener:
        wait = [sys.executable, "-c", "input()"]
        child = subprocess.Popen(wait, stdin=subprocess.PIPE, close_fds=False)
    with child:
        with listening(address=listener.address) as again:
            assert again.address == listener.address
        child.communicate(b"\n")


def refuses(listener: Listener) -> bool:
    """Return True if no connection can be made any more."""
    try:
        connect(listener).close()
    except ConnectionError:
        return True
    return False


def test_a_request_in_progress_may_end_when_the_server_stops() -> None:
    app = EchoApp()
    with listening(app, stop_s=60) as listener, connect(listener) as sock:
        sock.sendall(head(listener, "GET /hold HTTP/1.1"))
        until(app.held.is_set, "the request is held")
        listener.stop()
        until(lambda: refuses(listener), "new connections are refused")
        app.release.set()
        assert b"got 0" in read_all(sock)
    assert app.ended == ["answered"]


def test_a_request_that_does_not_end_is_cancelled_and_then_the_app_is_closed() -> None:
    app = EchoApp()
    order = app.ended

    async def close() -> None:
        order.append("closed")

    listener = Listener(app, ListenerRules(stop_s=1), LOOPBACK, close=close)
    with connect(listener) as sock:
        with listener:
            sock.sendall(head(listener, "GET /hold HTTP/1.1"))
            until(app.held.is_set, "the request is held")
        assert order == ["cancelled", "closed"]
        assert not read_all(sock).endswith(b"0\r\n\r\n")


PROGRAM = """
import sys
from guardrail.system.asgi_server import Listener
from guardrail.system.listener import ListenerRules
from tests.support.http_listener import LOOPBACK, EchoApp

async def close():
    print("closed", flush=True)

listener = Listener(EchoApp(), ListenerRules(stop_s=float(sys.argv[1])), LOOPBACK, close=close)
listener.run(lambda: print(listener.address.port, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 2])
def test_signals_stop_the_server_and_not_the_program(sent: signal.Signals, times: int) -> None:
    """The first lets requests end; the second does not."""
    limit = "60" if times == 2 else "1"
    command = [sys.executable, "-c", PROGRAM, limit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(f"GET /hold HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            assert sock.recv(65536)
            program.send_signal(sent)
            if times == 2:
                until(lambda: closed_port(port), "the server stops")
                program.send_signal(sent)
            read_all(sock)
        assert program.stdout.read() == "closed\nstopped\n"
    assert program.returncode == 0


def closed_port(port: int) -> bool:
    """Return True if nothing listens on *port*."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0
