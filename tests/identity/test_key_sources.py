"""Key sets in files and on servers: what is refused at the start, and what happens when they
change, fail or grow old.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from guardrail.errors import ConfigError, IdentityError
from guardrail.identity.jwks import KeySource, parse_key_set
from guardrail.identity.tokens import KEY_GONE, KEYS, TokenVerifier
from tests.support.tokens import ISSUER, NOW, jwk, key_server, key_set, settings_for, token


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at the time ``NOW``."""
    return Clock()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!DOCTYPE html><html>", "HTML"),
        (" " * (10 << 20), "larger"),
        ("", "not a JSON Web Key Set"),
        ("[]", "not a JSON Web Key Set"),
        ('{"keys": [1]}', "not a JSON Web Key Set"),
        ('{"keys": [], "keys": []}', "not a JSON Web Key Set"),
        (key_set(*[{"kty": "x"}] * 201), "more than 200 keys"),
        (key_set({"kty": "oct", "k": "c2VjcmV0"}), "private or symmetric"),
        (key_set({**jwk(), "d": "AAAA"}), "private or symmetric"),
        (key_set(), "no public key"),
        (key_set(jwk(algorithm="RS256", number=-1)), "no public key"),
        (key_set(jwk(use="enc"), jwk(key_ops=["sign"]), jwk(key_ops="verify")), "no public key"),
        (key_set({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), "no public key"),
        (key_set({"kty": "EC", "crv": "P-256", "x": 1, "y": 2}, jwk(alg="ECDH-ES")), "no public"),
        (key_set({**jwk(), "kid": 5}, {**jwk(), "crv": "P-192"}), "no public key"),
        (key_set(jwk(use=["sig"]), jwk(kty={}), jwk(kty=[]), jwk(use={})), "no public key"),
    ],
)
def test_a_key_set_that_can_verify_nothing_is_refused_at_the_start(
    tmp_path: Path, text: str, words: str
) -> None:
    """With the reason, and a hint."""
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        TokenVerifier(settings_for(path))
    assert caught.value.code == "config.jwks"
    assert caught.value.hint


def test_a_key_set_on_a_server_has_the_same_limits(tmp_path: Path) -> None:
    """And its URL must be one that no one between can answer."""
    with key_server("<html>") as server:
        for text, words in (("<html>", "HTML"), ("x" * (600 << 10), "larger")):
            server.text = text
            with pytest.raises(ConfigError, match=words):
                TokenVerifier(settings_for(server.url))
        server.text, server.status = "", 404
        with pytest.raises(ConfigError, match="answers 404"):
            TokenVerifier(settings_for(server.url))
    for url in (
        "http://login.example.com/",
        "ftp://x/",
        "https://",
        "https://u@x/",
        "https://x:y/",
    ):
        with pytest.raises(ConfigError):
            TokenVerifier(settings_for(url))
    with pytest.raises(ConfigError, match="certificates"):
        TokenVerifier(settings_for("https://x/", ca=str(tmp_path)))
    with pytest.raises(ConfigError, match="can't be read"):
        TokenVerifier(settings_for(tmp_path / "missing"))


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, clock: Clock) -> None:
    """A key that is gone denies at the next call after a second; a bad file changes nothing."""
    path = tmp_path / "jwks.json"
    path.write_text(key_set(jwk()))
    tokens = TokenVerifier(settings_for(path), clock)
    held = tokens.verify(token(), wait=0)
    path.write_text("<html>")
    clock.now += 2
    assert held.refusal() == ""
    path.write_text(key_set(jwk(), jwk("k2", number=1)))
    tokens.verify(token(kid="k2", number=1), wait=0)  # an unknown key: the file is read at once
    assert held.refusal() == ""
    path.write_text(key_set(jwk("k1", number=1)))
    clock.now += 2
    assert held.refusal() == KEY_GONE  # another key under the same kid
    with pytest.raises(IdentityError) as caught:
        tokens.verify(token(), wait=0)
    assert caught.value.code == "identity.token.signature"
    tokens.verify(token(number=1), wait=0)


def test_a_server_is_asked_for_an_unknown_key_but_not_for_each(clock: Clock) -> None:
    """The cool-down limits what a stranger's tokens cause."""
    with key_server(key_set(jwk())) as server:
        tokens = TokenVerifier(settings_for(server.url), clock)
        clock.now += 11
        server.text = key_set(jwk(), jwk("k2", number=1))
        tokens.verify(token(kid="k2", number=1), wait=10)
        assert server.requests == 2
        for number in range(20):
            with pytest.raises(IdentityError):
                tokens.verify(token(kid=f"x{number}"), wait=10)
        assert server.requests == 2


def test_known_keys_are_used_while_the_server_is_down_until_they_are_too_old(
    clock: Clock,
) -> None:
    """Then everyone is refused, with the reason; nothing waits for the server."""
    with key_server(key_set(jwk())) as server:
        tokens = TokenVerifier(settings_for(server.url), clock)
    held = tokens.verify(token(exp=NOW + 200_000), wait=0)
    clock.now += 86_400
    assert held.refusal() == ""
    clock.now += 1
    assert held.refusal() == KEYS
    with pytest.raises(IdentityError, match="too old") as caught:
        tokens.verify(token(exp=NOW + 200_000), wait=10)
    assert caught.value.code == "identity.token.keys"
    clock.now -= 200_000  # a clock that was set back does not make old keys young
    assert held.refusal() == KEYS


def test_keys_are_refreshed_in_the_background(clock: Clock) -> None:
    """A server that does not answer holds no call up, and is asked by one thread."""
    with key_server(key_set(jwk())) as server:
        tokens = TokenVerifier(settings_for(server.url), clock)
        held = tokens.verify(token(), wait=0)
        server.hold.clear()
        server.text = key_set(jwk("k2", number=1))
        for _ in range(5):
            clock.now += 301 if server.requests == 1 else 11
            assert held.refusal() in ("", "token_expired")
        source = tokens.sources[ISSUER]
        server.hold.set()
        source.ask_again(10)  # waits for the request that was already made
        assert server.requests == 2
        keys = source.current(clock.now)
        assert keys is not None
        assert [key.kid for key in keys.keys] == ["k2"]
        # An unchanged key set is the same object, so that tokens are not verified again.
        clock.now += 301
        source.ask_again(10)
        assert source.current(clock.now) is keys


def test_rotation_under_load_refuses_no_good_token(clock: Clock) -> None:
    """Four threads use tokens of the old and the new key while the key set changes."""
    with key_server(key_set(jwk())) as server:
        tokens = TokenVerifier(settings_for(server.url), clock)
        old, failures = token(), []
        rotated, begun = threading.Event(), threading.Barrier(5)

        def work(number: int) -> None:
            begun.wait(30)
            for turn in range(40):
                if turn == 20:
                    rotated.wait(30)
                new = turn >= 20
                text = token(kid="k2", number=1, jti=f"{number}-{turn}") if new else old
                try:
                    tokens.verify(text, wait=10)
                except IdentityError as error:
                    failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        begun.wait(30)
        server.text = key_set(jwk(), jwk("k2", number=1))
        clock.now += 11
        rotated.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert server.requests <= 6


def test_a_system_without_threads_keeps_the_known_keys(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tries again after the cool-down."""

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with key_server(key_set(jwk())) as server:
        source = TokenVerifier(settings_for(server.url), clock).sources[ISSUER]
        monkeypatch.setattr("guardrail.system.threads.BackgroundThread.start", fail)
        clock.now += 400
        assert source.current(clock.now) is not None
        source.ask_again(10)
        assert server.requests == 1


def test_a_key_set_names_its_place(tmp_path: Path) -> None:
    """So that the operator of several issuers finds it."""
    with pytest.raises(ConfigError, match="here is an HTML"):
        parse_key_set(b"  <html>", "here")
    source = KeySource(
        settings_for(tmp_path / "x.json").identity.issuers[0], settings_for("/x").identity
    )
    with pytest.raises(ConfigError, match=ISSUER):
        source.load()
