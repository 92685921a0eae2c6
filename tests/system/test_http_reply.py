"""A reply is read in one way or not at all, however its bytes arrive."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.system.http_reply import HttpReply, ReplyError, read_reply

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Wire:
    """Yields bytes in blocks of a size, then the end."""

    def __init__(self, raw: bytes, block: int) -> None:
        self.raw, self.block = raw, block

    def receive(self, size: int) -> bytes:
        count = min(self.block, size)
        found, self.raw = self.raw[:count], self.raw[count:]
        return found


def read(raw: bytes, *, block: int = 1 << 16, limit: int = 1000, budget: int = 1 << 20) -> HttpReply:  # fmt: skip
    return read_reply(Wire(raw, block).receive, limit=limit, budget=budget)


def refusal(raw: bytes, **options: int) -> str:
    with pytest.raises(ReplyError) as caught:
        read(raw, **options)
    assert caught.value.message
    return caught.value.detail


GOOD = {
    "a length": (OK + b"Content-Length: 2\r\n\r\nok", b"ok", True),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "any case, any spaces": (OK + b"content-LENGTH: \t2 \r\n\r\nok", b"ok", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    "chunks": (CHUNKED + b"1\r\no\r\n01;a=b\r\nk\r\n0\r\nTrailer: x\r\n\r\n", b"ok", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "close": (OK + b"Connection: Keep-Alive, Close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "another status": (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
    "an interim reply": (b"HTTP/1.1 103 A\r\nB: c\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", b"ok", False),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "body", "reusable"), GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_a_whole_reply_is_the_same_in_whatever_pieces_it_arrives(
    raw: bytes, body: bytes, reusable: bool, block: int
) -> None:
    """And only one that ends without doubt leaves the connection fit for the next question."""
    reply = read(raw, block=block)
    assert (reply.body, reply.reusable) == (body, reusable)


@pytest.mark.parametrize(("raw", "body", "reusable"), GOOD.values(), ids=GOOD)
def test_what_is_cut_at_any_byte_is_no_reply(raw: bytes, body: bytes, reusable: bool) -> None:
    """Not a byte is said in a word of its own: such a request may be sent again."""
    assert refusal(b"") == "nothing"
    for end in range(1, len(raw)):
        assert refusal(raw[:end]) == "truncated", raw[:end]


@pytest.mark.parametrize(("raw", "body", "reusable"), GOOD.values(), ids=GOOD)
def test_a_byte_behind_a_reply_ends_its_connection(raw: bytes, body: bytes, reusable: bool) -> None:
    """It could be the beginning of what would be taken for the next answer."""
    reply = read(raw + b"H")
    assert (reply.body, reply.reusable) == (body, False)


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (OK + b"\r\nok", "length"),
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "length"),
        (OK + b"Content-Length: +2\r\n\r\nok", "length"),
        (OK + b"Content-Length: 2, 2\r\n\r\nok", "length"),
        (OK + "Content-Length: ٢\r\n\r\nok".encode(), "length"),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length"),
        (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "length"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length"),
        (OK + b"Content-Length: 1001\r\n\r\n", "too_large"),
        (CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n", "too_large"),
        (CHUNKED + b"ffffffff\r\n", "too_large"),
        (CHUNKED + b"fffffffff\r\n", "http"),
        (CHUNKED + b"2\r\nok0\r\n\r\n", "http"),
        (CHUNKED + b"0;" + b"x" * 2000 + b"\r\n\r\n", "http"),
        (CHUNKED + b"0\r\nNonsense\r\n\r\n", "http"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", "encoding"),
        (b"HTTP/1.1 101 X\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", "interim"),
        (b"HTTP/1.1 100 X\r\n\r\n" * 9, "interim"),
        (b"HTTP/2 200 OK\r\n\r\n", "http"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "http"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "http"),
        (b"HTTP/1.1 200 OK\n\n", "truncated"),
        (b"SSH-2.0-x\r\n", "http"),
        (b"x" * 200_000, "http"),
        (OK + b"A: " + b"x" * 200_000, "http"),
        (OK + b"A: b\r\n" * 101 + b"\r\n", "http"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_no_reply(raw: bytes, detail: str) -> None:
    """Each with the word that says why."""
    assert refusal(raw) == detail


def test_no_more_is_taken_in_than_was_allowed() -> None:
    """Whatever it is that goes on without end."""
    assert refusal(OK + b"A: b\r\n" * 100, block=64, budget=200) == "too_large"
    assert refusal(CHUNKED + b"1;" + b"x" * 900 + b"\r\nx\r\n", block=64, budget=200) == "too_large"


@given(st.binary(max_size=300), st.integers(1, 300))
def test_whatever_arrives_is_a_reply_or_a_reason(tail: bytes, block: int) -> None:
    """The same for every way in which it arrives."""
    for raw in (tail, OK + tail, OK + b"Content-Length: 5\r\n" + tail, CHUNKED + tail):
        found = [outcome(raw, block), outcome(raw, 1 << 16)]
        # What is behind a reply may arrive with it or later; everything else is the same.
        assert found[0] == found[1]


def outcome(raw: bytes, block: int) -> tuple[object, ...]:
    try:
        reply = read(raw, block=block)
    except ReplyError as error:
        return (error.detail,)
    assert re.fullmatch("[a-z0-9!#$%&'*+.^_`|~-]*", "".join(reply.headers))
    return (reply.status, reply.reason, dict(reply.headers), reply.body)
