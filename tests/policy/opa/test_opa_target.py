"""Where arguments may be sent, and with what: refused at start, with what to do instead."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from guardrail.config import OpaSection, Settings
from guardrail.errors import ConfigError, PolicyError
from guardrail.keys.log_key import Keys
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.target import OpaTarget
from guardrail.wiring.engines import load_engine
from tests.support.opa_server import certificates

KEYS = Keys.ephemeral().tenant("default")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pass@127.0.0.1:8181",
        "https://user@opa.example.com",
        "https://:secret@opa.example.com",
        "http://opa.example.com:8181",
        "http://10.0.0.5:8181",
        "http://0.0.0.0:8181",
        "http://[2001:db8::1]:8181",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://2130706433",
        "ftp://127.0.0.1",
        "127.0.0.1:8181",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:8181/v1/data",
        "http://127.0.0.1:8181?x=1",
        "http://127.0.0.1:8181#x",
        "http://127.0.0.1:8181\r\nX: y",
        "http://",
        "unix://run/opa.sock",
        "unix:///" + "x" * 200,
        "http://[::1",
    ],
)
def test_a_url_that_would_show_arguments_to_others_is_refused(url: str) -> None:
    """Credentials, http to anything but loopback, a path: refused with a hint that does not repeat
    a password.
    """
    with pytest.raises(ConfigError) as caught:
        OpaTarget(OpaSection(url=url))
    assert caught.value.hint
    assert "pass" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8181",
        "http://127.9.9.9/",
        "http://localhost",
        "http://[::1]:8181",
        "https://opa.example.com",
        "https://10.0.0.5:8181",
        "unix:///run/opa.sock",
    ],
)
def test_loopback_tls_and_unix_sockets_are_taken(url: str) -> None:
    """Nothing is asked of them yet."""
    assert OpaTarget(OpaSection(url=url)).url == url


def test_localhost_is_never_looked_up() -> None:
    """A resolver could lead it anywhere."""
    addresses = {
        address[1][0] for address in OpaTarget(OpaSection(url="http://localhost")).addresses
    }  # type: ignore[index]
    assert addresses == {"127.0.0.1", "::1"}


def refused(**settings: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        OpaTarget(OpaSection(**{"url": "https://opa.example.com"} | settings))
    return caught.value


def test_files_that_others_can_read_are_refused(tmp_path: Path) -> None:
    """Keys and tokens, with the command that helps."""
    made = certificates(tmp_path)
    token = tmp_path / "token"
    token.write_text("t")
    for mode in (0o644, 0o640, 0o604, 0o601):
        made.key.chmod(mode)
        token.chmod(mode)
        assert refused(cert=made.cert, key=made.key).hint == f"chmod 600 {made.key}"
        assert refused(token_file=token).hint == f"chmod 600 {token}"
    made.key.chmod(0o600)
    token.chmod(0o400)
    OpaTarget(
        OpaSection(
            url="https://opa.example.com",
            cert=made.cert,
            key=made.key,
            ca=made.ca,
            token_file=token,
        )
    )


def test_files_that_are_missing_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    """Before anything is asked."""
    made = certificates(tmp_path)
    junk = tmp_path / "junk"
    junk.write_text("nothing")
    junk.chmod(0o600)
    gone = tmp_path / "gone"
    for settings in (
        {"ca": gone},
        {"ca": junk},
        {"cert": made.cert},
        {"key": made.key},
        {"cert": made.cert, "key": gone},
        {"cert": made.cert, "key": junk},
        {"cert": junk, "key": made.key},
        {"token_file": gone},
        {"url": "http://127.0.0.1", "ca": made.ca},
    ):
        assert refused(**settings).code.startswith("config.")


def test_settings_that_name_nothing_to_take_are_refused(tmp_path: Path) -> None:
    """Neither revisions nor policies: any server would do."""
    settings = Settings().override(
        policy={"engine": "opa", "path": [tmp_path / "none"]}, opa={"url": "http://127.0.0.1:9"}
    )
    with pytest.raises(ConfigError) as caught:
        load_engine(settings)
    assert caught.value.hint == "correct the path, or put policies there"


def test_switches_are_on_only_where_the_file_says_true(tmp_path: Path) -> None:
    """Not for 1, not for "yes"."""
    path = tmp_path / "guardrail.toml"
    for value in ("1", '"yes"', '"true"', "[true]"):
        path.write_text(f"[opa]\nunsafe_impure_policy = {value}\n")
        with pytest.raises(ConfigError):
            Settings.load(path, environment={})
    path.write_text(
        '[opa]\nunsafe_impure_policy = true\nrevisions = ["a", "b"]\ntoken_file = "t"\n'
    )
    opa = Settings.load(path, environment={}).opa
    assert (opa.unsafe_impure_policy, opa.unsafe_unpinned_policy) == (True, False)
    assert (opa.revisions, opa.token_file) == (("a", "b"), tmp_path / "t")


def test_what_weakens_the_server_engine_changes_the_digest_of_the_settings() -> None:
    """And only where that engine is used."""
    plain = Settings()
    impure = plain.override(opa={"unsafe_impure_policy": True})
    assert plain.digest(KEYS) == impure.digest(KEYS)
    chosen = plain.override(policy={"engine": "opa"})
    assert chosen.digest(KEYS) != plain.digest(KEYS)
    assert chosen.digest(KEYS) != impure.override(policy={"engine": "opa"}).digest(KEYS)


def test_a_resolver_that_hangs_is_left_and_the_start_of_a_guard_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's resolver has no deadline of its own."""
    go = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: go.wait(60) and [])
    opa = OpaSection(url="https://opa.example.com", revisions=("5" * 64,), start_limit_ms=200)
    began = time.monotonic()
    with pytest.raises(PolicyError) as caught:
        OpaEngine.connect(opa)
    assert time.monotonic() - began < 30
    assert (caught.value.cause, caught.value.detail) == ("timeout", "name")
    assert caught.value.hint == "check DNS and the host in [opa] url"
    go.set()
    target = OpaTarget(opa)
    with pytest.raises(PolicyError) as caught:
        target.resolve()
    assert (caught.value.cause, caught.value.detail) == ("unreachable", "name")


def test_addresses_that_were_known_are_kept_while_the_name_can_not_be_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that is away for a moment does not stop decisions."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    target = OpaTarget(OpaSection(url="https://opa.example.com"))
    target.resolve()

    def refuse(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    target.resolve()
    assert target.addresses == ((socket.AF_INET, ("127.0.0.1", 443)),)
