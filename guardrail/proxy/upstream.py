"""The client for the upstream. It does not follow redirects, ignores proxy settings in the
environment, and verifies certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from urllib.parse import SplitResult, urlsplit

from guardrail.core.words import counted
from guardrail.errors import ConfigError
from guardrail.proxy.decompress import Decompressor
from guardrail.proxy.errors import NoAnswerError, ProxyError
from guardrail.proxy.headers import Headers, decoded
from guardrail.system.http import is_loopback, tls_context

try:
    import aiohttp
    from yarl import URL
except ImportError as missing:
    raise ImportError(
        "guardrail.proxy needs a web server and client:"
        " install guardrail with the 'server' extra (README.md)"
    ) from missing

__all__ = ["Upstream", "UpstreamReply"]

_ADDED = ("accept", "accept-encoding", "content-type", "user-agent")
"""Headers that the HTTP library would otherwise add."""
_BASE = "/v1"
_KEPT_OPEN = 15
"""Seconds for which an idle connection is kept open. Most servers keep it open longer."""
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s;\"',]*)")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})
_PIECE = 64 * 1024
"""Maximum number of bytes of a request that are written at once, so that other requests are served
in the meantime.
"""
_REST = 1.0
"""Seconds that a stream may take to end after its last event. After that, the connection is not
reused.
"""


class UpstreamReply:
    """The upstream's response: the status, the headers, and the body as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._sizes = [0, 0]
        """Number of bytes received, and number of bytes after decompression."""
        self._parts: Iterator[bytes] = iter(())
        self.status = response.status
        self.headers = decoded(response.raw_headers)
        kinds = [value.lower() for name, value in self.headers if name == "content-type"]
        kind = kinds[0] if len(kinds) == 1 else ""
        self.media_type = kind.partition(";")[0].strip()
        """The media type of the response. Empty if the client could interpret the response as a
        different type or in a different encoding.
        """
        charset = _CHARSET.search(kind)
        if charset is not None and charset[1] not in _UTF_8:
            self.media_type = ""

    @functools.cached_property
    def _decompressor(self) -> Decompressor | None:
        encodings = [each for name, each in self.headers if name == "content-encoding"]
        encoding = ",".join(encodings).strip().lower()
        return None if encoding in {"", "identity"} else Decompressor(encoding)

    async def raw(self) -> bytes:
        """Return the next piece of the body, not decompressed, as soon as it arrives, or empty
        bytes at the end. Raises ``ProxyError`` if the body is truncated or too large.
        """
        try:
            piece = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _proxy_error(error) from None
        self._sizes[0] += len(piece)
        self._check(self._sizes[0])
        return piece

    async def read(self) -> bytes:
        """Return the next piece of the decompressed body, or empty bytes at the end. Raises
        ``ProxyError`` in the same cases as ``raw``.
        """
        if self._decompressor is None:
            return await self.raw()
        while True:
            for part in self._parts:
                if part:
                    self._sizes[1] += len(part)
                    self._check(self._sizes[1])
                    # A small piece can contain many parts: other requests are served between them.
                    await asyncio.sleep(0)
                    return part
            piece = await self.raw()
            if not piece:
                self._decompressor.check_end()
                return b""
            self._parts = self._decompressor.feed(piece)

    async def body(self, limit: int | None = None) -> bytes:
        """Return the complete decompressed body. *limit* applies in addition to the limit for the
        response.
        """
        self._limit = self._limit if limit is None else min(self._limit, limit)
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def rest(self) -> None:
        """Read the remainder of the stream after its last event, so that the connection can be
        reused.
        """
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(_REST):
                while await self._response.content.readany():
                    pass

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ProxyError(
                502,
                f"the upstream's response is larger than {counted(self._limit, 'byte')}",
                code="proxy.upstream_size",
            )


class Upstream:
    """The upstream at one URL. Its connections belong to the event loop that makes the first
    request.
    """

    def __init__(self, url: str, *, idle_s: float, connect_s: float) -> None:
        """*url* is a base URL for OpenAI's clients. If it has no path, ``/v1`` is added. *idle_s*
        is the maximum number of seconds between two pieces of a response. Raises ``ConfigError``.
        """
        found = _checked(url)
        self._name = f"the upstream {found.netloc}"
        self._origin = f"{found.scheme}://{found.netloc}"
        self._base = found.path.rstrip("/") or _BASE
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=idle_s)
        self._tls = tls_context(None) if found.scheme == "https" else None
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        *,
        query: str,
        headers: Headers,
        body: bytes | AsyncIterable[bytes] | None,
        limit: int,
    ) -> AsyncIterator[UpstreamReply]:
        """Send a request, and yield the response. *limit* is the maximum size of the response, in
        bytes. *path* is the path after ``/v1``.

        Raises ``ProxyError`` if there is no response, or if the response is a redirect.
        """
        if isinstance(body, bytes) and len(body) > _PIECE:
            headers, body = [*headers, ("content-length", str(len(body)))], _in_pieces(body)
        target = f"{self._origin}{self._base}{path}" + (f"?{query}" if query else "")
        try:
            response = await self._client().request(
                method,
                URL(target, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                skip_auto_headers=_ADDED,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _proxy_error(error, NoAnswerError, self._name) from None
        try:
            if 300 <= response.status < 400:
                raise ProxyError(
                    502,
                    "the upstream returned a redirect, which the proxy does not follow",
                    code="proxy.upstream_redirect",
                )
            yield UpstreamReply(response, limit)
        finally:
            response.release()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, ssl=self._tls or True, keepalive_timeout=_KEPT_OPEN
                ),
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _checked(url: str) -> SplitResult:
    try:
        found = urlsplit(url)
        port_is_valid = found.port != 0
    except ValueError:
        found, port_is_valid = urlsplit(""), False
    if (
        not port_is_valid
        or found.scheme not in {"http", "https"}
        or not found.hostname
        or found.query
        or found.fragment
        or found.username is not None
    ):
        raise ConfigError(
            "the upstream must be a URL like https://api.openai.com/v1, without "
            "credentials or a query",
            code="config.upstream",
            hint="write the scheme and the host name: https://HOST/v1",
        )
    if found.scheme == "http" and not is_loopback(found.hostname):
        raise ConfigError(
            "the upstream receives the callers' keys, so its URL must use https, or http on this "
            "machine",
            code="config.upstream",
            hint="use https://",
        )
    return found


def _proxy_error(
    error: Exception, kind: type[ProxyError] = ProxyError, name: str = "the upstream"
) -> ProxyError:
    """Return the error that reports an exception from the HTTP library to the client. The library's
    own text is not used, because it may contain addresses. *name* does not contain credentials,
    because a URL with credentials is rejected.
    """
    if isinstance(error, TimeoutError):  # also aiohttp.ServerTimeoutError
        return kind(504, f"{name} did not respond in time", code="proxy.upstream_timeout")
    if isinstance(error, aiohttp.ClientSSLError):
        why = f"the certificate or TLS settings of {name} are not accepted"
        hint = "if a private authority issued the certificate, start the proxy with SSL_CERT_FILE"
        return kind(502, why, code="proxy.upstream_tls", hint=hint)
    if isinstance(error, aiohttp.ClientConnectorError):
        return kind(
            502,
            f"{name} can't be reached ({_reason(error)})",
            code="proxy.upstream_unreachable",
        )
    return kind(
        502,
        f"{name} closed the connection during its response, or does not speak HTTP",
        code="proxy.upstream_broken",
    )


def _reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name was not found"
    number = error.os_error.errno  # asyncio's own text contains addresses
    return os.strerror(number).lower() if number else "no connection"
