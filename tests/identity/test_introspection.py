"""Tokens whose issuer is asked whether they were revoked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard, SessionScope
from guardrail.core.log.record import dumps
from guardrail.errors import ConfigError, IdentityError
from guardrail.identity import introspection, tokens
from guardrail.identity.introspection import MOST_ASKED, REVOKED, NotAsked
from guardrail.identity.tokens import NOT_ASKED, TokenVerifier
from guardrail.system.futures import BatchedFuture
from guardrail.testing import MemoryLedger
from tests.support.introspection import SECRET, IntrospectionServer, introspection_server, table
from tests.support.tokens import ISSUER, NOW, jwk, key_set, settings_for, token, token_guard
from tests.support.waiting import until

LONG = 2_000_000_000


@pytest.fixture
def server() -> Iterator[IntrospectionServer]:
    """A real endpoint."""
    with introspection_server() as made:
        yield made


def guarded(
    folder: Path, server: IntrospectionServer | str, **more: object
) -> tuple[Guard, MemoryLedger]:
    """Return a guard whose issuer has the endpoint *server*."""
    return token_guard(folder, introspection=table(server, folder, **more))


def threads() -> int:
    """Return the number of threads, without those of the endpoint itself."""
    return sum("process_request" not in each.name for each in threading.enumerate())


def details(ledger: MemoryLedger) -> list[str]:
    """Return the detail of each decision."""
    return [record["decision"]["detail"] for record in ledger.of("call.decision")]


def called(guard: Guard) -> bool:
    """Make a call; return True if it ran."""
    try:
        guard.call("x", {}, lambda: None)
    except Denied:
        return False
    return True


def refused(guard: Guard, text: str) -> str:
    """Return the code with which a token is refused."""
    with pytest.raises(IdentityError) as caught:
        guard.session(token=text)
    assert not any(part in str(caught.value) for part in (*text.split("."), SECRET))
    return caught.value.code


def test_a_revoked_token_denies_the_next_call_after_the_interval(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """The endpoint is asked for the new token, and then at most once per interval."""
    guard, ledger = guarded(tmp_path, server, interval_s=30)
    text = token(exp=LONG)
    with guard.session(token=text):
        for _ in range(5):
            assert called(guard)
            guard.session(token=text)
        assert server.requests == [text]
        server.revoked.add(text)
        assert called(guard)  # the answer is still valid
        ledger.now += timedelta(seconds=31)
        assert not called(guard)
        assert not called(guard)
        assert refused(guard, text) == "identity.token.revoked"
        assert server.requests == [text] * 2
        server.revoked.clear()
        ledger.now += timedelta(seconds=31)
        assert called(guard)
    assert details(ledger)[-3:] == ["token_revoked", "token_revoked", ""]
    assert server.refused == 0


def test_a_clock_that_is_set_back_again_and_again_keeps_no_answer_valid(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """Such a clock can show the same time for hours."""
    path = tmp_path / "keys.json"
    path.write_text(key_set(jwk()))
    settings = settings_for(path, introspection=table(server, tmp_path, interval_s=1))
    text = token(exp=LONG)
    verified = TokenVerifier(settings, lambda: NOW).verify(text, wait=0)
    assert not verified.refusal()
    server.revoked.add(text)
    until(lambda: verified.refusal() == REVOKED)


def test_a_clock_that_is_set_back_again_and_again_keeps_no_signature_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set(jwk()))
    monkeypatch.setattr(tokens, "_MEMORY_S", 0.01)
    verified = TokenVerifier(settings_for(path), lambda: NOW).verify(token(exp=LONG), wait=0)
    before = verified._checked
    until(lambda: not verified.refusal() and verified._checked is not before)


def test_a_revoked_token_opens_no_session(tmp_path: Path, server: IntrospectionServer) -> None:
    """However often it is tried, the endpoint is asked once."""
    guard, _ = guarded(tmp_path, server)
    text = token()
    server.revoked.add(text)
    for _ in range(5):
        assert refused(guard, text) == "identity.token.revoked"
    assert server.requests == [text]


def test_only_tokens_of_the_issuer_reach_the_endpoint(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """A stranger can't make guardrail flood it."""
    guard, _ = guarded(tmp_path, server)
    for wrong in ({"number": 1}, {"aud": "other"}, {"exp": 1, "iat": 0}):
        assert refused(guard, token(**wrong)).startswith("identity.token.")  # type: ignore[arg-type]
    assert server.requests == []


@pytest.mark.parametrize(
    ("how", "value"),
    [
        ("status", 500),
        ("status", 401),
        ("status", 302),
        ("raw", b""),
        ("raw", b"<html>"),
        ("raw", b"[true]"),
        ("raw", b"\xff"),
        ("raw", b"{}"),
        ("raw", b'{"active": "true"}'),
        ("raw", b'{"active": 1}'),
        ("raw", b'{"active": false, "active": true}'),
        ("raw", b'{"active": true, "pad": "' + b"x" * 70_000 + b'"}'),
        ("more", {"sub": "mallory@example.com"}),
        ("more", {"iss": "https://other.example"}),
        ("more", {"exp": "soon"}),
        ("more", {"nbf": True}),
    ],
)
def test_every_other_answer_refuses_the_token(
    tmp_path: Path, server: IntrospectionServer, how: str, value: Any
) -> None:
    """A wrong answer, and one about another token."""
    guard, ledger = guarded(tmp_path, server)
    text = token(exp=LONG)
    with guard.session(token=text):
        setattr(server, how, value)
        ledger.now += timedelta(seconds=61)
        assert not called(guard)
        assert refused(guard, text) == "identity.token.introspection"
        setattr(server, how, {"status": 200, "raw": None, "more": {}}[how])
        ledger.now += timedelta(seconds=2)
        assert called(guard)
    assert details(ledger) == ["token_introspection", ""]


@pytest.mark.parametrize("times", [{"exp": 1}, {"nbf": LONG}])
def test_an_answer_that_is_no_longer_or_not_yet_true_refuses(
    tmp_path: Path, server: IntrospectionServer, times: dict[str, int]
) -> None:
    """Although it says active."""
    guard, _ = guarded(tmp_path, server)
    server.more = times
    assert refused(guard, token()) == "identity.token.revoked"
    server.more = {"exp": LONG, "nbf": 1.5, "sub": "alice@example.com", "iss": ISSUER}
    guard.session(token=token(jti="other"))


def test_an_endpoint_that_is_down_or_slow_refuses(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """Fail closed: nobody knows whether the token was revoked."""
    guard, _ = guarded(tmp_path, "http://127.0.0.1:9/introspect")
    assert refused(guard, token()) == "identity.token.introspection"
    server.hold.clear()
    guard, _ = guarded(tmp_path, server, timeout_ms=50)
    assert refused(guard, token()) == "identity.token.introspection"


def test_threads_that_need_one_answer_share_a_request(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """Those that wait longer than the time of a request are refused."""
    guard, ledger = guarded(tmp_path, server, timeout_ms=10_000)
    text = token(exp=LONG)
    session = guard.session(token=text)
    ledger.now += timedelta(seconds=61)
    server.hold.clear()
    begun = threading.Barrier(9)

    def one() -> bool:
        begun.wait()
        with session:
            return called(guard)

    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(one) for _ in range(8)]
        begun.wait()
        server.hold.set()
        assert all(each.result() for each in made)
    assert server.requests == [text] * 2


def test_those_who_wait_for_a_request_that_fails_are_refused(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """None of them waits longer than the time of a request."""
    guard, _ = guarded(tmp_path, server, timeout_ms=100)
    server.hold.clear()
    text = token()
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(refused, guard, text) for _ in range(4)]
        codes = {each.result() for each in made}
    assert codes == {"identity.token.introspection"}


async def test_a_hanging_endpoint_occupies_few_threads(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """However many tasks wait: for one token they share one request, and requests about many tokens
    share a few threads. Nobody waits longer than the time of a request.
    """
    guard, ledger = guarded(tmp_path, server, timeout_ms=1_000)
    text = token(exp=LONG)
    session = await guard.asession(token=text)
    ledger.now += timedelta(seconds=61)
    server.hold.clear()
    before = peak = threads()

    async def call() -> str:
        with session:
            try:
                await guard.acall("x", {}, lambda: None)
            except Denied:
                return "denied"
        return "ran"

    async def enter(number: int) -> str:
        try:
            await guard.asession(token=text if number % 2 else token(exp=LONG, jti=f"{number}"))
        except IdentityError as error:
            return error.code
        return "entered"

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, threads())
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    made = await asyncio.gather(*(call() for _ in range(100)), *map(enter, range(200)))
    watching.cancel()
    assert set(made) == {"denied", "identity.token.introspection"}
    assert peak - before < 2 * MOST_ASKED  # the guard may start some of its own
    server.hold.set()
    ledger.now += timedelta(seconds=2)
    assert await call() == "ran"
    assert server.requests.count(text) <= 3


async def test_too_many_tokens_are_refused_at_once(
    tmp_path: Path, server: IntrospectionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a detail of its own, which is not remembered: the next call may be served."""
    monkeypatch.setattr(introspection, "MOST_WAITING", 1)
    monkeypatch.setattr(introspection, "MOST_ASKED", 1)
    guard, ledger = guarded(tmp_path, server, timeout_ms=10_000)
    sessions = [await guard.asession(token=token(exp=LONG, jti=f"{n}")) for n in range(3)]
    ledger.now += timedelta(seconds=61)
    server.hold.clear()

    async def call(session: SessionScope) -> None:
        await guard.acall("x", {}, lambda: None, session=session)

    first = asyncio.create_task(call(sessions[0]))
    while not server.waiting:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(call(sessions[1]))
    await asyncio.sleep(0)
    with pytest.raises(Denied) as caught:
        await call(sessions[2])
    assert "too many tokens" in caught.value.hint
    with pytest.raises(IdentityError, match="too many others"):
        await guard.asession(token=token(exp=LONG, jti="4"))
    server.hold.set()
    await asyncio.gather(first, second)
    await call(sessions[2])
    assert details(ledger) == ["token_introspection_busy", "", "", ""]


async def test_nobody_waits_longer_than_the_time_of_a_request(
    tmp_path: Path, server: IntrospectionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only thread hangs in the request about another token, so no answer comes in time."""
    monkeypatch.setattr(introspection, "MOST_ASKED", 1)
    guard, ledger = guarded(tmp_path, server, timeout_ms=200)
    tokens = [token(exp=LONG, jti=f"{number}") for number in range(2)]
    sessions = [await guard.asession(token=each) for each in tokens]
    ledger.now += timedelta(seconds=61)
    server.hold.clear()
    late = {"token_introspection", "token_introspection_busy"}

    async def call(session: SessionScope) -> None:
        with pytest.raises(Denied):
            await guard.acall("x", {}, lambda: None, session=session)

    await asyncio.gather(*map(call, sessions))
    assert set(details(ledger)) <= late
    sessions[0].token_refusal = lambda: NotAsked(BatchedFuture(), 0.01)
    await call(sessions[0])
    assert details(ledger)[-1] == "token_introspection"
    with pytest.raises(IdentityError, match="can't be confirmed"):
        await guard.asession(token=token(exp=LONG, jti="new"))


async def test_an_answer_that_took_longer_than_it_is_valid_is_used(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """Otherwise a slow endpoint would be asked forever."""
    guard, ledger = guarded(tmp_path, server, timeout_ms=10_000, interval_s=1)
    session = await guard.asession(token=token(exp=LONG))
    ledger.now += timedelta(seconds=2)
    server.hold.clear()
    with session:
        waiting = asyncio.create_task(guard.acall("x", {}, lambda: None))
        while not server.waiting:
            await asyncio.sleep(0.01)
        ledger.now += timedelta(seconds=30)
        server.hold.set()
        await waiting
    assert len(server.requests) == 2


async def test_an_event_loop_never_waits_for_the_endpoint(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """A session is opened in a thread; a call asks in a thread, and other tasks go on."""
    guard, ledger = guarded(tmp_path, server)
    text = token(exp=LONG)
    server.hold.clear()
    with pytest.raises(IdentityError, match="event loop") as caught:
        guard.session(token=text)
    assert "to_thread" in caught.value.hint
    server.hold.set()
    session = await asyncio.to_thread(guard.session, token=text)
    with session:
        await guard.acall("x", {}, lambda: None)
        ledger.now += timedelta(seconds=61)
        server.hold.clear()
        waiting = asyncio.create_task(guard.acall("x", {}, lambda: None))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        server.hold.set()
        await waiting
        server.revoked.add(text)
        ledger.now += timedelta(seconds=61)
        with pytest.raises(Denied):
            await guard.acall("x", {}, lambda: None)
    assert details(ledger) == ["", "", "token_revoked"]
    assert NOT_ASKED not in str(ledger.lines)


def test_a_forked_child_asks_for_itself(tmp_path: Path, server: IntrospectionServer) -> None:
    """Even if a thread of its parent was asking."""
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    endpoint = table(server, tmp_path, timeout_ms=10_000)
    times = [float(NOW)]
    settings = settings_for(tmp_path / "jwks.json", introspection=endpoint)
    held = TokenVerifier(settings, lambda: times[0]).verify(token(exp=LONG), wait=0.0)
    times[0] += 61
    server.hold.clear()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(held.refusal)
        until(lambda: server.waiting)
        child = os.fork()
        if child == 0:
            os._exit(0 if held.refusal() == "" else 1)
        server.hold.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert asking.result() == ""


def test_the_secret_is_nowhere_but_in_its_file(tmp_path: Path, server: IntrospectionServer) -> None:
    """Settings, their digest's content, records and errors do not contain it."""
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    endpoint = table(server, tmp_path)
    settings = settings_for(tmp_path / "jwks.json", introspection=endpoint)
    shown = repr(settings) + dumps(settings.governed()).decode()
    assert server.url in shown
    assert "client-secret" not in dumps(settings.governed()).decode()
    assert SECRET not in shown
    guard, ledger = guarded(tmp_path, server)
    with guard.session(token=token()):
        assert called(guard)
    assert SECRET.encode() not in b"".join(ledger.lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": ""}, "has no url"),
        ({"client_id": ""}, "has no client_id"),
        ({"client_id": "a\nb"}, "can't be printed"),
        ({"secret_file": ""}, "has no secret_file"),
        ({"secret": "x"}, "has no key 'secret'"),
        ({"interval_s": 0}, "from 1 to 3600"),
        ({"timeout_ms": "1"}, "from 1 to 10000"),
        ({"url": "http://login.example.com/introspect"}, "https"),
        ({"url": "https://user@login.example.com/"}, "invalid URL"),
        ({"url": "http://127.0.0.1:x/"}, "invalid URL"),
        ({"secret_file": "/nowhere/secret"}, "can't be read"),
    ],
)
def test_settings_that_can_not_work_are_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    """When the guard is opened."""
    with pytest.raises(ConfigError, match=words):
        guarded(tmp_path, "http://127.0.0.1:9/", **change)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"secret", 0o640, "other users can read"),
        (b" \n", 0o600, "empty"),
        (b"\xff\xfe", 0o600, "UTF-8"),
    ],
)
def test_a_secret_that_can_not_be_used_is_refused(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    """The error names the file, and never quotes it."""
    file = tmp_path / "client-secret"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=words) as caught:
        guarded(tmp_path, "http://127.0.0.1:9/")
    assert str(file) in str(caught.value)
    assert caught.value.hint


def test_a_secret_that_is_exposed_later_refuses(
    tmp_path: Path, server: IntrospectionServer
) -> None:
    """And a new one takes effect at once."""
    guard, ledger = guarded(tmp_path, server)
    text = token(exp=LONG)
    with guard.session(token=text):
        (tmp_path / "client-secret").chmod(0o644)
        ledger.now += timedelta(seconds=61)
        assert not called(guard)
        (tmp_path / "client-secret").chmod(0o600)
        ledger.now += timedelta(seconds=2)
        assert called(guard)


def test_an_endpoint_that_is_no_table_is_refused(tmp_path: Path) -> None:
    """For example, the URL alone."""
    with pytest.raises(ConfigError, match="is not a table"):
        token_guard(tmp_path, introspection="https://login.example.com/introspect")
