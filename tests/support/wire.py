"""What a network, a gateway or a hostile provider does to the bytes of an answer."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["AS_IT_IS", "Wire", "bomb", "piled"]


@dataclass(frozen=True)
class Wire:
    """How the bytes of one answer are sent."""

    newline: str = "\n"
    """What ends a line of a stream."""
    comments: bool = False
    """A comment comes before every event of a stream, and one with an empty line after it."""
    piece: int | None = None
    """Bytes that are sent at once: 1 splits every character that UTF-8 writes with several."""
    pause: float = 0.0
    """Seconds between two pieces."""
    gzip: bool = False
    """The body is compressed, whatever the request asked for."""
    cut: int | None = None
    """Bytes of the body after which the connection is closed, without an end of the body."""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    """If empty, there is no such header."""
    body: bytes | None = None
    """The body, in place of the answer."""
    endless: bytes | None = None
    """Bytes that are sent after a stream's events until the client goes away."""

    def pieces(self, data: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the bytes that are sent at once, each after its pause."""
        left = self.cut
        for piece in self._split(self._compressed(data)):
            if self.pause:
                time.sleep(self.pause)
            yield piece if left is None else piece[:left]
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    return

    def events(self, events: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of each event of a stream."""
        for event in events:
            said = f": keep-alive\n\n: {event[:10]!r}\n{event}" if self.comments else event
            yield said.replace("\n", self.newline).encode()
        while self.endless is not None:
            yield self.endless

    def _split(self, data: Iterable[bytes]) -> Iterator[bytes]:
        for each in data:
            size = self.piece or len(each) or 1
            for start in range(0, len(each), size):
                yield each[start : start + size]

    def _compressed(self, data: Iterable[bytes]) -> Iterator[bytes]:
        if not self.gzip:
            yield from data
            return
        packing = zlib.compressobj(wbits=31)
        for each in data:
            yield packing.compress(each) + packing.flush(zlib.Z_SYNC_FLUSH)
        yield packing.flush()


AS_IT_IS = Wire()


def bomb(size: int, *, start: bytes = b"", end: bytes = b"") -> Wire:
    """Return a compressed body of *size* bytes that takes a thousandth of that to send."""
    body = gzip.compress(start + b" " * size + end)
    return Wire(body=body, headers={"content-encoding": "gzip"}, content_type="application/json")


def piled(depth: int) -> bytes:
    """Return JSON whose arrays hold each other."""
    return b"[" * depth + b"]" * depth
