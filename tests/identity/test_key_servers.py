"""Servers of key sets that misbehave: at the start of a guard, and while it runs."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from guardrail import Denied, Guard
from guardrail.config import Settings
from guardrail.errors import ConfigError, IdentityError
from guardrail.identity.tokens import TokenVerifier
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.identity import identity
from guardrail.review.doctor.result import CheckState
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.projects import new_project
from tests.support.tokens import AUDIENCE, ISSUER, NOW, jwk, key_set, settings_for, token

GOOD = key_set(jwk())


def answer(body: str, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """Return a response of a server."""
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(head).encode() + body.encode()


UNAVAILABLE: dict[str, bytes | None] = {
    "never answers": None,
    "answers byte by byte": answer(GOOD),
    "dies in the middle": answer(GOOD[:40], length=len(GOOD)),
    "dies at once": b"",
    "is not HTTP": b"SSH-2.0-OpenSSH_9.9\r\n",
    "is overloaded": answer("busy", "503 Service Unavailable"),
    "limits requests": answer("slow down", "429 Too Many Requests"),
}
WRONG: dict[str, tuple[bytes, str]] = {
    "10 MB": (answer(" " * (10 << 20) + GOOD), "is larger than"),
    "endless": (answer("x" * (1 << 20), length=1 << 40), "is larger than"),
    "a page": (answer("<!DOCTYPE html><html>"), "is an HTML or XML page"),
    "a page of a login": (answer("\n <html>", "200 OK", "Content-Type: text/html"), "is an HTML"),
    "a redirect": (answer("", "302 Found", "Location: /keys"), "answers with a redirect (302)"),
    "no such page": (answer("{}", "404 Not Found"), "answers 404"),
    "another document": (answer('{"issuer": "x"}'), "is not a JSON Web Key Set"),
}


class SlowServer:
    """A server of one answer, which is always the same until it is replaced."""

    def __init__(self) -> None:
        self.reply: bytes | None = answer(GOOD)
        self.piece = 1 << 16
        self.requests = 0
        self._stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/jwks"
        self._threads: list[threading.Thread] = []

    def serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.requests += 1
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(30)
            connection.recv(65536)
            if self.reply is None:
                self._stop.wait(30)
                return
            for start in range(0, len(self.reply), self.piece):
                connection.sendall(self.reply[start : start + self.piece])
                if self.piece == 1 and self._stop.wait(0.05):
                    return

    def close(self) -> None:
        self._stop.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def slow_server(case: str = "", reply: bytes | None = b"") -> Iterator[SlowServer]:
    """Serve *reply*, or the case of ``UNAVAILABLE``; without both, a good key set."""
    made = SlowServer()
    if case:
        made.reply, made.piece = UNAVAILABLE[case], 1 if "byte" in case else 1 << 16
    elif reply:
        made.reply = reply
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()


@pytest.fixture(autouse=True)
def _short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardrail.identity.jwks.FETCH_S", 0.5)


class Clock:
    """A clock that a test sets."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("case", UNAVAILABLE)
def test_a_server_that_is_unavailable_at_the_start_stops_only_its_own_tokens(case: str) -> None:
    """And its tokens are accepted as soon as it answers, without a restart."""
    clock = Clock()
    with slow_server(case) as server:
        tokens = TokenVerifier(settings_for(server.url), clock)
        (problem,) = tokens.problems()
        assert problem.code == "config.jwks_unavailable"
        assert ISSUER in problem.message
        assert "set jwks to this file" in problem.hint
        with pytest.raises(IdentityError, match="have not been read yet") as caught:
            tokens.verify(token(), wait=10)
        assert caught.value.code == "identity.token.keys"
        assert caught.value.hint == problem.hint
        assert server.requests == 1  # not for each token
        server.reply, server.piece = answer(GOOD), 1 << 16
        clock.now += 11
        assert tokens.verify(token(), wait=10).identity.principal.id == "alice@example.com"
        assert tokens.problems() == []


@pytest.mark.parametrize("case", WRONG)
def test_an_answer_that_waiting_does_not_mend_prevents_the_start(case: str) -> None:
    reply, words = WRONG[case]
    with slow_server(reply=reply) as server, pytest.raises(ConfigError) as caught:
        TokenVerifier(settings_for(server.url))
    assert words in caught.value.message
    assert caught.value.code == "config.jwks"
    assert caught.value.hint
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("case", [*UNAVAILABLE, *WRONG])
def test_known_keys_keep_working_whatever_a_server_answers_later(case: str) -> None:
    """No call waits for it; the keys are given up only when they are too old, with the reason."""
    clock = Clock()
    with slow_server() as server:
        tokens = TokenVerifier(settings_for(server.url), clock)
        held = tokens.verify(token(exp=NOW + 200_000), wait=0)
        if case in WRONG:
            server.reply = WRONG[case][0]
        else:
            server.reply, server.piece = UNAVAILABLE[case], 1 if "byte" in case else 1 << 16
        clock.now += 301
        assert held.refusal() == ""
        tokens.sources[ISSUER].ask_again(10)
        assert server.requests == 2
        (problem,) = tokens.problems()
        assert held.refusal() == ""
        assert tokens.verify(token(exp=NOW + 200_000, jti="2"), wait=0) is not held
        clock.now += 86_400
        assert held.refusal() == "token_keys"
        with pytest.raises(IdentityError) as caught:
            tokens.verify(token(exp=NOW + 200_000, jti="3"), wait=10)
        assert caught.value.code == "identity.token.keys"
        assert problem.message in caught.value.message


def test_servers_are_asked_at_the_same_time() -> None:
    """One that never answers does not delay the others, and each token says which it is."""
    with slow_server("never answers") as silent, slow_server() as good:
        table = {"audience": AUDIENCE}
        issuers = {ISSUER: {**table, "jwks": good.url}}
        issuers |= {
            f"https://{number}.example.com": {**table, "jwks": silent.url} for number in range(8)
        }
        settings = Settings().override(identity={"issuers": issuers})
        tokens = TokenVerifier(settings, Clock())
        assert silent.requests == 8
        assert (len(tokens.problems()), tokens.number_of_keys()) == (8, 1)
        assert tokens.verify(token(), wait=0)
        with pytest.raises(IdentityError, match=r"https://3\.example\.com"):
            tokens.verify(token(iss="https://3.example.com"), wait=0)


def test_a_guard_warns_about_an_unavailable_issuer_and_serves_everyone_else(
    tmp_path: Path,
) -> None:
    """Also the tenants of the file; doctor fails until the issuer answers."""
    with slow_server("dies at once") as server:
        text = (
            f'[identity.issuers."{ISSUER}"]\njwks = "{server.url}"\naudience = "{AUDIENCE}"\n'
            'tenant_claim = "tid"\n[tenants.acme]\n'
        )
        new_project(tmp_path, text)
        path = tmp_path / "guardrail.toml"
        good = token(now=int(time.time()), tid="acme")
        with pytest.warns(RuntimeWarning, match="this issuer's tokens are refused until"):
            guard = Guard.open(path)
        with guard:
            with guard.session("alice", tenant="acme"):
                assert guard.call("x", {}, lambda: "ran") == "ran"
            assert server.requests == 1  # not again for the guard of the tenant
            with pytest.raises(IdentityError, match="have not been read yet"):
                guard.session(token=good)
            check = identity(Settings.load(path))
            assert (check.state, "can't be read" in check.found) == (CheckState.FAIL, True)
            server.reply = answer(GOOD)
            assert identity(Settings.load(path)).state is CheckState.OK


def test_a_call_is_denied_while_a_required_token_can_not_be_verified() -> None:
    """Nothing falls back to an identity that is only asserted."""
    with slow_server("is overloaded") as server:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings_for(server.url))
        with pytest.raises(IdentityError):
            guard.session(token=token())
        with pytest.raises(IdentityError):
            asyncio.run(guard.asession(token=token()))
        with guard.session("alice"), pytest.raises(Denied):
            guard.call("x", {}, lambda: "ran")
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["decision"]["detail"]) == ("identity", "unverified")


SECRET = "s3cr3t-9f8e7d"


def test_a_secret_in_the_query_of_a_url_appears_nowhere(tmp_path: Path) -> None:
    """Neither in the warning, nor in an error, nor in doctor, nor in the values of the start and of
    a change of the secret, which is noticed.
    """
    text = (
        '[identity.issuers."{issuer}"]\njwks = "{url}/keys?key={secret}"\naudience = "app"\n'
        '[identity.issuers."{issuer}".introspection]\nurl = "{url}/ask?key={secret}"\n'
        'client_id = "guardrail"\nsecret_file = "client-secret"\n'
    )
    (tmp_path / "client-secret").write_text("x")
    (tmp_path / "client-secret").chmod(0o600)
    path = tmp_path / "guardrail.toml"
    new_project(tmp_path)
    said: list[str] = []
    with slow_server("dies at once") as server:
        for secret in (SECRET, SECRET[::-1]):
            path.write_text(text.format(issuer=ISSUER, url=server.url, secret=secret))
            with (
                pytest.warns(RuntimeWarning) as warned,
                Guard.open(path) as guard,
                pytest.raises(IdentityError) as caught,
            ):
                guard.session(token=token(now=int(time.time())))
            said += [str(caught.value), *(str(each.message) for each in warned)]
            said.append(str(identity(Settings.load(path))))
    (ledger,) = tmp_path.rglob("ledger.db")
    with LedgerReader.open(ledger) as reader:
        lines = [line.decode() for _, _, line in reader.lines()]
    (changed,) = [each for each in lines if '"admin.config_changed"' in each]
    assert '"identity.issuers"' in changed
    for each in (*said, *lines):
        assert SECRET not in each
        assert SECRET[::-1] not in each
    assert "/keys?..." in "".join(said)
    assert "/ask?..." in changed


@pytest.mark.parametrize(
    ("issuer", "jwks", "asked"),
    [
        (ISSUER, f"https://guardrail:{SECRET}@login.example.com/keys", ""),
        (ISSUER, f"https://login.example.com/keys#{SECRET}", ""),
        (ISSUER, f"http://login.example.com/keys?{SECRET}", ""),
        (ISSUER, "https://x/keys", f"https://guardrail:{SECRET}@login.example.com/ask"),
        (ISSUER, "https://x/keys", f"http://login.example.com/ask?{SECRET}"),
        (f"https://guardrail:{SECRET}@login.example.com", "https://x/keys", ""),
        (f"https://login.example.com?{SECRET}", "https://x/keys", ""),
    ],
)
def test_a_url_that_is_refused_is_not_quoted_with_its_secret(
    tmp_path: Path, issuer: str, jwks: str, asked: str
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    table: dict[str, object] = {"jwks": jwks, "audience": AUDIENCE}
    if asked:
        named = {"url": asked, "client_id": "x", "secret_file": tmp_path / "secret"}
        table["introspection"] = named
    with pytest.raises(ConfigError) as caught:
        TokenVerifier(Settings().override(identity={"issuers": {issuer: table}}))
    assert SECRET not in f"{caught.value} {caught.value.hint}"
