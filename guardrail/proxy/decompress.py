"""Decompresses the body of a response in small pieces, so that a small input can't exhaust
memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from guardrail.proxy.errors import ProxyError

__all__ = ["Decompressor"]

_PIECE = 64 * 1024
"""Maximum number of bytes decompressed at once."""
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Decompressor:
    """Decompresses one body."""

    def __init__(self, encoding: str) -> None:
        """*encoding* is the value of ``content-encoding``. Raises ``ProxyError`` for an unsupported
        encoding. The proxy requests uncompressed responses from the upstream.
        """
        window = _WINDOWS.get(encoding.strip().lower())
        if window is None:
            raise ProxyError(
                502,
                "the upstream compressed its response with an encoding that the proxy does not "
                "support",
                code="proxy.upstream_encoding",
            )
        self._inner = zlib.decompressobj(window)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces of *data*. Raises ``ProxyError`` if *data* is malformed."""
        while data:
            yield self._next(data)
            data = self._inner.unconsumed_tail
        if self._inner.unused_data:
            raise _malformed()

    def check_end(self) -> None:
        """Raise ``ProxyError`` if the body is not complete."""
        if not self._inner.eof:
            raise _malformed()

    def _next(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data, _PIECE)
        except zlib.error:
            raise _malformed() from None


def _malformed() -> ProxyError:
    return ProxyError(
        502, "the upstream's compressed response is malformed", code="proxy.upstream_encoding"
    )
