"""The witness over HTTP: what it answers to what, to clients that are slow, large or many, and
after it was killed.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.anchors.witness import server as witness_server
from guardrail.anchors.witness.client import WitnessAnchor, request_body
from guardrail.anchors.witness.server import WitnessServer, parse_request
from guardrail.anchors.witness.store import WitnessStore
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import AnchorError, NoteError
from guardrail.keys.anchor_keys import WitnessKey
from tests.support.anchors import ORIGIN, Log, serving, verify_signature, witness


def post(
    server: WitnessServer, body: bytes, path: str = "/add-checkpoint"
) -> tuple[int, bytes, str]:
    """Status, body and content type of the answer."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Content-Type", "")
    finally:
        connection.close()


def raw(server: WitnessServer, request: bytes) -> bytes:
    """Everything that comes back for *request*."""
    with socket.create_connection(server.server_address[:2], timeout=30) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while more := sock.recv(65536):
            found += more
    return found


def test_each_answer_is_the_one_of_the_specification(tmp_path: Path) -> None:
    """Status by status, as c2sp.org/tlog-witness says."""
    log, stranger, liar = Log().grow(20), Log("other/log").grow(5), Log(seed=b"x" * 32).grow(5)
    fork = log.fork(9).grow(11, "x")
    with witness(tmp_path, log) as server:
        status, body, _ = post(server, request_body(0, [], log.note(10)))
        assert status == 200
        lines = SignedNote.parse_signature_lines(body)
        assert SignedNote(log.note(10).text, lines).cosigned_by(server.key, verify_signature)
        assert post(server, request_body(5, log.prove(5, 20), log.note(20))) == (
            409,
            b"10\n",
            "text/x.tlog.size",
        )
        assert post(server, request_body(10, [], fork.note(10)))[:2] == (409, b"10\n")
        assert post(server, request_body(10, fork.prove(10, 20), fork.note(20)))[0] == 422
        assert post(server, request_body(10, log.prove(10, 20)[:-1], log.note(20)))[0] == 422
        assert post(server, request_body(11, [], log.note(10)))[0] == 400
        assert post(server, request_body(0, [], stranger.note()))[0] == 404
        assert post(server, request_body(0, [], liar.note()))[0] == 403
        assert post(server, b"")[0] == 400
        assert post(server, b"", "/add-checkpoints")[0] == 404
        assert post(server, request_body(10, log.prove(10, 20), log.note(20)))[0] == 200


def test_signatures_of_others_on_a_head_are_not_kept(tmp_path: Path) -> None:
    """A client could else have text of its own choice stored and handed out."""
    log, other = Log().grow(5), Log("friend", seed=b"x" * 32).grow(5)
    note = log.note().with_signatures(
        SignedNote.sign(log.head().text, other.key, other.private.sign).signatures
    )
    with witness(tmp_path, log) as server:
        assert post(server, request_body(0, [], note))[0] == 200
        kept = server.store.latest(ORIGIN)
        assert kept is not None
        assert {each.name for each in kept.signatures} == {ORIGIN, "w.example/1"}


def test_requests_are_served_on_one_connection(tmp_path: Path) -> None:
    """Clients that keep it need not connect again, also after an answer that was no."""
    log = Log().grow(9)
    with witness(tmp_path, log) as server:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
        connection.request("POST", "/add-checkpoint", request_body(3, log.prove(3, 9), log.note()))
        assert connection.getresponse().read() == b"0\n"
        sock = connection.sock
        connection.request("POST", "/add-checkpoint", request_body(0, [], log.note()))
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        connection.request("GET", "/latest?origin=host%2Faudit")
        answer = connection.getresponse()
        assert SignedNote.parse(answer.read()).text == log.note().text
        assert connection.sock is sock
        connection.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /latest HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"404"),
        (b"GET /latest?origin=a&origin=b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"404"),
        (b"GET /latest?origin=host%2Faudit HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"404"),
        (b"GET /latest?origin=a HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET /latest?origin=a HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /latest?origin=a HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"400"),
        (
            (
                b"POST /add-checkpoint HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\nContent-Length:"
                b" 0\r\n\r\n"
            ),
            b"421",
        ),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"411"),
        (
            (
                b"POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:"
                b" chunked\r\n\r\n0\r\n\r\n"
            ),
            b"411",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"400",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
            b"413",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9"
            + b"9" * 5000
            + b"\r\n\r\n",
            b"413",
        ),
        *(
            (b"GET /latest?origin=a HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n", status)
            for line, status in (
                (b"Origin: http://evil.example", b"403"),
                (b"Sec-Fetch-Site: cross-site", b"403"),
                (b"Content-Length: 0\r\nTransfer-Encoding: chunked", b"400"),
                (b"Content-Length: 5", b"400"),
                (b"Transfer-Encoding: chunked", b"400"),
                (b"Content-Encoding: gzip", b"415"),
                (b"Connection: Upgrade\r\nUpgrade: websocket", b"404"),
                (b"A: " + b"b" * 33_000, b"431"),
            )
        ),
        (b"GET http://evil.example/latest HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"DELETE /latest HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_requests_that_are_none_of_ours_are_refused(
    tmp_path: Path, request_: bytes, status: bytes
) -> None:
    """Each by its status, and the server serves on."""
    log = Log().grow(5)
    with witness(tmp_path, log) as server:
        assert status in raw(server, request_).split(b"\r\n", 1)[0]
        assert post(server, request_body(0, [], log.note()))[0] == 200


def test_a_body_that_ends_early_is_not_answered(tmp_path: Path) -> None:
    """Half a checkpoint is none, even where the half would parse."""
    log = Log().grow(5)
    body = request_body(0, [], log.note())
    head = (
        "POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nContent-Length:"
        f" {len(body) + 1}\r\n\r\n"
    )
    with witness(tmp_path, log) as server:
        assert raw(server, head.encode() + body) == b""
        assert server.store.latest(ORIGIN) is None


@given(st.binary(max_size=300) | st.text(alphabet="old 0123\n=A\u2014host/audit", max_size=300))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_read_or_refused(body: bytes | str) -> None:
    """Nothing but ``NoteError`` comes out of a body that is none."""
    data = body.encode() if isinstance(body, str) else body
    try:
        parse_request(b"old 0\n\n" + data)
    except NoteError:
        pass
    with pytest.raises(NoteError):
        parse_request(data)


@pytest.mark.parametrize(
    "start",
    [
        b"old 00\n\n",
        b"old -1\n\n",
        b"old +1\n\n",
        b"old\n\n",
        b"Old 0\n\n",
        b"old 0 \n\n",
        b"old 0\r\n\n",
        "old \u0661\n\n".encode(),
        b"old 99999999999999999999\n\n",
        b"old 0\nAAAA\n\n",
        b"old 0\n" + base64.b64encode(b"x" * 33) + b"\n\n",
        b"old 0\n" + (base64.b64encode(b"x" * 32) + b"\n") * 64 + b"\n",
    ],
)
def test_old_sizes_and_proofs_have_one_form(start: bytes) -> None:
    """No leading zeroes, no signs, 63 hashes of 32 bytes at most."""
    with pytest.raises(NoteError):
        parse_request(start + Log().grow(5).note().encode())


def test_a_client_that_is_slow_is_left_and_the_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a request is over all of it: a byte now and then does not help."""
    monkeypatch.setattr(witness_server, "REQUEST_S", 0.5)
    log = Log().grow(5)
    with (
        witness(tmp_path, log) as server,
        socket.create_connection(server.server_address[:2], timeout=30) as silent,
        socket.create_connection(server.server_address[:2], timeout=30) as dripping,
    ):
        assert post(server, request_body(0, [], log.note()))[0] == 200
        for _ in range(1000):
            try:
                dripping.sendall(b"P")
            except OSError:
                break
            time.sleep(0.01)
        else:
            pytest.fail("a client that drips is served for ever")
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    "first", [b"", b"P", b"POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\n"]
)
def test_connections_that_ask_nothing_give_way_to_those_that_ask(
    tmp_path: Path, first: bytes
) -> None:
    """However many they are, and at once: nobody waits until their time is over."""
    log = Log().grow(5)
    with witness(tmp_path, log) as server, contextlib.ExitStack() as held:
        silent = [
            held.enter_context(socket.create_connection(server.server_address[:2], timeout=30))
            for _ in range(80)
        ]
        for each in silent:
            with contextlib.suppress(OSError):
                each.sendall(first)
        began = time.monotonic()
        assert post(server, request_body(0, [], log.note()))[0] == 200
        assert time.monotonic() - began < witness_server.REQUEST_S / 2
        assert len(server._open) <= 64


def test_a_connection_that_is_being_answered_gives_way_to_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than can be served at the same time are sent away, and places come back."""
    monkeypatch.setattr(witness_server, "CONNECTIONS", 2)
    log = Log().grow(5)
    inside, go = threading.Semaphore(0), threading.Event()
    with witness(tmp_path, log) as server:
        judge = server.judge

        def slow(body: bytes) -> object:
            inside.release()
            assert go.wait(30)
            return judge(body)

        monkeypatch.setattr(server, "judge", slow)
        answers: list[int] = []
        asking = [
            threading.Thread(
                target=lambda: answers.append(post(server, request_body(0, [], log.note()))[0])
            )
            for _ in range(2)
        ]
        for each in asking:
            each.start()
        for _ in asking:
            assert inside.acquire(timeout=30)
        with socket.create_connection(server.server_address[:2], timeout=30) as third:
            assert third.recv(1) == b""
        go.set()
        for each in asking:
            each.join()
        # Both had no head before: the second one names a size that is no longer right.
        assert sorted(answers) == [200, 409]
        assert post(server, request_body(5, [], log.note()))[0] == 200


def test_a_memory_that_fails_is_try_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets 503 and no reason; the operator gets the reason."""
    log = Log().grow(5)
    told: list[str] = []
    with witness(tmp_path, log) as server:
        server.log = told.append
        server.store._connection.execute("PRAGMA query_only = ON")
        assert post(server, request_body(0, [], log.note()))[:2] == (503, b"try again later\n")
        server.store._connection.execute("PRAGMA query_only = OFF")
        assert post(server, request_body(0, [], log.note()))[0] == 200
    assert told == ["the witness's database can't be read or written (OperationalError)"]


def test_a_fork_is_told_to_the_operator(tmp_path: Path) -> None:
    """It is what a witness is for."""
    log = Log().grow(5)
    told: list[str] = []
    with witness(tmp_path, log) as server:
        server.log = told.append
        post(server, request_body(0, [], log.note()))
        post(server, request_body(5, [], log.fork(4).grow(1, "x").note()))
    assert len(told) == 1
    assert told[0].startswith("REFUSED")


def _certificate(folder: Path) -> tuple[Path, Path]:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.pem")),
            *("-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "tls.pem", folder / "tls.key"


def test_it_serves_https_to_clients_that_trust_its_certificate(tmp_path: Path) -> None:
    """Others are told that the certificate is not trusted; and a client that speaks no TLS disturbs
    nobody.
    """
    log = Log().grow(5)
    cert, key_file = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key_file)
    key = WitnessKey.create(tmp_path / "keys", "w.example/1")
    with WitnessStore.create(tmp_path / "w.db", key.key) as store:
        store.add(log.key)
        server = WitnessServer(
            ("127.0.0.1", 0), store=store, cosign=key.cosign, verify=verify_signature, tls=context
        )
        with serving(server):
            with socket.create_connection(server.server_address[:2], timeout=30) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    plain.recv(100)
            assert server.url.startswith("https://127.0.0.1:")
            held = [
                socket.create_connection(server.server_address[:2], timeout=30) for _ in range(80)
            ]
            trusting = WitnessAnchor(server.url, key=key.key, verify=verify_signature, ca=cert)
            assert trusting.publish(log.note(), log.prove).size == 5
            with pytest.raises(AnchorError, match="certificate is not trusted") as refused:
                WitnessAnchor(server.url, key=key.key, verify=verify_signature).latest(ORIGIN)
            assert refused.value.code == "anchor.unreachable"
            for each in held:
                each.close()


# -- as a process
# --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A witness as a process of its own, and its URL."""
    command = [sys.executable, "-c", "from guardrail.cli import main; main()", "witness", "serve"]
    command += ["--db", str(folder / "w.db"), "--key", str(folder / "keys"), "--listen"]
    running = subprocess.Popen(
        [*command, "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    try:
        yield running, running.stdout.readline().strip()
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_four_clients_with_two_forks_and_a_witness_that_is_killed_get_one_history(
    tmp_path: Path,
) -> None:
    """Whatever was cosigned, before or after each kill -9, is one growing history, and the memory
    knows the last of it.
    """
    key = WitnessKey.create(tmp_path / "keys", "w.example/1")
    log = Log().grow(3)
    forks = [log.fork(3).grow(400, "a"), log.fork(3).grow(400, "b")]
    with WitnessStore.create(tmp_path / "w.db", key.key) as store:
        store.add(log.key)
    cosigned: list[Checkpoint] = []
    place = [""]
    over = threading.Event()

    def client(fork: Log) -> None:
        size = 4
        while not over.is_set() and size < 400:
            there = WitnessAnchor(place[0], key=key.key, verify=verify_signature, deadline=5)
            try:
                made = there.publish(fork.note(size), fork.prove)
            except AnchorError as error:
                if error.code == "anchor.conflict" and "only" in error.message:
                    size += 1
                elif error.code == "anchor.conflict":
                    return  # the other fork has won
                continue
            cosigned.append(Checkpoint.parse(made.note.text))
            size += 1

    clients: list[threading.Thread] = []
    for round_ in range(5):
        with process(tmp_path) as (running, url):
            place[0] = url
            if not round_:
                clients = [threading.Thread(target=client, args=(forks[n % 2],)) for n in range(4)]
                for each in clients:
                    each.start()
            target = len(cosigned) + 15
            while len(cosigned) < target and any(each.is_alive() for each in clients):
                time.sleep(0.002)
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
    over.set()
    for each in clients:
        each.join()
    assert len(cosigned) >= 60
    winners = [fork for fork in forks if all(fork.head(head.size) == head for head in cosigned)]
    assert len(winners) == 1
    with WitnessStore.open(tmp_path / "w.db", key.key) as store:
        latest = store.latest(ORIGIN)
    assert latest is not None
    assert Checkpoint.parse(latest.text).size >= max(head.size for head in cosigned)


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    """Exit code 0, and the memory is there."""
    key = WitnessKey.create(tmp_path / "keys", "w.example/1")
    WitnessStore.create(tmp_path / "w.db", key.key).close()
    with process(tmp_path) as (running, url):
        assert url.startswith("http://127.0.0.1:")
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
