"""The address and the credentials of an OPA server. Settings that would expose arguments are
rejected.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from guardrail.config import OpaSection
from guardrail.errors import ConfigError, PolicyError
from guardrail.system.http import (
    Address,
    Endpoint,
    TlsContext,
    TransportCause,
    TransportError,
    is_loopback,
    tls_context,
)
from guardrail.system.input_files import FileVersion, version_of

__all__ = ["UNREACHABLE", "OpaTarget", "TokenFile"]

UNREACHABLE = "check that the OPA server is running, and that [opa] url is right"
"""Hint for an unreachable server."""
_MAX_TOKEN = 16 * 1024
_PORTS = {"http": 80, "https": 443}


class TokenFile:
    """A bearer token in a file. The file is read again when it changes. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[FileVersion, str] | None = None

    def header(self) -> str:
        """Return the value for the ``Authorization`` header. Raises ``PolicyError``
        (``unreachable``, ``token``).
        """
        try:
            found = self._path.stat()
            version = version_of(found)
            known = self._known
            if known is not None and known[0] == version:
                return known[1]
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise _token_error(
                    f"{self._path}: other users can read it", f"chmod 600 {self._path}"
                )
            if found.st_size > _MAX_TOKEN:
                raise _token_error(
                    f"{self._path}: the file is too large for a token",
                    "put only the token into that file",
                )
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _token_error(
                f"{self._path}: can't be read ({type(error).__name__})", ""
            ) from None
        if not text or not all(33 <= ord(character) <= 126 for character in text):
            raise _token_error(
                f"{self._path}: the file contains no token",
                "the file must contain the token as one line of printable characters",
            )
        # A single assignment, so that readers see either the old pair or the new pair.
        self._known = (version, f"Bearer {text}")
        return self._known[1]


class OpaTarget:
    """The address of an OPA server. Immutable, except for the resolved IP addresses, which
    ``resolve`` updates.
    """

    unreachable_hint = UNREACHABLE
    """The next step if the server is unreachable."""
    restarts = False
    """True if ``restart`` replaces a server that does not answer."""

    def __init__(self, section: OpaSection) -> None:
        """Check *section*, and read the server's address from it.

        Raises ``ConfigError`` if the URL contains credentials, a path or a query; if it is an http
        URL for a host other than loopback; or if a key or token file is missing or readable by
        other users.
        """
        self.url = section.url
        parts = _split_url(section.url)
        self.token = None if section.token_file is None else TokenFile(section.token_file)
        if section.token_file is not None:
            _require_private(section.token_file)
        self.endpoint = _endpoint(parts, section)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The known addresses of the server."""
        return self.endpoint.addresses

    def resolve(self, timeout: float = 5.0) -> None:
        """Look up the host name, if the URL has one, within *timeout* seconds. Do not call this
        during a tool call.

        Raises ``PolicyError`` (``unreachable`` or ``timeout``, ``name``) if the lookup fails and no
        earlier address is known.
        """
        try:
            self.endpoint.look_up(time.monotonic() + timeout)
        except TransportError as error:
            if self.addresses:
                return
            late = error.cause is TransportCause.TIMEOUT
            raise PolicyError(
                "the host name of the OPA server was not resolved in time"
                if late
                else "the host name of the OPA server can't be resolved",
                cause=error.cause.value,
                detail=error.detail,
                hint="check DNS and the host in [opa] url",
            ) from None

    def prepare(self, end: float) -> None:
        """Wait until the server can be asked. Returns at once if guardrail does not start it."""

    def restart(self) -> None:
        """Replace a server that does not answer, if guardrail has started it."""

    def close(self) -> None:
        """End what guardrail has started. Idempotent."""

    def after_fork(self) -> None:
        """Leave to the parent process what it has started."""


def _endpoint(parts: SplitResult, section: OpaSection) -> Endpoint:
    if parts.scheme == "unix":
        return Endpoint.unix(_socket_path(parts))
    host, port = _host_and_port(parts)
    if parts.scheme == "https":
        return Endpoint(host, port, tls=_tls_context(section))
    endpoint = Endpoint(host, port)
    if endpoint.is_name or not is_loopback(host):
        # A host name can resolve to a different machine later, so without TLS, only addresses that
        # never leave this machine are accepted.
        raise ConfigError(
            (
                "[opa] url uses http for an address other than loopback, so arguments would "
                "cross the network unencrypted"
            ),
            code="config.opa_url",
            hint=(
                "use https://..., unix:///path, or a loopback address such as http://127.0.0.1:8181"
            ),
        )
    if section.ca or section.cert or section.key:
        raise ConfigError(
            "[opa] ca, cert or key is set, but [opa] url does not begin with https://",
            code="config.opa_tls",
            hint="use an https:// URL, or remove ca, cert and key",
        )
    return endpoint


def _split_url(url: str) -> SplitResult:
    if not url:
        raise _bad_url("is empty, so it names no server")
    try:
        parts = urlsplit(url)
        credentials = parts.username is not None or parts.password is not None or "@" in url
    except ValueError:
        raise _bad_url("is not a URL") from None
    if credentials:
        raise ConfigError(
            "[opa] url contains credentials, which would end up in logs",
            code="config.opa_url",
            hint=("put the token in a file with mode 0600, and set [opa] token_file to its path"),
        )
    if parts.scheme not in {"http", "https", "unix"}:
        raise _bad_url("must begin with https://, http:// or unix:///")
    if parts.query or parts.fragment or (parts.scheme != "unix" and parts.path not in {"", "/"}):
        raise _bad_url("must not contain a path or a query")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise _bad_url("contains a space or a control character")
    return parts


def _bad_url(why: str) -> ConfigError:
    return ConfigError(
        f"[opa] url {why}", code="config.opa_url", hint="use a URL such as http://127.0.0.1:8181"
    )


def _socket_path(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or len(os.fsencode(path)) > 100:
        raise _bad_url(
            "for a unix socket must have the form unix:///absolute/path, with at most 100 bytes"
        )
    return path


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        port = parts.port
    except ValueError:
        raise _bad_url("has an invalid port number") from None
    if not parts.hostname:
        raise _bad_url("has no host")
    return parts.hostname, port if port is not None else _PORTS[parts.scheme]


def _tls_context(section: OpaSection) -> TlsContext:
    if (section.cert is None) != (section.key is None):
        raise ConfigError(
            "only one of [opa] cert and [opa] key is set",
            code="config.opa_tls",
            hint="set both or neither",
        )
    if section.key is not None:
        _require_private(section.key)
    try:
        return tls_context(section.ca, section.cert, section.key)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[opa] ca, cert or key can't be used ({type(error).__name__})",
            code="config.opa_tls",
            hint="use PEM files, with an unencrypted key",
        ) from None


def _require_private(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read ({type(error).__name__})", code="config.opa_file"
        ) from None
    if mode & 0o077:
        raise ConfigError(
            f"{path}: other users can read it (mode {mode:o})",
            code="config.exposed",
            hint=f"chmod 600 {path}",
        )


def _token_error(message: str, hint: str) -> PolicyError:
    return PolicyError(message, cause="unreachable", detail="token", hint=hint)
