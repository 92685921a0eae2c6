"""Timestamps of a real authority, made with OpenSSL, and answers that are none."""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from pathlib import Path

import pytest

from guardrail.anchors.tsa import TimestampAnchor, check_token
from guardrail.errors import AnchorError, ConfigError
from guardrail.keys.anchor_keys import certificates
from tests.support.anchors import Log
from tests.support.time_stamp_authority import Authority, serving


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority."""
    return Authority(tmp_path_factory.mktemp("tsa") / "a")


def anchor(url: str, authority: Authority, tmp_path: Path) -> TimestampAnchor:
    """The anchor at *url*, with the root of *authority*."""
    return TimestampAnchor(url, roots=certificates(authority.root), tokens=tmp_path / "tokens")


def test_a_head_is_stamped_and_the_token_is_one_that_openssl_takes(
    authority: Authority, tmp_path: Path
) -> None:
    """The token is kept with the head, and anyone can check it with other tools."""
    log = Log().grow(5)
    before = int(time.time())
    with serving(authority.stamp) as url:
        made = anchor(url, authority, tmp_path).publish(log.note(), log.prove)
        log.grow(5)
        anchor(url, authority, tmp_path).publish(log.note(), log.prove, log.head(5))
    assert (made.name, made.size) == ("tsa", 5)
    assert before <= made.time <= time.time() + 1
    lines = [json.loads(line) for line in (tmp_path / "tokens").read_bytes().splitlines()]
    assert [line["note"] for line in lines] == [str(log.note(5)), str(log.note(10))]
    assert lines[0]["time"] == made.time
    token = base64.b64decode(lines[0]["token"])
    assert authority.verifies(log.note(5).text.encode(), token)
    assert not authority.verifies(log.note(10).text.encode(), token)
    roots = certificates(authority.root)
    assert check_token(token, log.note(5).text.encode(), roots) == made.time
    with pytest.raises(AnchorError):
        check_token(token, log.note(10).text.encode(), roots)


def test_an_authority_whose_url_has_no_path_is_asked_at_its_root(
    authority: Authority, tmp_path: Path
) -> None:
    log = Log().grow(5)
    with serving(authority.stamp) as url:
        for number, bare in enumerate((url.removesuffix("/stamp"), url.removesuffix("stamp"))):
            made = anchor(bare, authority, tmp_path / str(number))
            (tmp_path / str(number)).mkdir()
            assert made.publish(log.note(), log.prove).size == 5


def test_an_authority_that_nobody_vouches_for_does_not_count(
    authority: Authority, tmp_path: Path
) -> None:
    """Its root must be the one that was named."""
    other = Authority(tmp_path / "other")
    log = Log().grow(5)
    with serving(other.stamp) as url, pytest.raises(AnchorError) as refused:
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
    assert refused.value.code == "anchor.malformed"
    assert not (tmp_path / "tokens").exists()


def test_the_answer_to_another_question_does_not_count(
    authority: Authority, tmp_path: Path
) -> None:
    """An old answer, played again, has another nonce; one about another head another hash."""
    log = Log().grow(5)
    answers: list[bytes] = []

    def once(query: bytes) -> bytes:
        answers.append(authority.stamp(query))
        return answers[0]

    with serving(once) as url:
        there = anchor(url, authority, tmp_path)
        there.publish(log.note(), log.prove)
        for each in (log.note(), log.grow(1).note()):
            with pytest.raises(AnchorError) as refused:
                there.publish(each, log.prove)
            assert refused.value.code == "anchor.malformed"


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        (b"", 200, "application/timestamp-reply", "malformed"),
        (b"\x30\x80", 200, "application/timestamp-reply", "malformed"),
        (b"hello", 200, "text/html", "refused"),
        (b"", 404, "text/plain", "refused"),
        (b"", 503, "text/plain", "unreachable"),
        (b"x" * 70_000, 200, "application/timestamp-reply", "malformed"),
    ],
)
def test_answers_that_are_no_stamp_are_named(
    authority: Authority, tmp_path: Path, body: bytes, status: int, kind: str, code: str
) -> None:
    """Each with the code that says whether it is worth trying again."""
    log = Log().grow(5)
    with serving(lambda _: body, status, kind) as url, pytest.raises(AnchorError) as refused:
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
    assert refused.value.code == f"anchor.{code}"
    assert refused.value.hint


def test_an_authority_that_refuses_says_so(authority: Authority, tmp_path: Path) -> None:
    """It answers, in its own form, that it will not."""
    log = Log().grow(5)
    refusal = bytes.fromhex("30053003020102")  # PKIStatusInfo: rejection, and no token
    with serving(lambda _: refusal) as url, pytest.raises(AnchorError) as refused:
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
    assert refused.value.code == "anchor.refused"


def test_tokens_with_bytes_changed_raise_nothing_else(authority: Authority, tmp_path: Path) -> None:
    """Two thousand changed answers: each is taken as it is, or refused, and none ends the
    process.
    """
    log = Log().grow(5)
    roots = certificates(authority.root)
    with serving(authority.stamp) as url:
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
    token = base64.b64decode(json.loads((tmp_path / "tokens").read_bytes())["token"])
    text = log.note().text.encode()
    rng = random.Random(7)
    refused = 0
    for _ in range(2000):
        changed = bytearray(token)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            check_token(bytes(changed), text, roots)
        except AnchorError:
            refused += 1
    assert refused > 1500


def test_a_ledger_that_was_rolled_back_is_not_stamped(authority: Authority, tmp_path: Path) -> None:
    """An authority compares nothing, so this side does."""
    log = Log().grow(9)
    with pytest.raises(AnchorError) as refused:
        anchor("http://127.0.0.1:1", authority, tmp_path).publish(
            log.note(8), log.prove, log.head(9)
        )
    assert refused.value.code == "anchor.conflict"


def test_tokens_that_cannot_be_kept_do_not_count(authority: Authority, tmp_path: Path) -> None:
    """A stamp that is lost at once is none."""
    log = Log().grow(5)
    (tmp_path / "tokens").mkdir()
    with serving(authority.stamp) as url, pytest.raises(AnchorError, match="can't be written"):
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)


@pytest.mark.parametrize("left", [3, 100, -1])
def test_a_token_behind_a_torn_line_can_be_read(
    authority: Authority, tmp_path: Path, left: int
) -> None:
    """A crash in the middle of a line costs that line alone."""
    log = Log().grow(5)
    file = tmp_path / "tokens"
    with serving(authority.stamp) as url:
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
        first = file.read_bytes()
        file.write_bytes(first + first[:left] if left != 3 else first[:left])
        log.grow(2)
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
    assert json.loads(file.read_bytes().splitlines()[-1])["note"] == str(log.note())


@pytest.mark.parametrize("content", ["export PATH=/bin\n", "\n", "{\n}\n"])
def test_a_file_that_holds_no_tokens_is_not_written_to(
    authority: Authority, tmp_path: Path, content: str
) -> None:
    """Settings of somebody else could name any file that this user can write."""
    log = Log().grow(5)
    (tmp_path / "tokens").write_text(content)
    with serving(authority.stamp) as url, pytest.raises(AnchorError) as refused:
        anchor(url, authority, tmp_path).publish(log.note(), log.prove)
    assert "not a timestamp token" in refused.value.message
    assert (tmp_path / "tokens").read_text() == content


def test_a_root_that_is_none_and_a_missing_extra_are_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both before anything is asked."""
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(ConfigError, match="can't read any certificates"):
            certificates(tmp_path / name)
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with pytest.raises(ConfigError) as refused:
        anchor("http://127.0.0.1:1", authority, tmp_path)
    assert refused.value.code == "config.extra"
