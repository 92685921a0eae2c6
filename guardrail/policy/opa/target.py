"""Address and credentials of an OPA server. Settings that would expose arguments are refused
here.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from guardrail.config import OpaSection
from guardrail.errors import ConfigError, PolicyError

__all__ = ["Address", "Target", "TokenFile"]

Address = tuple[socket.AddressFamily, object]
"""Address for ``socket.connect``, with its family."""

_LOCAL_NAME = "localhost"
_MAX_TOKEN = 16 * 1024
_PORTS = {"http": 80, "https": 443}


class TokenFile:
    """A bearer token in a file, read again when the file changes. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[tuple[int, ...], str] | None = None

    def header(self) -> str:
        """Return the value of ``Authorization``. Raises ``PolicyError`` (``unreachable``, ``token``)."""
        try:
            found = self._path.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
            known = self._known
            if known is not None and known[0] == mark:
                return known[1]
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise _token(f"{self._path}: others can read it", f"chmod 600 {self._path}")
            if found.st_size > _MAX_TOKEN:
                raise _token(f"{self._path}: too large for a token", "put the token alone in it")
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _token(f"{self._path}: can't be read ({type(error).__name__})", "") from None
        if not text or not all(33 <= ord(character) <= 126 for character in text):
            raise _token(f"{self._path}: holds no token", "one line of printable characters")
        # One assignment: a reader sees the old pair or the new one.
        self._known = (mark, f"Bearer {text}")
        return self._known[1]


class Target:
    """One OPA server. Immutable, except the addresses of a host name, which ``resolve`` renews."""

    def __init__(self, section: OpaSection) -> None:
        """Judge *section*.

        Raises ``ConfigError``: a URL with credentials, path or query; http to anything but loopback; key or token files
        that are missing or that others can read.
        """
        self.url = section.url
        parts = _split(section.url)
        self.tls: ssl.SSLContext | None = None
        self.token = None if section.token_file is None else TokenFile(section.token_file)
        if section.token_file is not None:
            _private(section.token_file)
        if parts.scheme == "unix":
            self.host, self.authority = "localhost", "localhost"
            self.addresses: tuple[Address, ...] = ((socket.AF_UNIX, _socket_path(parts)),)
            self._resolves = False
            return
        host, port = _host_and_port(parts)
        self.host = host
        self.authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._port = port
        literal = _literal(host, port)
        self._resolves = not literal
        self.addresses = literal
        if parts.scheme == "https":
            self.tls = _context(section)
        elif not literal or not _loopback(host):
            # A name could lead anywhere tomorrow: without TLS only addresses that never leave this machine.
            raise ConfigError(
                "[opa] url: http only to a loopback address: arguments would cross the network in clear",
                code="config.opa_url",
                hint="https://, unix:///path, or http://127.0.0.1:8181",
            )
        if self.tls is None and (section.ca or section.cert or section.key):
            raise ConfigError(
                "[opa] ca, cert and key are for https", code="config.opa_tls", hint="url = https://"
            )

    def resolve(self) -> None:
        """Look the host name up, if there is one.

        Blocks as long as the system's resolver does: don't use it in a call.

        Raises ``PolicyError`` (``unreachable``, ``name``) if it has no address and never had one.
        """
        if not self._resolves:
            return
        try:
            found = socket.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            if self.addresses:
                return
            raise PolicyError(
                "the OPA server's name has no address",
                cause="unreachable",
                detail="name",
                hint="correct [opa] url",
            ) from None
        self.addresses = tuple((socket.AddressFamily(item[0]), item[4]) for item in found)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        credentials = parts.username is not None or parts.password is not None or "@" in url
    except ValueError:
        raise _bad_url("is no URL") from None
    if credentials:
        raise ConfigError(
            "[opa] url: holds credentials, which would end up in logs",
            code="config.opa_url",
            hint="put a token in a file of mode 0600 and name it as token_file",
        )
    if parts.scheme not in {"http", "https", "unix"}:
        raise _bad_url("begins with https://, http:// or unix:///")
    if parts.query or parts.fragment or (parts.scheme != "unix" and parts.path not in {"", "/"}):
        raise _bad_url("names a server, without path or query")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise _bad_url("holds a space or a control character")
    return parts


def _bad_url(why: str) -> ConfigError:
    return ConfigError(
        f"[opa] url: {why}", code="config.opa_url", hint="for example http://127.0.0.1:8181"
    )


def _socket_path(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or len(os.fsencode(path)) > 100:
        raise _bad_url("of a unix socket is unix:///absolute/path, at most 100 bytes")
    return path


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        port = parts.port
    except ValueError:
        raise _bad_url("has an impossible port") from None
    if not parts.hostname:
        raise _bad_url("has no host")
    return parts.hostname, port if port is not None else _PORTS[parts.scheme]


def _literal(host: str, port: int) -> tuple[Address, ...]:
    """Return the addresses of a host that needs no look-up, or none."""
    if host == _LOCAL_NAME:
        # Never asked of a resolver, which could answer anything.
        return ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port)))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ((family, (host, port)),)


def _loopback(host: str) -> bool:
    return host == _LOCAL_NAME or ipaddress.ip_address(host).is_loopback


def _context(section: OpaSection) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if (section.cert is None) != (section.key is None):
        raise ConfigError(
            "[opa] cert and key belong together", code="config.opa_tls", hint="set both or neither"
        )
    try:
        if section.ca is not None:
            context.load_verify_locations(cafile=section.ca)
        else:
            context.load_default_certs()
        if section.cert is not None and section.key is not None:
            _private(section.key)
            context.load_cert_chain(section.cert, section.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[opa] ca, cert or key can't be used ({type(error).__name__})",
            code="config.opa_tls",
            hint="PEM files; the key without a password",
        ) from None
    return context


def _no_password() -> str:
    # Asked only for an encrypted key: OpenSSL would otherwise prompt on the terminal.
    raise ValueError


def _private(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read ({type(error).__name__})", code="config.opa_file"
        ) from None
    if mode & 0o077:
        raise ConfigError(
            f"{path}: others can read it (mode {mode:o})",
            code="config.exposed",
            hint=f"chmod 600 {path}",
        )


def _token(message: str, hint: str) -> PolicyError:
    return PolicyError(message, cause="unreachable", detail="token", hint=hint)
