"""The rules of every HTTP server that guardrail runs. Pure functions: each takes values and returns
a refusal or None.

A server listens only on loopback, unless it has TLS and authenticates its callers. A request is
refused if its ``Host`` is a different host (DNS rebinding), or if it comes from a web page whose
origin is not listed, is ambiguous (request smuggling), is too large, is compressed, or asks to
switch protocols.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from guardrail.core.words import counted
from guardrail.errors import ConfigError

__all__ = [
    "Headers",
    "ListenAddress",
    "ListenerRefusal",
    "ListenerRules",
    "check_binding",
    "host_names",
    "refusal_of",
    "too_large",
    "values_of",
]

Headers = Sequence[tuple[bytes, bytes]]
"""The headers of a request in their original order, with names in lower case, as in ASGI."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(?::([0-9]{1,5}))?")
_MAX_TARGET = 8 * 1024
_MAX_LENGTH_DIGITS = 15
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OTHER_SITES = frozenset({b"cross-site", b"same-site"})


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An IP address and a port to listen on."""

    host: str
    port: int
    """The port, or 0 to let the system choose a free one."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``ADDRESS:PORT``; ``localhost`` means 127.0.0.1. Raises ``ConfigError``."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        host = "127.0.0.1" if host == "localhost" else host
        number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else -1
        try:
            ipaddress.ip_address(host)
        except ValueError:
            number = -1
        if not 0 <= number < 65536:
            raise ConfigError(
                "the address to listen on must be an IP address, a colon and a port",
                code="listener.address",
                hint="for example 127.0.0.1:8290, or [::1]:0 for a free port",
            )
        return cls(host, number)

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the address."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def wildcard(self) -> bool:
        """True if the address means all addresses of this machine."""
        return ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerRules:
    """The limits of a server, and the requests that it accepts."""

    hosts: frozenset[str] = frozenset()
    """Accepted ``Host`` values in addition to ``address``: ``name`` for any port, or ``name:port``.
    See ``host_names``.
    """
    address: ListenAddress | None = None
    """The address that the server listens on, or None for loopback with any port. For a loopback
    address, every loopback name with this port is accepted.
    """
    any_host: bool = False
    """True to accept every ``Host``, because the server sends no data to web pages."""
    origins: frozenset[str] = frozenset()
    """Web origins whose pages may send requests."""
    max_body: int = 32 << 20
    """Maximum size of a body, in bytes."""
    max_headers: int = 128
    max_head: int = 32 * 1024
    """Maximum total size of target and headers, in bytes."""
    max_streams: int = 256
    """Maximum number of requests that are served concurrently."""
    idle_s: float = 60.0
    """Seconds within which a request must arrive. This is also the time limit for a connection
    without a request, and for a client that does not read.
    """
    stop_s: float = 30.0
    """Maximum number of seconds that requests in progress may take to end when the server stops."""
    authenticate: Callable[[Headers], str | ListenerRefusal] | None = None
    """Returns the name of the caller, or the refusal of a request without a valid token. Without
    this function, every caller is served.
    """

    app_authenticates: bool = False
    """True if the app itself refuses every request without a valid credential."""

    @property
    def max_connections(self) -> int:
        """Maximum number of open connections. A client may keep one open between two requests."""
        return 2 * self.max_streams + 64


@dataclass(frozen=True, slots=True)
class ListenerRefusal:
    """The reason for refusing a request, as reported to the client."""

    status: int
    code: str
    """Stable name of the rule."""
    message: str
    """A human-readable message, without values from the request."""


def check_binding(address: ListenAddress, *, tls: bool, authenticated: bool) -> None:
    """Raise ``ConfigError`` if other machines can reach *address* although the server has no TLS or
    does not authenticate its callers.
    """
    if address.loopback or (tls and authenticated):
        return
    if not tls:
        raise ConfigError(
            f"other machines can reach {address}, and traffic would not be encrypted",
            code="listener.tls_required",
            hint="listen on 127.0.0.1, or set tls_cert, tls_key and callers",
        )
    raise ConfigError(
        f"other machines can reach {address}, and the server would serve all of them",
        code="listener.callers_required",
        hint="set callers to a file of tokens, or listen on 127.0.0.1; a proxy also serves other "
        'machines if [identity] require = "verified"',
    )


def host_names(entries: Sequence[str]) -> frozenset[str]:
    """Return a server's configured names, in lower case. Raises ``ConfigError`` if one is neither
    ``NAME`` nor ``NAME:PORT``.
    """
    names = frozenset(entry.lower() for entry in entries)
    for name in sorted(names):
        if _HOST.fullmatch(name) is None:
            raise ConfigError(
                "an accepted Host must be NAME or NAME:PORT, without http:// or a path",
                code="listener.hosts",
                hint="for example models.example.com or models.example.com:8443",
            )
    return names


def values_of(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of all headers with the name *name*, which must be in lower case."""
    return [value for each, value in headers if each == name]


def refusal_of(target: bytes, headers: Headers, rules: ListenerRules) -> ListenerRefusal | None:
    """Return the reason for refusing a request with this target and these headers, or None.

    Neither the body nor the caller is examined: see ``too_large`` and
    ``ListenerRules.authenticate``.
    """
    for check in (_of_size, _of_text, _of_target, _of_host, _of_framing, _of_content, _of_origin):
        found = check(target, headers, rules)
        if found is not None:
            return found
    return None


def _of_size(target: bytes, headers: Headers, rules: ListenerRules) -> ListenerRefusal | None:
    if len(headers) > rules.max_headers:
        message = f"a request may have at most {counted(rules.max_headers, 'header')}"
    elif len(target) + sum(len(name) + len(value) for name, value in headers) > rules.max_head:
        message = f"target and headers may have at most {counted(rules.max_head, 'byte')}"
    else:
        return None
    return ListenerRefusal(431, "headers", message)


def _of_text(_: bytes, headers: Headers, __: ListenerRules) -> ListenerRefusal | None:
    """RFC 9110, section 5.5."""
    if any(_CONTROL.search(value) for _, value in headers):
        message = "the value of a header contains a control character"
        return ListenerRefusal(400, "headers", message)
    return None


def _of_target(target: bytes, _: Headers, __: ListenerRules) -> ListenerRefusal | None:
    if len(target) > _MAX_TARGET:
        message = f"a path may have at most {counted(_MAX_TARGET, 'byte')}"
        return ListenerRefusal(414, "target", message)
    if not target.startswith(b"/"):
        message = "the request target must be a path that starts with /"
        return ListenerRefusal(400, "target", message)
    return None


def _of_host(_: bytes, headers: Headers, rules: ListenerRules) -> ListenerRefusal | None:
    hosts = values_of(headers, b"host")
    if len(hosts) != 1:
        message = "the request must have one Host header"
        return ListenerRefusal(400, "host", message)
    if rules.any_host or _is_accepted(hosts[0].decode("latin-1").lower(), rules):
        return None
    return ListenerRefusal(421, "host", "the Host header is not for this server")


def _is_accepted(host: str, rules: ListenerRules) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name, port = match[1], match[3]
    if name in rules.hosts or host in rules.hosts:
        return True
    listens = rules.address
    # A client omits the default port of http or https.
    if listens is not None and listens.port not in ({80, 443} if port is None else {int(port)}):
        return False
    try:
        literal = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost" and (listens is None or listens.loopback)
    if listens is None or listens.loopback:
        return literal.is_loopback
    return not listens.wildcard and literal == ipaddress.ip_address(listens.host)


def _of_framing(_: bytes, headers: Headers, rules: ListenerRules) -> ListenerRefusal | None:
    lengths = values_of(headers, b"content-length")
    if len(lengths) + len(values_of(headers, b"transfer-encoding")) > 1:
        message = "Content-Length and Transfer-Encoding contradict each other, or appear twice"
        return ListenerRefusal(400, "framing", message)
    for length in lengths:
        if re.fullmatch(rb"[0-9]+", length) is None:
            message = "Content-Length must be a number"
            return ListenerRefusal(400, "framing", message)
        if len(length) > _MAX_LENGTH_DIGITS or int(length) > rules.max_body:
            return too_large(rules)
    return None


def too_large(rules: ListenerRules) -> ListenerRefusal:
    """Return the refusal of a request whose body is larger than *rules* allow."""
    message = f"the body may have at most {counted(rules.max_body, 'byte')}"
    return ListenerRefusal(413, "body", message)


def _of_content(_: bytes, headers: Headers, __: ListenerRules) -> ListenerRefusal | None:
    if any(value.lower() != b"identity" for value in values_of(headers, b"content-encoding")):
        message = "send the body without Content-Encoding: compressed requests are not accepted"
        return ListenerRefusal(415, "encoding", message)
    # Other protocols, such as h2c, are only offered, so the request is answered as it is.
    if any(b"websocket" in value.lower() for value in values_of(headers, b"upgrade")):
        message = "this server does not support WebSocket: use HTTP requests"
        return ListenerRefusal(404, "upgrade", message)
    return None


def _of_origin(_: bytes, headers: Headers, rules: ListenerRules) -> ListenerRefusal | None:
    origins = values_of(headers, b"origin")
    if origins and all(origin.decode("latin-1") in rules.origins for origin in origins):
        return None
    sites = values_of(headers, b"sec-fetch-site")
    if origins or any(site.lower() in _OTHER_SITES for site in sites):
        message = "web pages from this origin may not use this server"
        return ListenerRefusal(403, "origin", message)
    return None
