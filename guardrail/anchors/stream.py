"""Stream anchors write heads to an output of this process or to the system log, where a log
collector stores them.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from guardrail.anchors.anchor import AnchoredHead, Prove, check_follows
from guardrail.anchors.lines import head_line
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import AnchorError, os_reason

__all__ = ["StreamAnchor", "SyslogAnchor"]

_LIMIT_S = 2.0
_AUTHPRIV_INFO = 10 * 8 + 6
"""Facility 10 (security) and severity 6 (informational), combined as in RFC 5424 section 6.2.1."""


class StreamAnchor:
    """Writes heads to an output, one per line. guardrail does not know where it is stored."""

    def __init__(self, stream: TextIO, *, name: str) -> None:
        self._stream = stream
        self.name = name

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        """Write *note*; the operating system has received it when this returns. See
        ``Anchor.publish``.
        """
        head = Checkpoint.parse(note.text)
        if known is not None:
            check_follows(known, head, prove)
        now = time.time()
        try:
            self._stream.flush()
            _write(self._stream.fileno(), head_line(note, now))
        except (OSError, ValueError):
            # ValueError means that the stream was closed, or has no descriptor.
            raise AnchorError(
                f"{self.name} can't be written",
                hint="open that stream, or set [anchors] stream to none",
            ) from None
        return AnchoredHead(self.name, head.size, now, note)

    def is_proved_by(self, note: SignedNote) -> bool:  # noqa: ARG002 - it does not sign notes
        """Return True: a stream does not sign, so there is no signature to check."""
        return True

    def latest(self, origin: str) -> SignedNote | None:  # noqa: ARG002 - what was written can't be read back
        """Return None: the output can't be read back."""
        return None

    def heads(self, origin: str) -> Sequence[SignedNote]:  # noqa: ARG002 - what was written can't be read back
        """Return an empty list: the output can't be read back."""
        return ()


class SyslogAnchor:
    """Sends heads to the system log through its socket."""

    def __init__(self, path: Path, *, name: str = "syslog") -> None:
        self._path = path
        self.name = name

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        """Send *note*; the system log has received it when this returns. See ``Anchor.publish``."""
        head = Checkpoint.parse(note.text)
        if known is not None:
            check_follows(known, head, prove)
        now = time.time()
        when = time.strftime("%b %e %H:%M:%S", time.localtime(now))
        message = f"<{_AUTHPRIV_INFO}>{when} guardrail[{os.getpid()}]: ".encode()
        try:
            _send(self._path, message + head_line(note, now).rstrip(b"\n"))
        except OSError as error:
            why = (
                "did not accept the head in time"
                if isinstance(error, TimeoutError)
                else os_reason(error)
            )
            raise AnchorError(
                f"the system log's socket can't be reached ({why})",
                hint="start the system log, or set [anchors] syslog to its socket",
            ) from None
        return AnchoredHead(self.name, head.size, now, note)

    def is_proved_by(self, note: SignedNote) -> bool:  # noqa: ARG002 - it does not sign notes
        """Return True: the system log does not sign, so there is no signature to check."""
        return True

    def latest(self, origin: str) -> SignedNote | None:  # noqa: ARG002 - what was sent can't be read back
        """Return None: the system log can't be read back."""
        return None

    def heads(self, origin: str) -> Sequence[SignedNote]:  # noqa: ARG002 - what was sent can't be read back
        """Return an empty list: the system log can't be read back."""
        return ()


def _write(descriptor: int, data: bytes) -> None:
    """Write all of *data* to a pipe, a terminal or a file. Fails if the output does not accept the
    data in time. Raises ``OSError``.
    """
    end = time.monotonic() + _LIMIT_S
    view = memoryview(data)
    while view:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise TimeoutError
        # A pipe that is ready accepts this much without blocking.
        view = view[os.write(descriptor, view[: select.PIPE_BUF]) :]


def _send(path: Path, message: bytes) -> None:
    failure: OSError | None = None
    # Most system logs have a datagram socket. Some have a stream, on which a zero byte ends a
    # message.
    for kind, end in ((socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, b"\0")):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.settimeout(_LIMIT_S)
            try:
                sock.connect(os.fspath(path))
                sock.sendall(message + end)
            except OSError as error:
                failure = failure or error
            else:
                return
    assert failure is not None
    raise failure
