"""The HTTP client. It sends one request to one server and returns the complete response before a
deadline. Failures raise ``TransportError``.

Name lookup, connecting, the handshake, sending and every read share the time until the deadline.
The client does not follow redirects or decompress responses, and ignores proxies, netrc and
environment variables. It retries a request only if an open connection was closed before any byte of
the response arrived. ``guardrail.system.http_reply`` parses responses. The adapters for OPA
servers, witnesses and timestamping authorities convert ``TransportError`` to their own errors.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from guardrail.system.http_errors import (
    RequestStage,
    TransportCause,
    TransportError,
    deadline_passed,
    malformed,
    no_address,
    unreachable,
)
from guardrail.system.http_reply import HttpReply, ReplyError, read_reply
from guardrail.system.threads import BackgroundThread

__all__ = [
    "Address",
    "Endpoint",
    "HttpConnection",
    "HttpReply",
    "RequestStage",
    "TlsContext",
    "TransportCause",
    "TransportError",
    "is_loopback",
    "tls_context",
]

Address = tuple[socket.AddressFamily, object]
"""Address for ``socket.connect``, with its family."""
TlsContext = ssl.SSLContext
"""TLS settings: see ``tls_context``."""

_MAX_HEAD = 64 * 1024
"""Maximum size in bytes of all status lines and headers in a response."""
_CHUNK_SHARE = 64
"""Minimum number of content bytes for each byte of chunk sizes in a chunked body."""
_LOCAL_NAME = "localhost"
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2
"""``getsockopt`` on macOS: sys/un.h."""


class Endpoint:
    """A server: its addresses, name and TLS settings. Thread-safe, even after a fork."""

    def __init__(self, host: str, port: int, *, tls: TlsContext | None = None) -> None:
        """Describe a server. *host* is a name, which is not looked up yet, or an IP address."""
        self.host = host
        self.tls = tls
        self._port = port
        name = f"[{host}]" if ":" in host else host
        self.authority = name if port == (443 if tls else 80) else f"{name}:{port}"
        """The value of ``Host``."""
        self.addresses = _literal_addresses(host, port)
        """The addresses that are known now. The addresses of an IP address, ``localhost`` or a Unix
        socket are always known. Those of other names are known after a look-up.
        """
        self.is_name = not self.addresses
        """True if ``look_up`` queries the system's resolver."""
        self.process: Callable[[], int | None] | None = None
        """Returns the id of the process that must listen, or None if no process may answer. If this
        is None, any process may.
        """
        self._lookup: BackgroundThread | None = None
        self._failure = ""

    @classmethod
    def unix(cls, path: str, *, process: Callable[[], int | None] | None = None) -> Self:
        """Return the server that listens on the Unix socket *path*. *process* returns the id of the
        only process that may listen there.
        """
        made = cls(_LOCAL_NAME, 80)
        made.addresses = ((socket.AF_UNIX, path),)
        made.process = process
        return made

    def look_up(self, end: float) -> None:
        """Look up the addresses of a host name again before *end*, a ``time.monotonic`` time.

        The system's resolver has no deadline, so it is queried in a thread, at most one at a time.
        If this raises ``TransportError`` (``name``), the known addresses are kept.
        """
        if not self.is_name:
            return
        left = _remaining(end, RequestStage.NAME)
        thread = self._lookup
        if thread is None or not thread.is_alive():
            self._lookup = thread = BackgroundThread(self._ask_resolver, "guardrail-lookup")
            thread.start()
        thread.join(left)
        if thread.is_alive():
            raise deadline_passed(RequestStage.NAME)
        if self._failure:
            raise no_address(self._failure)

    def _ask_resolver(self) -> None:
        try:
            found = socket.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._failure = getattr(error, "strerror", None) or "no address"
        else:
            self.addresses = tuple((socket.AddressFamily(item[0]), item[4]) for item in found)
            self._failure = "" if found else "no address"


class HttpConnection:
    """A connection that stays open for the next request if the end of the response is certain. Only
    one thread may use it at a time.
    """

    def __init__(
        self, endpoint: Endpoint, *, headers: Mapping[str, str] | None = None, keep: bool = False
    ) -> None:
        """Send *headers* with each request; the client adds ``Host``, ``User-Agent``,
        ``Accept-Encoding`` and ``Connection``.

        If *keep* is True, a request may be sent twice, so it must have no side effects, and its
        response must identify the request.
        """
        self._endpoint = endpoint
        self._keep = keep
        self._wire: _Wire | None = None
        every = {
            "Host": endpoint.authority,
            "User-Agent": "guardrail",
            "Accept-Encoding": "identity",
        }
        every |= headers or {}
        if not keep:
            every["Connection"] = "close"
        self._fields = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in every.items())

    def close(self) -> None:
        """Close the connection. The next request opens it again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        end: float,
        limit: int,
        authorization: str | None = None,
    ) -> HttpReply:
        """Return the server's response, regardless of its status.

        *end* is the deadline, a ``time.monotonic`` time. *limit* is the maximum size of the
        response body in bytes. Raises ``TransportError``, and ``ValueError`` if the path or
        *authorization* can't be part of a request line or header.
        """
        more = "" if authorization is None else f"Authorization: {_one_line(authorization)}\r\n"
        if body or method != "GET":
            more += f"Content-Length: {len(body)}\r\n"
        if " " in path:
            raise ValueError("a path with a space")
        head = f"{method} {_one_line(path)} HTTP/1.1\r\n{self._fields}{more}\r\n"
        request = head.encode("ascii") + body
        if self._wire is not None and self._wire.stale():
            self.close()
        if self._wire is not None:
            try:
                return self._exchange(self._wire, request, end, limit)
            except _CutError:
                # No byte was received, because the server had closed an idle connection. A new
                # connection is tried once.
                self.close()
        self._wire = _open(self._endpoint, end)
        try:
            return self._exchange(self._wire, request, end, limit)
        except _CutError as cut:
            raise unreachable(
                "disconnected", "closed the connection without a response", cut.stage, cut.reason
            ) from None

    def _exchange(self, wire: _Wire, request: bytes, end: float, limit: int) -> HttpReply:
        wire.end, wire.received = end, 0
        keep = False
        try:
            wire.send(request)
            budget = limit + limit // _CHUNK_SHARE + _MAX_HEAD
            reply = read_reply(wire.receive, limit=limit, budget=budget)
            _remaining(end, RequestStage.REPLY)  # the last bytes may have arrived too late
            keep = self._keep and reply.reusable
            return reply
        except ReplyError as error:
            if error.detail == "nothing":
                raise _CutError(RequestStage.REPLY) from None
            raise malformed(error.detail, error.message) from None
        except OSError as error:
            if wire.received == 0:
                raise _CutError(wire.stage, _reason(error)) from None
            raise malformed("truncated", "ended its response early", _reason(error)) from None
        finally:
            if not keep:
                self.close()


class _CutError(Exception):
    """The connection ended before any byte of the response.

    The server might have closed an idle connection.
    """

    def __init__(self, stage: RequestStage, reason: str = "") -> None:
        super().__init__()
        self.stage = stage
        self.reason = reason


class _Wire:
    """A socket. All its operations together must end before ``end``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.end = 0.0
        self.received = 0
        """Bytes since the request was sent."""
        self.stage = RequestStage.SEND

    def send(self, data: bytes) -> None:
        self.stage = RequestStage.SEND
        view = memoryview(data)
        while view:
            self._sock.settimeout(_remaining(self.end, RequestStage.SEND))
            try:
                view = view[self._sock.send(view) :]
            except TimeoutError:
                raise deadline_passed(RequestStage.SEND) from None
        self.stage = RequestStage.REPLY

    def receive(self, size: int) -> bytes:
        self._sock.settimeout(_remaining(self.end, RequestStage.REPLY))
        try:
            block = self._sock.recv(size)
        except TimeoutError:
            raise deadline_passed(RequestStage.REPLY) from None
        self.received += len(block)
        return block

    def stale(self) -> bool:
        """Return True if data can be read although no request was sent: the server has closed the
        connection or sent unsolicited data.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | select.POLLERR | select.POLLHUP)
        if poll.poll(0):
            return True
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def close(self) -> None:
        self._sock.close()


def is_loopback(host: str) -> bool:
    """Return True if *host*, an address or a name, is on this machine. The only such name is
    ``localhost``.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == _LOCAL_NAME


def tls_context(
    ca: Path | None,
    cert: Path | None = None,
    key: Path | None = None,
) -> TlsContext:
    """Return the TLS settings for a client: TLS 1.2 or later, and a server certificate that matches
    the server's name and was issued by a CA in *ca*.

    If *ca* is None, the system's certificates are trusted. *cert* and *key* identify the client;
    the key is not encrypted. Raises ``OSError`` or ``ValueError``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        context.load_verify_locations(cafile=ca)
    else:
        context.load_default_certs()
    if cert is not None and key is not None:
        context.load_cert_chain(cert, key, password=_no_password)
    return context


def _no_password() -> str:
    # This is called only for an encrypted key, for which OpenSSL would otherwise prompt on the
    # terminal.
    raise ValueError


def _literal_addresses(host: str, port: int) -> tuple[Address, ...]:
    """Return the addresses of a host that does not require a lookup, or an empty tuple."""
    if host == _LOCAL_NAME:
        # The resolver is never queried for this name, because it could return any address.
        return ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port)))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ((family, (host, port)),)


def _open(endpoint: Endpoint, end: float) -> _Wire:
    """Connect, and perform the handshake if the server uses TLS. Raises ``TransportError``."""
    addresses = endpoint.addresses
    failure: TransportError | None = None
    for index, address in enumerate(addresses):
        # One address that never answers must not use up the time for the others.
        share = time.monotonic() + (end - time.monotonic()) / (len(addresses) - index)
        try:
            return _Wire(_secured(_expected(_connected(address, share), endpoint), endpoint, share))
        except TransportError as error:
            # An error from a server that answered is more helpful than one from an address on which
            # nobody listens.
            if failure is None or failure.stage is RequestStage.CONNECT:
                failure = error
    raise failure or no_address("no address")


def _connected(address: Address, end: float) -> socket.socket:
    family, where = address
    left = _remaining(end, RequestStage.CONNECT)
    with contextlib.ExitStack() as stack:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            stack.callback(sock.close)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(left)
            sock.connect(where)  # type: ignore[arg-type]  # in the form that this family requires
        except TimeoutError:
            raise deadline_passed(RequestStage.CONNECT) from None
        except OSError as error:
            raise unreachable(
                "connect", "does not accept connections", RequestStage.CONNECT, _reason(error)
            ) from None
        stack.pop_all()
    return sock


def _expected(sock: socket.socket, endpoint: Endpoint) -> socket.socket:
    """Return *sock* if the process that the endpoint expects listens at its other end."""
    if endpoint.process is None:
        return sock
    expected = endpoint.process()
    if expected is not None and _listening_process(sock) == expected:
        return sock
    sock.close()
    raise unreachable("process", "is not the expected process", RequestStage.CONNECT, "")


def _listening_process(sock: socket.socket) -> int | None:
    """Return the id of the process that listens on a Unix socket, or None if the system does not
    report it.
    """
    try:
        if sys.platform == "linux":
            found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", found)[0])
        if sys.platform == "darwin":
            return sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
    except OSError:
        pass
    return None


def _secured(sock: socket.socket, endpoint: Endpoint, end: float) -> socket.socket:
    if endpoint.tls is None:
        return sock
    with contextlib.ExitStack() as stack:
        stack.callback(sock.close)
        try:
            sock.settimeout(_remaining(end, RequestStage.TLS))
            secured = endpoint.tls.wrap_socket(
                sock, server_hostname=endpoint.host, do_handshake_on_connect=False
            )
            stack.callback(secured.close)
            secured.do_handshake()
        except TimeoutError:
            raise deadline_passed(RequestStage.TLS) from None
        except ssl.SSLCertVerificationError as error:
            raise unreachable(
                "certificate",
                "has a certificate that is not trusted",
                RequestStage.TLS,
                _reason(error),
            ) from None
        except (OSError, ValueError) as error:
            raise unreachable(
                "tls", "does not establish a TLS connection", RequestStage.TLS, _reason(error)
            ) from None
        stack.pop_all()
    return secured


def _one_line(text: str) -> str:
    """Return *text* encoded for one line in a request.

    Raises ``ValueError`` if it contains a line break.
    """
    if not text.isprintable():
        raise ValueError("a control character in a line of a request")
    return text


def _remaining(end: float, stage: RequestStage) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise deadline_passed(stage)
    return left


def _reason(error: Exception) -> str:
    """Return the system's message, or an empty string if there is none. For errors in a TLS
    handshake, return ``no TLS``.
    """
    if isinstance(error, (ssl.SSLError, ValueError)):
        return "no TLS"
    return getattr(error, "strerror", None) or ""
