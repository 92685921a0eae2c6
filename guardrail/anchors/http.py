"""Sends one request to an anchor's server and returns the complete reply before a deadline;
``AnchorError`` names the step that failed.

A connection serves one request. Name look-up, connecting, handshake, sending and every single read
get only the time that is left. It follows no redirect, ignores proxies, netrc and environment
variables, decompresses nothing, and never retries.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from guardrail.errors import AnchorError, ConfigError
from guardrail.system.http import ReplyError, read_reply

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Endpoint", "Reply", "TimedReader"]

_MAX_HEAD = 64 * 1024
"""Bytes of a reply in addition to its body: status line, headers, chunk sizes."""
_PORTS = {"http": 80, "https": 443}

_AGAIN = "see that it runs and that [anchors] names the right URL, then: guardrail anchor"


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply."""

    status: int
    content_type: str
    """Media type without parameters, lower case."""
    body: bytes


class TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline (``time.monotonic``) and up to a number of bytes."""

    def __init__(self, sock: socket.socket, end: float, budget: int) -> None:
        self._sock = sock
        self.end = end
        self.budget = budget

    def readable(self) -> bool:
        """Return True: ``io.BufferedReader`` asks."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read as ``io.RawIOBase`` specifies.

        Raises ``TimeoutError`` after the deadline, ``OverflowError`` over the budget.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        count = self._sock.recv_into(buffer)
        self.budget -= count
        if self.budget < 0:
            raise OverflowError
        return count


class Endpoint:
    """A server, by its URL."""

    def __init__(self, url: str, *, what: str, setting: str, ca: Path | None = None) -> None:
        """*what* is its name in messages, *setting* the setting that holds its URL, *ca* the file
        of CA certificates for https.

        Raises ``ConfigError``.
        """
        self._what = what
        parts = _split(url, setting)
        assert parts.hostname is not None
        self.host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._path = parts.path.rstrip("/")
        self._authority = f"[{self.host}]" if ":" in self.host else self.host
        if self._port != _PORTS[parts.scheme]:
            self._authority += f":{self._port}"
        self._tls = _context(ca, setting) if parts.scheme == "https" else None
        if ca is not None and self._tls is None:
            raise ConfigError(
                f"[anchors] {setting}: certificates are for https",
                code="config.anchor_tls",
                hint="https://, or no certificates",
            )
        self._lookup = _Lookup(self.host, self._port)

    def ask(
        self,
        method: str,
        path: str,
        *,
        end: float,
        limit: int,
        body: bytes = b"",
        content_type: str = "text/plain",
    ) -> Reply:
        """Return the reply to one request, whatever its status.

        *end* is a time of ``time.monotonic``; *limit* is the largest body in bytes. Raises
        ``AnchorError``: ``anchor.unreachable``, or ``anchor.malformed`` if the server does not send
        a complete HTTP reply within the limit.
        """
        stage = "look-up"
        try:
            addresses = self._lookup.addresses(end)
            stage = "connecting"
            with self._connected(addresses, end) as sock:
                stage = "sending"
                sock.settimeout(_left(end))
                sock.sendall(self._head(method, path, len(body), content_type) + body)
                stage = "its reply"
                return self._reply(sock, end, limit)
        except TimeoutError:
            raise AnchorError(
                f"{self._what} did not answer before the deadline ({stage})",
                hint=_AGAIN,
            ) from None
        except ssl.SSLCertVerificationError:
            raise AnchorError(
                f"{self._what}'s certificate does not lead to a trusted one",
                hint="name the certificates that it leads to in guardrail.toml",
            ) from None
        except OSError as error:
            why = "no TLS" if isinstance(error, ssl.SSLError) else error.strerror or "no address"
            raise AnchorError(
                f"{self._what} can't be reached ({stage}: {why})", hint=_AGAIN
            ) from None

    def _head(self, method: str, path: str, length: int, content_type: str) -> bytes:
        kind = f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n" if length else ""
        return (
            f"{method} {self._path + path or '/'} HTTP/1.1\r\nHost: {self._authority}\r\nUser-Agent: guardrail\r\n"
            f"Accept-Encoding: identity\r\n{kind}Connection: close\r\n\r\n"
        ).encode("ascii")

    def _connected(
        self, addresses: list[tuple[socket.AddressFamily, object]], end: float
    ) -> socket.socket:
        failure: OSError = TimeoutError()
        for index, (family, where) in enumerate(addresses):
            # One address that swallows everything must not use up the time of the others.
            share = _left(end) / (len(addresses) - index)
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(share)
                sock.connect(where)  # type: ignore[arg-type]  # as the resolver gave it for this family
                if self._tls is None:
                    return sock
                return self._tls.wrap_socket(sock, server_hostname=self.host)
            except OSError as error:
                sock.close()
                # A server's answer is more helpful than an address where nobody listens.
                if not isinstance(failure, ssl.SSLError):
                    failure = error
        raise failure

    def _reply(self, sock: socket.socket, end: float, limit: int) -> Reply:
        def receive(size: int) -> bytes:
            sock.settimeout(_left(end))
            return sock.recv(size)

        try:
            reply = read_reply(receive, limit=limit, budget=limit + _MAX_HEAD)
        except ReplyError as error:
            raise self._malformed(f"it {error.message}") from None
        return Reply(reply.status, reply.content_type, reply.body)

    def _malformed(self, why: str) -> AnchorError:
        return AnchorError(f"{self._what}: {why}", code="anchor.malformed", hint=_AGAIN)


class _Lookup:
    """Resolves a host name with a deadline, which the system's resolver does not support.

    At most one look-up is running.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None
        self._found: list[tuple[socket.AddressFamily, object]] | OSError = []

    def addresses(self, end: float) -> list[tuple[socket.AddressFamily, object]]:
        """Return the addresses. Raises ``OSError``, ``TimeoutError`` among them."""
        if self._host == "localhost":
            # Never ask a resolver, which could return any address.
            return [
                (socket.AF_INET, ("127.0.0.1", self._port)),
                (socket.AF_INET6, ("::1", self._port)),
            ]
        try:
            address = ipaddress.ip_address(self._host)
        except ValueError:
            return self._looked_up(end)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return [(family, (self._host, self._port))]

    def _looked_up(self, end: float) -> list[tuple[socket.AddressFamily, object]]:
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._thread = thread = threading.Thread(
                target=self._run, name="guardrail-anchor-lookup", daemon=True
            )
            thread.start()
        thread.join(_left(end))
        if thread.is_alive():
            raise TimeoutError
        if isinstance(self._found, OSError):
            raise self._found
        return self._found

    def _run(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._found = [(socket.AddressFamily(item[0]), item[4]) for item in found]
        except (OSError, UnicodeError) as error:
            self._found = error if isinstance(error, OSError) else OSError("no address")


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _split(url: str, setting: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url(setting, "is no URL, or has an impossible port") from None
    if "@" in url:
        raise _bad_url(setting, "holds credentials, which would end up in logs")
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise _bad_url(setting, "begins with https:// or http:// and names a host")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise _bad_url(setting, "has a query, a fragment or characters that no URL has")
    return parts


def _bad_url(setting: str, why: str) -> ConfigError:
    return ConfigError(
        f"[anchors] {setting}: the URL {why}",
        code="config.anchor_url",
        hint="for example https://witness.example.com",
    )


def _context(ca: Path | None, setting: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=ca)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[anchors] {setting}: its certificates can't be used ({type(error).__name__})",
            code="config.anchor_tls",
            hint="a file of certificates in PEM",
        ) from None
    return context
