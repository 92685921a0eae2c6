"""The file of the callers' tokens: who is known, and which files are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardrail.errors import ConfigError
from guardrail.system.caller_tokens import CallerTokens, add_token
from tests.support.full_disk import fill, small_disk


def with_token(*tokens: str) -> list[tuple[bytes, bytes]]:
    """Headers with these tokens."""
    return [(b"x-guardrail-token", token.encode()) for token in tokens]


def test_a_token_names_its_caller_and_no_other_text_does(tmp_path: Path) -> None:
    path = tmp_path / "callers"
    ci, alice = add_token(path, "ci"), add_token(path, "alice@example.com")
    tokens = CallerTokens(path)
    assert tokens.caller(with_token(ci)) == "ci"
    assert tokens.caller(with_token(alice)) == "alice@example.com"
    digest = path.read_text().split()[1]
    for wrong in (
        (),
        (ci, alice),
        (ci, ci),
        ("",),
        (digest,),
        (ci + "x",),
        (ci[:-1],),
        ("x" * 9999,),
    ):
        assert tokens.caller(with_token(*wrong)) is None
    assert tokens.caller([(b"authorization", f"Bearer {ci}".encode())]) is None


def test_the_file_holds_no_token_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "callers"
    token = add_token(path, "ci")
    assert len(token) > 40
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert add_token(tmp_path / "other", "ci") != token


def test_a_token_that_is_removed_is_not_known_any_more(tmp_path: Path) -> None:
    """Without a new start."""
    path = tmp_path / "callers"
    ci, alice = add_token(path, "ci"), add_token(path, "alice")
    tokens = CallerTokens(path)
    assert tokens.caller(with_token(ci)) == "ci"
    path.write_text("# only alice\n\n" + path.read_text().splitlines()[1])
    assert tokens.caller(with_token(ci)) is None
    assert tokens.caller(with_token(alice)) == "alice"
    bob = add_token(path, "bob")
    assert tokens.caller(with_token(bob)) == "bob"
    path.write_text("nonsense\n")
    assert tokens.caller(with_token(alice)) is None
    path.unlink()
    assert tokens.caller(with_token(alice)) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "callers.empty"),
        ("# nobody\n", "callers.empty"),
        ("ci\n", "callers.malformed"),
        ("ci " + "A" * 64 + "\n", "callers.malformed"),
        ("c i " + "a" * 64 + "\n", "callers.malformed"),
        ("\u00e9 " + "a" * 64 + "\n", "callers.unreadable"),
        ("a\0b", "callers.unreadable"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "callers"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as wrong:
        CallerTokens(path)
    assert wrong.value.code == code


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "callers"
    add_token(path, "ci")
    path.chmod(0o666)
    for use in (lambda: CallerTokens(path), lambda: add_token(path, "alice")):
        with pytest.raises(ConfigError) as wrong:
            use()
        assert wrong.value.code == "callers.exposed"
    path.unlink()
    with pytest.raises(ConfigError) as wrong:
        CallerTokens(path)
    assert wrong.value.code == "callers.unreadable"
    assert "guardrail proxy token" in wrong.value.hint
    os.mkfifo(path)
    with pytest.raises(ConfigError):
        CallerTokens(path)


def test_a_caller_has_one_token_and_a_plain_name(tmp_path: Path) -> None:
    path = tmp_path / "callers"
    add_token(path, "ci")
    before = path.read_bytes()
    for name, code in (
        ("ci", "callers.exists"),
        ("a b", "callers.name"),
        ("", "callers.name"),
        ("a\nb", "callers.name"),
    ):
        with pytest.raises(ConfigError) as wrong:
            add_token(path, name)
        assert wrong.value.code == code
    assert path.read_bytes() == before


def test_a_full_disk_adds_no_half_line(tmp_path: Path) -> None:
    """It would make the whole file invalid, and with it every caller unknown."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "callers"
        token = add_token(path, "ci")
        path.write_bytes(b"#" * (4096 - 75) + b"\n" + path.read_bytes())  # part of a line has room
        before = path.read_bytes()
        fill(disk / "filler")
        with pytest.raises(ConfigError, match="the disk is full") as raised:
            add_token(path, "x" * 120)
        assert raised.value.hint == f"make room on that disk: df -h {disk}"
        assert path.read_bytes() == before
        assert CallerTokens(path).caller(with_token(token)) == "ci"
