"""The witness's client: what it believes, and what it says of witnesses that lie, hang or hold
something else.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.anchors.witness.client import WitnessAnchor
from guardrail.anchors.witness.server import WitnessServer
from guardrail.anchors.witness.store import WitnessStore
from guardrail.core.log.checkpoint import Algorithm, NoteKey
from guardrail.errors import AnchorError, ConfigError
from guardrail.keys.anchor_keys import WitnessKey
from tests.support.anchors import ORIGIN, Log, answering, reply, serving, verify_signature, witness

KEY = WitnessKey("w.example/1", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
OTHER = WitnessKey("w.example/1", Ed25519PrivateKey.from_private_bytes(b"v" * 32))


def anchor(url: str, key: NoteKey = KEY.key, deadline: float = 10.0) -> WitnessAnchor:
    """The anchor at *url*."""
    return WitnessAnchor(url, key=key, verify=verify_signature, deadline=deadline)


def refusal(url: str, log: Log, deadline: float = 10.0, known: int | None = None) -> AnchorError:
    """How publishing the head of *log* fails."""
    with pytest.raises(AnchorError) as refused:
        anchor(url, deadline=deadline).publish(
            log.note(), log.prove, None if known is None else log.head(known)
        )
    assert refused.value.hint
    assert "\n" not in refused.value.message
    return refused.value


# -- against a real one
# --------------------------------------------------------------------------------------------------


def test_heads_are_cosigned_one_after_the_other(tmp_path: Path) -> None:
    """The note that comes back has the log's signature and the witness's, and the witness can be
    asked for it.
    """
    log = Log().grow(5)
    with witness(tmp_path, log) as server:
        there = anchor(server.url, server.key)
        before = int(time.time())
        first = there.publish(log.note(), log.prove)
        log.grow(95)
        second = there.publish(log.note(), log.prove, log.head(5))
        third = there.publish(log.note(), log.prove, log.head(100))
        latest = there.latest(ORIGIN)
    for made, size in ((first, 5), (second, 100), (third, 100)):
        assert (made.name, made.size) == ("witness:w.example/1", size)
        assert made.note.text == log.note(size).text
        assert made.note.signed_by(log.key, verify_signature)
        seen = made.note.cosigned_by(server.key, verify_signature)
        assert seen is not None
        assert before <= seen.time == made.time <= time.time()
    assert latest is not None
    assert latest.text == log.note().text
    assert latest.signed_by(log.key, verify_signature)


def test_a_client_that_knows_nothing_is_told_how_far_the_witness_is(tmp_path: Path) -> None:
    """A lost state file costs one more question: 409 names the size to go on from."""
    log = Log().grow(5)
    with witness(tmp_path, log) as server:
        there = anchor(server.url, server.key)
        there.publish(log.note(), log.prove)
        log.grow(5)
        assert there.publish(log.note(), log.prove).size == 10
        assert there.latest("other/log") is None


def test_a_ledger_that_was_cut_forked_or_rolled_back_is_refused(tmp_path: Path) -> None:
    """Whatever this side still knows, the witness holds what was."""
    log = Log().grow(20)
    with witness(tmp_path, log) as server:
        there = anchor(server.url, server.key)
        there.publish(log.note(), log.prove)
        cut, same = log.fork(12), log.fork(12).grow(8, "x")
        longer, empty = log.fork(12).grow(30, "x"), log.fork(0).grow(2)
        for forged, words in (
            (cut, "only 12"),
            (same, "different head"),
            (longer, "different history"),
            (empty, "only 2"),
        ):
            for known in (None, forged.head(min(12, len(forged.leaves)))):
                with pytest.raises(AnchorError, match=words) as refused:
                    there.publish(forged.note(), forged.prove, known)
                assert refused.value.code == "anchor.conflict"
                assert refused.value.hint == "guardrail verify"
        latest = there.latest(ORIGIN)
        assert latest is not None
        assert latest.text == log.note().text


def test_an_unknown_log_and_a_wrong_key_are_refused(tmp_path: Path) -> None:
    """Both say what to do on the witness's side."""
    log = Log().grow(5)
    with witness(tmp_path, log) as server:
        there = anchor(server.url, server.key)
        stranger, liar = Log("other/log").grow(5), Log(seed=b"x" * 32).grow(5)
        for each, words, hint in (
            (stranger, "does not know this log", "guardrail witness add"),
            (liar, "not by the key", "this log needs a new name"),
        ):
            with pytest.raises(AnchorError, match=words) as refused:
                there.publish(each.note(), each.prove)
            assert refused.value.code == "anchor.refused"
            assert hint in refused.value.hint


@pytest.mark.parametrize("same", [True, False], ids=["fits", "contradicts"])
def test_a_head_by_another_key_that_the_witness_holds_is_compared(
    tmp_path: Path, *, same: bool
) -> None:
    """A log that took another's place has its name and other keys: no reason to go on as if the
    witness were away.
    """
    log = Log().grow(5)
    old = Log(seed=b"o" * 32, leaves=log.leaves if same else [b"x" * 32] * 7)
    with witness(tmp_path, old) as server:
        there = anchor(server.url, server.key)
        there.publish(old.note(), old.prove)
        with pytest.raises(AnchorError) as refused:
            there.publish(log.note(), log.prove)
    assert refused.value.code == ("anchor.refused" if same else "anchor.conflict")
    assert refused.value.message.startswith("the witness w.example/1: ")


def test_a_witness_that_forgot_is_noticed(tmp_path: Path) -> None:
    """A witness that was restored from an old copy would cosign a fork: nothing more is sent to
    it.
    """
    log = Log().grow(20)
    (tmp_path / "one").mkdir()
    with witness(tmp_path / "one", log) as server:
        anchor(server.url, server.key).publish(log.note(5), log.prove)
        with pytest.raises(AnchorError, match="lost its memory") as refused:
            anchor(server.url, server.key).publish(log.note(), log.prove, log.head(10))
    assert refused.value.code == "anchor.conflict"


# -- against others
# --------------------------------------------------------------------------------------------------


def test_another_key_of_the_same_name_does_not_count() -> None:
    """What counts is the key that was pinned, not the name."""
    log = Log().grow(5)
    lines = str(OTHER.cosign(log.note().text, 1700000000).signatures[0]) + "\n"
    with answering(reply("200 OK", lines.encode())) as url:
        problem = refusal(url, log)
    assert problem.code == "anchor.malformed"
    assert "pinned" in problem.message


def test_a_cosignature_of_another_head_does_not_count() -> None:
    """A witness that cosigns something else has cosigned nothing of ours."""
    log = Log().grow(6)
    lines = str(KEY.cosign(log.note(5).text, 1700000000).signatures[0]) + "\n"
    with answering(reply("200 OK", lines.encode())) as url:
        assert refusal(url, log).code == "anchor.malformed"


def test_signatures_of_others_beside_the_good_one_are_left_out() -> None:
    """Only what was checked is passed on."""
    log = Log().grow(6)
    good = KEY.cosign(log.note().text, 1700000000).signatures[0]
    bad = OTHER.cosign(log.note().text, 1700000000).signatures[0]
    with answering(reply("200 OK", f"{bad}\n{good}\n".encode())) as url:
        made = anchor(url).publish(log.note(), log.prove)
    assert made.note.signatures[1:] == (good,)
    assert made.time == 1700000000


def _endless_headers(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100_000):
        sock.sendall(b"X-Y: " + b"z" * 9000 + b"\r\n")


def _endless_chunks(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100_000):
        sock.sendall(b"4000\r\n" + b"z" * 0x4000 + b"\r\n")


CASES: dict[str, tuple[Callable[[socket.socket], None], str, str]] = {
    "no signature": (reply("200 OK", b""), "malformed", "no valid signature"),
    "no signatures but text": (
        reply("200 OK", b"<html>\n"),
        "malformed",
        "does not consist of signatures",
    ),
    "not UTF-8": (reply("200 OK", b"\xff\xfe\n"), "malformed", "does not consist of signatures"),
    "409 without a size": (reply("409 Conflict", b"12\n"), "malformed", "without its size"),
    "409 with garbage": (
        reply("409 Conflict", b"twelve\n", "text/x.tlog.size"),
        "malformed",
        "without its size",
    ),
    "409 with a huge number": (
        reply("409 Conflict", b"9" * 4000, "text/x.tlog.size"),
        "malformed",
        "without its size",
    ),
    "409 about a larger size": (
        reply("409 Conflict", b"7\n", "text/x.tlog.size"),
        "conflict",
        "holds a head of 7",
    ),
    "409 about the size given": (
        reply("409 Conflict", b"0\n", "text/x.tlog.size"),
        "malformed",
        "the size that it had reported",
    ),
    "422": (reply("422 Unprocessable Entity", b""), "conflict", "different history"),
    "400": (reply("400 Bad Request", b"no"), "refused", "400"),
    "redirect": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        ),
        "refused",
        "302",
    ),
    "500": (reply("500 Internal Server Error", b"x"), "unreachable", "500"),
    "429": (reply("429 Too Many Requests", b""), "unreachable", "429"),
    "no HTTP": (
        lambda sock: sock.sendall(b"hello\r\n\r\n"),
        "malformed",
        "does not send a complete HTTP",
    ),
    "nothing": (lambda sock: None, "malformed", "without a response"),
    "early hints without end": (
        lambda sock: sock.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
        "malformed",
        "interim responses",
    ),
    "another protocol": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        ),
        "malformed",
        "interim responses",
    ),
    "two lengths": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nxxxx"
        ),
        "malformed",
        "more than one length",
    ),
    "no length": (
        lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nx\n"),
        "malformed",
        "length of its response",
    ),
    "cut off": (
        lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx\n"),
        "malformed",
        "",
    ),
    "compressed": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"
        ),
        "malformed",
        "compressed",
    ),
    "too large": (reply("200 OK", b"x" * 70_000), "malformed", "too large"),
    "headers without end": (_endless_headers, "malformed", "too large"),
    "chunks without end": (_endless_chunks, "malformed", "too large"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_witness_that_answers_nonsense_gets_an_error_of_its_own(case: str) -> None:
    """Each says in one line what was wrong, with a stable code and a next step."""
    answer, code, words = CASES[case]
    with answering(answer) as url:
        problem = refusal(url, Log().grow(5))
    assert problem.code == f"anchor.{code}"
    assert words in problem.message


def test_409_about_the_same_head_is_a_fork() -> None:
    """The witness holds another root of that very size."""
    log = Log().grow(5)
    for answer in (reply("409 Conflict", b"5\n", "text/x.tlog.size"), reply("409 Conflict", b"")):
        with answering(answer) as url:
            problem = refusal(url, log, known=5)
        assert problem.code == "anchor.conflict"
        assert "different head of 5" in problem.message


def test_a_witness_that_names_another_size_each_time_is_not_followed_for_ever() -> None:
    """Three answers are enough to know."""
    sizes = iter([b"1\n", b"2\n", b"3\n", b"4\n", b"1\n"])
    with answering(
        lambda sock: reply("409 Conflict", next(sizes), "text/x.tlog.size")(sock)
    ) as url:
        problem = refusal(url, Log().grow(5))
    assert problem.code == "anchor.malformed"
    assert next(sizes) == b"4\n"


def _hang(sock: socket.socket) -> None:
    sock.recv(1)


def _one_byte_at_a_time(sock: socket.socket) -> None:
    for each in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" * 100:
        sock.sendall(bytes([each]))
        time.sleep(0.02)


@pytest.mark.parametrize("answer", [_hang, _one_byte_at_a_time])
def test_a_witness_that_hangs_or_drips_is_left_at_the_deadline(
    answer: Callable[[socket.socket], None],
) -> None:
    """The deadline is over everything, not over each read."""
    with answering(answer) as url:
        problem = refusal(url, Log().grow(5), deadline=0.3)
    assert problem.code == "anchor.unreachable"
    assert "deadline (its reply)" in problem.message


def test_nobody_listening_is_unreachable() -> None:
    """A connection that is refused, and a name that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    problem = refusal(f"http://127.0.0.1:{port}", Log().grow(5))
    assert problem.code == "anchor.unreachable"
    assert "connecting" in problem.message


def test_a_name_is_looked_up_within_the_deadline_and_by_one_thread_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's resolver knows no deadline: what hangs in it is left, and not joined by more of
    them.
    """
    go = threading.Event()
    asked: list[str] = []

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        go.wait(30)
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", hang)
    there = anchor("https://w.example", deadline=0.1)
    log = Log().grow(5)
    for _ in range(3):
        with pytest.raises(AnchorError, match=r"deadline \(look-up\)"):
            there.publish(log.note(), log.prove)
    assert asked == ["w.example"]
    go.set()
    there = anchor("https://w.example")
    with pytest.raises(AnchorError) as refused:
        there.publish(log.note(), log.prove)
    assert refused.value.code == "anchor.unreachable"


def test_a_name_leads_to_its_addresses_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody listens on does not keep from the next."""
    log = Log().grow(5)
    with witness(tmp_path, log) as server:
        server.any_host = True
        port = server.server_address[1]

        def two(*_: object, **__: object) -> list[object]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
                for host in ("127.0.0.2", "127.0.0.1")
            ]

        with socket.create_server(("127.0.0.2", port)) as other:
            other.close()
            monkeypatch.setattr("socket.getaddrinfo", two)
            there = anchor(f"http://w.example:{port}/", server.key)
            assert there.publish(log.note(), log.prove).size == 5


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["localhost", "[::1]", "127.0.0.1"])
def test_addresses_are_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Nor is the name of this machine, of which a resolver could say anything."""
    if host == "[::1]" and not _has_ipv6():
        pytest.skip("this machine has no ::1")
    key = WitnessKey.create(tmp_path / "keys", "w.example/1")
    log = Log().grow(5)
    with WitnessStore.create(tmp_path / "w.db", key.key) as store:
        store.add(log.key)
        server = WitnessServer(
            ("::1" if host == "[::1]" else "127.0.0.1", 0),
            store=store,
            cosign=key.cosign,
            verify=verify_signature,
        )
        with serving(server):
            asked: list[object] = []
            monkeypatch.setattr("socket.getaddrinfo", lambda *args, **_: asked.append(args))
            url = f"http://{host}:{server.server_address[1]}"
            assert anchor(url, key.key).publish(log.note(), log.prove).size == 5
            assert asked == []


def test_a_proxy_of_the_environment_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads go where the settings say, and nowhere else."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    log = Log().grow(5)
    with witness(tmp_path, log) as server:
        assert anchor(server.url, server.key).publish(log.note(), log.prove).size == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is not a head"),
        (b"host/audit\n5\n", "is not a head"),
        (Log("other/log").grow(5).note().encode(), "a different log"),
        (Log().grow(5).note().encode(), "cosignature"),
    ],
)
def test_a_latest_head_that_is_none_is_refused(body: bytes, words: str) -> None:
    """Whoever checks a ledger against a witness gets the witness's word or an error."""
    with answering(reply("200 OK", body)) as url, pytest.raises(AnchorError, match=words) as told:
        anchor(url).latest(ORIGIN)
    assert told.value.code == "anchor.malformed"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://w.example",
        "w.example",
        "http://",
        "http://user:secret@w.example",
        "http://w.example:99999",
        "http://w.example/?a=b",
        "http://w.example/a b",
        "http://[::1",
        "http://w\u00f6.example",
    ],
)
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigError) as refused:
        anchor(url)
    assert refused.value.code == "config.anchor_url"
    assert "secret" not in str(refused.value)


def test_a_key_of_a_log_is_no_witnesss_key(tmp_path: Path) -> None:
    """Its type says what it signs; and certificates are for https."""
    log_key = NoteKey("w.example/1", KEY.key.public, Algorithm.ED25519)
    with pytest.raises(ConfigError, match="0x04"):
        anchor("http://127.0.0.1:1", log_key)
    with pytest.raises(ConfigError, match="https"):
        WitnessAnchor("http://127.0.0.1:1", key=KEY.key, verify=verify_signature, ca=tmp_path / "x")
    with pytest.raises(ConfigError, match="certificates"):
        WitnessAnchor(
            "https://127.0.0.1:1", key=KEY.key, verify=verify_signature, ca=tmp_path / "x"
        )
