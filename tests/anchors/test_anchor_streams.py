"""Heads on standard output and in the system log."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from guardrail.anchors.lines import parse_lines
from guardrail.anchors.stream import StreamAnchor, SyslogAnchor
from guardrail.errors import AnchorError
from tests.support.anchors import Log


def test_a_head_on_an_output_can_be_read_back_from_what_was_captured() -> None:
    """The line stands among others of the program, whole, after what the program wrote before
    it.
    """
    log = Log().grow(5)
    out, into = os.pipe()
    with open(into, "w", encoding="utf-8") as stream:
        stream.write("a line of the program\n")
        made = StreamAnchor(stream, name="stdout").publish(log.note(), log.prove)
    with open(out, "rb") as source:
        text = source.read()
    assert text.startswith(b"a line of the program\n{")
    assert [each.note for each in parse_lines(text)] == [log.note()]
    assert (made.name, made.size) == ("stdout", 5)


def test_an_output_that_nobody_reads_does_not_hang() -> None:
    """A full pipe is unreachable after a moment, and so are one that was closed and one whose
    reader has gone.
    """
    log = Log().grow(5)
    out, into = os.pipe()
    os.set_blocking(into, False)
    try:
        while True:
            os.write(into, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(into, True)
    stream = open(into, "w", encoding="utf-8")  # noqa: SIM115
    with pytest.raises(AnchorError) as refused:
        StreamAnchor(stream, name="stdout").publish(log.note(), log.prove)
    assert refused.value.code == "anchor.unreachable"
    os.close(out)
    with pytest.raises(AnchorError):
        StreamAnchor(stream, name="stdout").publish(log.note(), log.prove)
    stream.close()
    with pytest.raises(AnchorError):
        StreamAnchor(stream, name="stdout").publish(log.note(), log.prove)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_system_log_gets_one_message(tmp_path: Path, kind: int) -> None:
    """As syslog wants it: priority, time, program, and the line behind it."""
    log = Log().grow(5)
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(str(path))
        if kind == socket.SOCK_STREAM:
            server.listen()
        made = SyslogAnchor(path).publish(log.note(), log.prove)
        if kind == socket.SOCK_STREAM:
            with server.accept()[0] as peer:
                message = peer.recv(65536)
            assert message.endswith(b"\0")
            message = message[:-1]
        else:
            message = server.recv(65536)
    assert message.startswith(b"<86>")
    assert b" guardrail[" in message
    assert [each.note for each in parse_lines(message)] == [log.note()]
    assert made.size == 5


def test_a_refusal_without_words_of_the_system_still_says_why(tmp_path: Path) -> None:
    """A path that no socket can have: the error has no ``strerror``."""
    log = Log().grow(5)
    with pytest.raises(AnchorError, match=r"can't be reached \(AF_UNIX path too long\)"):
        SyslogAnchor(tmp_path / ("x" * 120)).publish(log.note(), log.prove)


def test_a_missing_system_log_says_so(tmp_path: Path) -> None:
    """Containers often have none."""
    log = Log().grow(5)
    with pytest.raises(AnchorError, match="No such file") as refused:
        SyslogAnchor(tmp_path / "log").publish(log.note(), log.prove)
    assert refused.value.code == "anchor.unreachable"
    assert "[anchors] syslog" in refused.value.hint


def test_a_ledger_that_was_rolled_back_is_not_written_over(tmp_path: Path) -> None:
    """What can't be read back is compared with what is known here."""
    log = Log().grow(9)
    known = log.head()
    out, into = os.pipe()
    with open(out, "rb"), open(into, "w", encoding="utf-8") as stream:
        for anchor in (StreamAnchor(stream, name="stdout"), SyslogAnchor(tmp_path / "log")):
            with pytest.raises(AnchorError) as refused:
                anchor.publish(log.note(8), log.prove, known)
            assert refused.value.code == "anchor.conflict"
