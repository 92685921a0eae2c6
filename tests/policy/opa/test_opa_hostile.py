"""A server that lies, stalls or breaks off: every call is denied, with its own cause and detail, by
its deadline.
"""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardrail.config import OpaSection
from guardrail.core.decision import parse
from guardrail.core.types import Effect, EngineReply
from guardrail.errors import PolicyError
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.engine import Engine
from guardrail.policy.input_limits import MAX_INPUT
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.opa.transport import MAX_REPLY, OpaConnection
from guardrail.testing import allow, deny
from tests.support.opa_server import (
    ECHO,
    REVISION,
    FakeServer,
    answer,
    certificates,
    engine,
    fake,
    free_port,
    http_reply,
    section,
)
from tests.support.waiting import until

CALL = sample_input().replace('"someone"', '"alice"').encode()
"""A call that the server can tell from a look at it."""
SHORT = 0.4
"""A deadline that a server which stalls will miss."""
LONG = 30.0
"""One that no reply in these tests needs."""

Act = Callable[[socket.socket, FakeServer], None]


def says(raw: bytes) -> Act:
    """Send *raw*, and keep the connection open."""
    return lambda sock, _: sock.sendall(raw)


def ends(raw: bytes) -> Act:
    """Send *raw*, and close."""

    def act(sock: socket.socket, _: FakeServer) -> None:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_RDWR)

    return act


def stalls(raw: bytes = b"") -> Act:
    """Send *raw*, and nothing more as long as the test runs."""

    def act(sock: socket.socket, server: FakeServer) -> None:
        sock.sendall(raw)
        server.let_go.wait()

    return act


def drips(raw: bytes) -> Act:
    """Send *raw* in single bytes, each soon after the one before."""

    def act(sock: socket.socket, server: FakeServer) -> None:
        for index in range(len(raw)):
            sock.sendall(raw[index : index + 1])
            if server.let_go.wait(0.05):
                return

    return act


def resets(raw: bytes) -> Act:
    """Send *raw*, and break the connection off."""

    def act(sock: socket.socket, _: FakeServer) -> None:
        sock.sendall(raw)
        time.sleep(0.05)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # At once, whoever else holds the object.
        os.close(sock.detach())

    return act


GOOD_BODY = orjson.dumps(answer())
GOOD = http_reply(GOOD_BODY)
BOMB = gzip.compress(b"\0" * (64 << 20))
BUILTIN_ERROR = orjson.dumps(
    {
        "code": "internal_error",
        "errors": [
            {"message": "parsing alice@example.com", "location": {"file": "p.rego", "row": 4}}
        ],
    }
)


def body(document: Any) -> Act:
    return says(http_reply(document if isinstance(document, bytes) else orjson.dumps(document)))


def status(code: str, content: bytes = b"{}", *headers: str) -> Act:
    return says(http_reply(content, status=code, headers=headers))


WITHOUT_RESULT = {key: value for key, value in answer().items() if key != "result"}

HOSTILE: dict[str, tuple[Act, str, str, float]] = {
    "never answers": (stalls(), "timeout", "reply", SHORT),
    "hangs in the status line": (stalls(GOOD[:9]), "timeout", "reply", SHORT),
    "hangs in the headers": (stalls(GOOD[:40]), "timeout", "reply", SHORT),
    "hangs in the body": (stalls(GOOD[:-5]), "timeout", "reply", SHORT),
    "drips": (drips(GOOD), "timeout", "reply", SHORT),
    "drips headers without end": (
        drips(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000), "timeout", "reply", SHORT,
    ),
    "drips 100 Continue": (drips(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "timeout", "reply", SHORT),
    "closes without a reply": (ends(b""), "unreachable", "disconnected", LONG),
    "resets without a reply": (resets(b""), "unreachable", "disconnected", LONG),
    "ends in the status line": (ends(GOOD[:9]), "malformed", "truncated", LONG),
    "ends in the headers": (ends(GOOD[:40]), "malformed", "truncated", LONG),
    "ends in the body": (ends(GOOD[:-5]), "malformed", "truncated", LONG),
    "resets in the body": (resets(GOOD[:-5]), "malformed", "truncated", LONG),
    "ends in a chunk": (
        ends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"), "malformed", "truncated", LONG,
    ),
    "a body without a length": (
        ends(b"HTTP/1.1 200 OK\r\n\r\n" + orjson.dumps(answer())), "malformed", "length", LONG,
    ),
    **{
        name: (
            says(GOOD.replace(b"Content-Length: ", headers.encode() + b"\r\nContent-Length: ", 1)),
            "malformed", detail, LONG,
        )
        for name, headers, detail in (
            ("a length twice", f"Content-Length: {len(GOOD_BODY)}", "length"),
            ("two lengths", "Content-Length: 2", "length"),
            ("a length and chunks", "Transfer-Encoding: chunked", "length"),
            ("a length and another coding", "Transfer-Encoding: identity", "length"),
            ("a header without a colon", "Nonsense", "http"),
            ("a header that goes on", "A: b\r\n c", "http"),
            ("a space before the colon", "A : b", "http"),
            ("a bare carriage return", "A: b\rContent-Length: 2", "http"),
            ("a bare line feed", "A: b\nContent-Length: 2", "http"),
        )
    },
    **{
        f"a length written {text!r}": (
            says(http_reply(GOOD_BODY, headers=[f"Content-Length: {text}"])), "malformed", "length", LONG,
        )
        for text in (
            f"+{len(GOOD_BODY)}", "-1", f"{len(GOOD_BODY)}, {len(GOOD_BODY)}", "0x10", "1_0", "", "9" * 30,
        )
    },
    **{
        f"a chunk size written {text!r}": (
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text + b"\r\n{}\r\n0\r\n\r\n"),
            "malformed", "http", LONG,
        )
        for text in (b"+2", b"-2", b"0x2", b" 2", b"2_0", b"")
    },
    "no HTTP": (says(b"220 mail.example.com ESMTP\r\n\r\n"), "malformed", "http", LONG),
    "an impossible status": (status("2000 OK"), "malformed", "http", LONG),
    "a chunk of no size": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "malformed", "http", LONG,
    ),
    "an endless header": (says(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000), "malformed", "http", LONG),
    "a thousand headers": (
        says(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n"), "malformed", "http", LONG,
    ),
    "headers without end": (
        says(b"HTTP/1.1 100 Continue\r\n" + b"A: b\r\n" * 100_000), "malformed", "http", LONG,
    ),
    "100 Continue without end": (
        says(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000), "malformed", "interim", LONG,
    ),
    "too large, and says so": (
        stalls(http_reply(b"", headers=[f"Content-Length: {MAX_REPLY + 1}"])), "malformed", "too_large", LONG,
    ),
    "too large in chunks": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"40000\r\n" + (b"x" * 0x40000 + b"\r\n40000\r\n") * 8),
        "malformed", "too_large", LONG,
    ),
    "a gzip bomb": (
        says(http_reply(BOMB, headers=["Content-Encoding: gzip"])), "malformed", "encoding", LONG,
    ),
    "a gzip bomb that is not declared": (says(http_reply(BOMB)), "malformed", "not_json", LONG),
    "another path": (
        status("302 Found", b"", "Location: /v1/data/open"), "malformed", "redirect", LONG,
    ),
    "moved for good": (
        status("301 Moved Permanently", b"", "Location: /x"), "malformed", "redirect", LONG,
    ),
    "a builtin error": (status("500 Internal Server Error", BUILTIN_ERROR), "error", "evaluation", LONG),
    "another 500": (status("500 Internal Server Error", b"oops"), "error", "status_500", LONG),
    "500 with a good body": (
        status("500 Internal Server Error", orjson.dumps(answer())), "error", "status_500", LONG,
    ),
    "not found with a good body": (
        status("404 Not Found", orjson.dumps(answer())), "error", "status_404", LONG,
    ),
    "created with a good body": (status("201 Created", orjson.dumps(answer())), "error", "status_201", LONG),
    "no content": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), "error", "status_204", LONG),
    "unauthorized": (status("401 Unauthorized"), "error", "unauthorized", LONG),
    "forbidden": (status("403 Forbidden"), "error", "unauthorized", LONG),
    "bad request": (status("400 Bad Request"), "error", "input", LONG),
    "overloaded": (status("503 Service Unavailable"), "unreachable", "status_503", LONG),
    "HTML": (body(b"<html><body>allow</body></html>"), "malformed", "not_json", LONG),
    "an empty body": (body(b""), "malformed", "not_json", LONG),
    "two documents": (body(orjson.dumps(answer()) * 2), "malformed", "not_json", LONG),
    "JSON nested without end": (body(b'{"result":' + b"[" * 200_000), "malformed", "not_json", LONG),
    "NaN": (body(b'{"result": NaN}'), "malformed", "not_json", LONG),
    "null": (body(None), "malformed", "not_object", LONG),
    "true": (body(True), "malformed", "not_object", LONG),
    "a list": (body([answer()]), "malformed", "not_object", LONG),
    "a text": (body("allow"), "malformed", "not_object", LONG),
    "{}": (body({}), "undefined", "no_decision", LONG),
    "no result": (body(WITHOUT_RESULT), "undefined", "no_decision", LONG),
    "provenance that is a text": (body(answer(provenance="b")), "malformed", "provenance", LONG),
    "bundles that are a list": (
        body(answer(provenance={"bundles": [REVISION]})), "malformed", "provenance", LONG,
    ),
    "a revision that is a number": (
        body(answer(provenance={"bundles": {"b": {"revision": 5}}})), "malformed", "provenance", LONG,
    ),
    "no provenance": (body({"result": answer()["result"]}), "revision", "none", LONG),
    "no bundle": (body(answer(provenance={"version": "1", "bundles": {}})), "revision", "none", LONG),
    "an empty revision": (
        body(answer(provenance={"bundles": {"b": {"revision": ""}}})), "revision", "none", LONG,
    ),
    "another revision": (
        body(answer(provenance={"bundles": {"b": {"revision": "6" * 64}}})), "revision", "unaccepted", LONG,
    ),
    "a revision that begins alike": (
        body(answer(provenance={"bundles": {"b": {"revision": REVISION + "0"}}})), "revision", "unaccepted", LONG,
    ),
    "policies that are not pure": (
        body(answer(provenance={"bundles": {"b": {"revision": "impure-" + REVISION}}})), "revision", "unaccepted", LONG,
    ),
    "the answer to another question": (
        body(answer(result={"decision": allow(), "echo": "0" * 32})), "malformed", "echo", LONG,
    ),
    "an answer to no question": (body(answer(result={"decision": allow()})), "malformed", "echo", LONG),
    "an echo that is a number": (
        body(answer(result={"decision": allow(), "echo": 5})), "malformed", "echo", LONG,
    ),
    "a bare decision": (body(answer(result=allow())), "malformed", "echo", LONG),
    "an answer with more in it": (
        body(answer(result={"decision": allow(), "echo": ECHO, "also": 1})), "malformed", "echo", LONG,
    ),
    "another protocol": (says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + GOOD), "malformed", "interim", LONG),
    "early hints without end": (
        says(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100), "malformed", "interim", LONG,
    ),
    "not modified, and then a good answer": (
        says(b"HTTP/1.1 304 Not Modified\r\n\r\n" + GOOD), "malformed", "redirect", LONG,
    ),
    "no content, and then a good answer": (
        says(b"HTTP/1.1 204 No Content\r\n\r\n" + GOOD), "error", "status_204", LONG,
    ),
    "two bundles": (
        body(answer(provenance={"bundles": {"b": {"revision": REVISION}, "c": {"revision": "1"}}})),
        "revision", "ambiguous", LONG,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[FakeServer, OpaEngine]]:
    """A server whose behaviour can be chosen, and an engine that took it for a good one."""
    with (
        fake() as server,
        engine(server.url, revisions=(REVISION,), breaker_failures=1000, watch_interval_ms=60_000) as connected,
    ):  # fmt: skip
        yield server, connected


def failure(asked: Engine, *, deadline: float = LONG, document: bytes = CALL) -> tuple[str, str]:
    """Return cause and detail of a call that gets no reply."""
    with pytest.raises(PolicyError) as caught:
        asked.decide(document, shard="t\0s\0tool", deadline=deadline).result(LONG)
    return caught.value.cause, caught.value.detail


def allowed(asked: Engine) -> EngineReply:
    """Make sure that a call is allowed."""
    reply = asked.decide(CALL, shard="t\0s\0tool", deadline=LONG).result(LONG)
    assert parse(reply.document).effect is Effect.ALLOW
    return reply


@pytest.mark.parametrize(("act", "cause", "detail", "deadline"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_server_does_the_call_is_denied_with_its_cause(
    pair: tuple[FakeServer, OpaEngine], act: Act, cause: str, detail: str, deadline: float
) -> None:
    """And the next call, which is answered well, is decided by its own answer."""
    server, connected = pair
    server.behave = lambda sock: act(sock, server)
    assert failure(connected, deadline=deadline) == (cause, detail)
    server.behave = None
    if (cause, detail) != ("revision", "ambiguous"):
        until(lambda: connected._refusal is None)
    assert allowed(connected).policy.revision == REVISION


def test_a_document_that_is_no_decision_denies_when_it_is_judged(
    pair: tuple[FakeServer, OpaEngine],
) -> None:
    """What the engine hands on is judged by the one place that can allow."""
    server, connected = pair
    for result in (None, True, [], "allow", {}, {"effect": "allow"}, allow(contract="guardrail/2")):
        server.behave = lambda sock, result=result: sock.sendall(  # type: ignore[misc]
            http_reply(orjson.dumps(answer() | {"result": {"decision": result, "echo": ECHO}}))
        )
        reply = connected.decide(CALL, shard="t\0s\0x", deadline=LONG).result(LONG)
        assert parse(reply.document).effect is Effect.DENY
    server.behave = None


def test_a_second_reply_is_never_taken_for_the_next_calls(
    pair: tuple[FakeServer, OpaEngine],
) -> None:
    """An allow that came unasked, in the same packet or later, decides nothing."""
    server, connected = pair
    deny = http_reply(orjson.dumps(answer({"unasked": False})))
    for extra in (deny + GOOD, deny + GOOD[:30]):
        server.behave = lambda sock, extra=extra: sock.sendall(extra)  # type: ignore[misc]
        assert parse(connected.decide(CALL, shard="a", deadline=LONG).result(LONG).document).effect is Effect.DENY  # fmt: skip
        server.behave = lambda sock: sock.sendall(deny)
        assert parse(connected.decide(CALL, shard="a", deadline=LONG).result(LONG).document).effect is Effect.DENY  # fmt: skip
    server.behave = None


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "199": b"HTTP/1.1 199 Odd\r\nContent-Length: 2\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "an answer of its own": http_reply(orjson.dumps(answer(allow("stale")))),
}


@pytest.mark.parametrize("before", INTERIM.values(), ids=INTERIM)
def test_what_a_server_sends_before_its_answer_shifts_no_answer(before: bytes) -> None:
    """A proxy may send it at once, and the answer when it has one: no call is decided by that of
    the call before it.
    """
    with fake() as server, engine(server.url, revisions=(REVISION,), connections=1) as connected:

        def decide(sock: socket.socket) -> None:
            good = b'"good"' in server.asked[-1]
            sock.sendall(before)
            time.sleep(0.05)
            sock.sendall(http_reply(orjson.dumps(answer(allow("asked") if good else deny("no")))))

        server.behave = decide
        for name in ("good", "evil", "evil", "good", "evil"):
            future = connected.decide(orjson.dumps({"tool": name}), shard=name, deadline=LONG)
            error = future.exception(LONG)
            if error is not None:
                continue
            judged = parse(future.result().document)
            assert judged.effect is (Effect.ALLOW if name == "good" else Effect.DENY) or (
                judged.rules[0].rule == "stale"
            )
        server.behave = None
        # What came late on a kept connection costs one call at most.
        until(lambda: failure_or_none(connected) is None)
        allowed(connected)


def test_an_answer_held_back_for_another_call_is_noticed() -> None:
    """Whole, well framed and on its own connection: only what the request carried tells that it is
    not the answer.
    """
    with fake() as server, engine(server.url, revisions=(REVISION,), connections=1) as connected:
        kept: list[bytes] = []

        def remember(sock: Any) -> None:
            kept.append(GOOD.replace(ECHO.encode(), sock.echo))
            sock.sendall(GOOD)

        server.behave = remember
        allowed(connected)
        server.behave = lambda sock: sock.sendall(kept[0])
        for _ in range(3):
            assert failure(connected) == ("malformed", "echo")
        server.behave = None
        allowed(connected)


@pytest.mark.parametrize(
    ("reply", "connections"),
    [
        (GOOD, 1),
        (http_reply(orjson.dumps(answer()), headers=["Connection: close"]), 3),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), 3),
        (INTERIM["103"] + GOOD, 3),
        (GOOD + b"\r\n", 3),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(GOOD_BODY):x}\r\n".encode() + GOOD_BODY + b"\r\n0\r\n\r\n",
            3,
        ),
    ],
    ids=["a length", "close", "HTTP/1.0", "an interim reply", "more behind it", "chunks"],
)  # fmt: skip
def test_a_connection_is_kept_only_behind_a_reply_that_ends_without_doubt(
    reply: bytes, connections: int
) -> None:
    """Status 200 with one length and nothing behind it; each other good answer is taken, and its
    connection closed.
    """
    with (
        fake() as server,
        engine(
            server.url, revisions=(REVISION,), connections=1, watch_interval_ms=60_000
        ) as connected,
    ):
        used: set[int] = set()

        def note(sock: Any) -> None:
            used.add(id(sock))
            held.append(sock)
            sock.sendall(reply)

        held: list[Any] = []
        server.behave = note
        for _ in range(3):
            allowed(connected)
        assert len(used) == connections


def test_a_reply_that_comes_unasked_decides_no_call(pair: tuple[FakeServer, OpaEngine]) -> None:
    """On a connection that is kept, between two calls."""
    server, connected = pair
    refusal = http_reply(orjson.dumps(answer({"unasked": False})))
    sent = threading.Event()

    def twice(sock: socket.socket) -> None:
        sock.sendall(refusal)
        time.sleep(0.1)
        server.behave = lambda sock: sock.sendall(refusal)
        sock.sendall(GOOD)
        sent.set()

    server.behave = twice
    for _ in range(2):
        reply = connected.decide(CALL, shard="a", deadline=LONG).result(LONG)
        assert parse(reply.document).effect is Effect.DENY
        assert sent.wait(LONG)
    server.behave = None


def test_what_the_server_quotes_of_a_call_reaches_no_message(
    pair: tuple[FakeServer, OpaEngine],
) -> None:
    """OPA's text about a failed builtin names the value it failed on."""
    server, connected = pair
    server.behave = lambda sock: sock.sendall(
        http_reply(BUILTIN_ERROR, status="500 Internal Server Error")
    )
    with pytest.raises(PolicyError) as caught:
        connected.decide(CALL, shard="a", deadline=LONG).result(LONG)
    server.behave = None
    assert "p.rego, line 4" in str(caught.value)
    assert "alice" not in repr((str(caught.value), caught.value.hint, caught.value.args))


def test_a_kept_connection_that_the_server_closed_is_replaced_unseen() -> None:
    """Nothing of a reply came, so asking again can't decide twice; a new connection is not
    retried.
    """
    with fake() as server, engine(server.url, revisions=(REVISION,)) as connected:
        allowed(connected)

        def close_the_first(sock: socket.socket) -> None:
            server.behave = None
            sock.shutdown(socket.SHUT_RDWR)

        server.behave = close_the_first
        before = len(server.asked)
        allowed(connected)
        assert len(server.asked) == before + 2


def test_a_reply_that_was_cut_is_not_asked_for_again() -> None:
    """Once a byte came back, what it said is lost for good."""
    with fake() as server, engine(server.url, revisions=(REVISION,)) as connected:
        allowed(connected)
        server.behave = lambda sock: ends(GOOD[:-3])(sock, server)
        before = len(server.asked)
        assert failure(connected) == ("malformed", "truncated")
        assert len(server.asked) == before + 1


def test_input_goes_to_the_server_as_it_is() -> None:
    """Byte for byte, in a request that asks for strict builtin errors and for the revision, and
    takes no compression.
    """
    with fake() as server, engine(server.url, revisions=(REVISION,)) as connected:
        allowed(connected)
        (request,) = server.asked
        head, _, content = request.partition(b"\r\n\r\n")
        echo = content.partition(b'"echo":"')[2][:32]
        assert content == b'{"input":{"echo":"' + echo + b'","question":' + CALL + b"}}"
        line = head.split(b"\r\n")[0]
        assert b"strict-builtin-errors=true" in line
        assert b"provenance=true" in line
        assert b"\r\nAccept-Encoding: identity\r\n" in head
        large = CALL.replace(b'"args": {}', b'"args": {"a": "' + b"x" * MAX_INPUT + b'"}')
        assert failure(connected, document=large) == ("error", "input_size")
        assert len(server.asked) == 1


def test_a_hanging_reply_delays_no_other_call() -> None:
    """One connection waits; the others are answered meanwhile."""
    with fake() as server, engine(server.url, revisions=(REVISION,), connections=4) as connected:
        first = threading.Event()

        def hang_once(sock: socket.socket) -> None:
            if not first.is_set():
                first.set()
                server.let_go.wait()
            sock.sendall(GOOD)

        server.behave = hang_once
        hanging = connected.decide(CALL, shard="t\0poison\0x", deadline=LONG)
        assert first.wait(LONG)
        for _ in range(64):
            allowed(connected)
        assert not hanging.done()


def test_calls_that_find_no_free_connection_are_denied_by_their_deadlines() -> None:
    """A saturated pool is no reason to wait, whatever the deadlines of those who saturate it."""
    with fake() as server, engine(server.url, revisions=(REVISION,), connections=2) as connected:
        server.behave = lambda sock: stalls()(sock, server)
        slow = [connected.decide(CALL, shard=f"t\0{n}\0x", deadline=LONG) for n in range(2)]
        assert failure(connected, deadline=SHORT) == ("timeout", "pool")
        assert not any(future.done() for future in slow)


def test_questions_of_one_principal_that_take_long_leave_room_for_the_others() -> None:
    """Whatever agents, sessions and tools it uses: a quarter of the connections is for somebody
    else.
    """
    with fake() as server, engine(server.url, revisions=(REVISION,), connections=4) as connected:
        server.behave = lambda sock: stalls()(sock, server)
        slow = [
            connected.decide(CALL, shard=f"t\0eve\0agent {n}\0tool {n}", deadline=LONG)
            for n in range(20)
        ]
        until(lambda: len(server.asked) == 3)
        server.behave = None
        for _ in range(20):
            reply = connected.decide(CALL, shard="t\0bob\0a\0x", deadline=LONG).result(LONG)
            assert parse(reply.document).effect is Effect.ALLOW
        assert not any(future.done() for future in slow)


def test_a_server_that_can_not_be_reached_is_not_asked_for_a_while() -> None:
    """The breaker opens after failures in a row, lets one call find out, and closes when that is
    answered.
    """
    with (
        fake() as server,
        engine(
            server.url,
            revisions=(REVISION,),
            breaker_failures=3,
            breaker_reset_ms=200,
            watch_interval_ms=60_000,
        ) as connected,
    ):
        allowed(connected)
        server.greet = lambda sock: sock.close()
        server.behave = lambda sock: sock.shutdown(socket.SHUT_RDWR)
        found = [failure(connected) for _ in range(8)]
        assert found[:3] == [("unreachable", "disconnected")] * 3
        assert ("unreachable", "breaker") in found[3:]
        server.greet = server.behave = None
        until(lambda: failure_or_none(connected) is None)
        allowed(connected)


def failure_or_none(asked: Engine) -> tuple[str, str] | None:
    try:
        asked.decide(CALL, shard="t\0s\0x", deadline=LONG).result(LONG)
    except PolicyError as error:
        return error.cause, error.detail
    return None


def test_a_tool_that_is_never_answered_in_time_does_not_stop_the_others() -> None:
    """Its own calls are no longer asked about for a while."""
    with (
        fake() as server,
        engine(server.url, revisions=(REVISION,), breaker_failures=2) as connected,
    ):
        server.behave = lambda sock: stalls()(sock, server)
        poison = [
            connected.decide(CALL, shard="t\0poison\0x", deadline=SHORT).exception(LONG)
            for _ in range(3)
        ]
        assert [(e.cause, e.detail) for e in poison if isinstance(e, PolicyError)] == [
            ("timeout", "reply"),
            ("timeout", "reply"),
            ("timeout", "breaker_open"),
        ]
        server.behave = None
        allowed(connected)


def test_a_closed_engine_ends_what_is_open() -> None:
    """Open calls end, later ones are refused, closing twice does nothing."""
    with fake() as server, engine(server.url, revisions=(REVISION,), connections=1) as connected:
        server.behave = lambda sock: stalls()(sock, server)
        asked = [connected.decide(CALL, shard="a", deadline=SHORT) for _ in range(3)]
        connected.close()
        ended = [future.exception(LONG) for future in asked]
        assert all(isinstance(error, PolicyError) for error in ended)
        assert failure(connected) == ("unreachable", "closed")


def refused_start(url: str, **settings: Any) -> tuple[str, str]:
    with pytest.raises(PolicyError) as caught:
        OpaEngine.connect(section(url, start_limit_ms=300, **settings))
    assert caught.value.hint
    return caught.value.cause, caught.value.detail


def test_a_server_that_is_not_there_is_refused_at_start() -> None:
    """Cause, detail and hint."""
    url = f"http://127.0.0.1:{free_port()}"
    assert refused_start(url, revisions=(REVISION,)) == ("unreachable", "connect")


def test_a_server_that_is_not_well_admits_no_call() -> None:
    """At start and later, although it would answer; when it is well again, calls go on."""
    with fake(well=False) as server:
        assert refused_start(server.url, revisions=(REVISION,)) == ("unreachable", "not_ready")
        server.well = True
        with engine(server.url, revisions=(REVISION,), watch_interval_ms=50) as connected:
            allowed(connected)
            server.well = False
            until(lambda: failure_or_none(connected) == ("unreachable", "not_ready"))
            before = len(server.asked)
            assert failure(connected) == ("unreachable", "not_ready")
            assert len(server.asked) == before
            server.well = True
            until(lambda: failure_or_none(connected) is None)


def test_a_slow_handshake_is_a_timeout(tmp_path: Path) -> None:
    """At start, and for a call on a connection that is new."""
    made = certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    with fake(tls=context) as server:
        with engine(server.url, revisions=(REVISION,), ca=made.ca, watch_interval_ms=60_000) as connected:  # fmt: skip
            server.greet = lambda _: server.let_go.wait()  # type: ignore[assignment,return-value]
            assert failure(connected, deadline=SHORT) == ("timeout", "tls")
        with pytest.raises(PolicyError) as caught:
            OpaEngine.connect(
                OpaSection(url=server.url, revisions=(REVISION,), ca=made.ca, start_limit_ms=300)
            )
        assert (caught.value.cause, caught.value.detail) == ("timeout", "tls")


def test_a_server_that_does_not_read_is_a_timeout() -> None:
    """Sending ends by the deadline as well; larger than any buffer on the way, so that it has to
    wait.
    """
    with fake() as server:
        server.greet = lambda _: server.let_go.wait()  # type: ignore[assignment,return-value]
        connection = OpaConnection(OpaTarget(section(server.url)))
        with pytest.raises(PolicyError) as caught:
            connection.ask("POST", "/v1/data", b"x" * (64 << 20), time.monotonic() + 3)
        assert (caught.value.cause, caught.value.detail) == ("timeout", "send")
        connection.close()


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    """Before any byte of a call is sent."""
    made, other = certificates(tmp_path / "a"), certificates(tmp_path / "b")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    with fake(tls=context) as server:
        assert refused_start(server.url, revisions=(REVISION,), ca=other.ca) == (
            "unreachable",
            "certificate",
        )
        assert server.asked == []


def test_no_proxy_or_netrc_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the environment leads elsewhere, the server that is named is asked all the same."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nowhere)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login who password what\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    token = tmp_path / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    with fake() as server, engine(server.url, revisions=(REVISION,), token_file=token) as connected:
        allowed(connected)
        assert b"\r\nAuthorization: Bearer first\r\n" in server.asked[-1]
        # Read again when it changes.
        token.write_text("the second\n".replace(" ", "-"))
        allowed(connected)
        assert b"\r\nAuthorization: Bearer the-second\r\n" in server.asked[-1]
        token.chmod(0o644)
        assert failure(connected) == ("unreachable", "token")
        token.unlink()
        assert failure(connected) == ("unreachable", "token")
