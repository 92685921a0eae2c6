"""The servers of an issuer: an https URL, or an http URL of this machine, that is asked through the
HTTP client.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from guardrail.system.http import HttpReply

__all__ = ["IssuerServer", "server_error"]


def server_error(place: str, what: str, hint: str, code: str = "config.jwks") -> ConfigError:
    """Return the error for a server or a file of an issuer. *place* names it."""
    return ConfigError(f"{place} {what}", code=code, hint=hint)


class IssuerServer:
    """One URL of an issuer."""

    def __init__(self, url: str, ca: Path | None, place: str, *, hint: str, code: str) -> None:
        """*ca* holds the trusted root certificates, or is None for those of the system. *place*
        names the URL in errors, and *hint* says what it must be. Raises ``ConfigError``.
        """
        from guardrail.system.http import Endpoint, is_loopback, tls_context

        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise server_error(place, "has an invalid URL", hint, code) from None
        host = parts.hostname or ""
        bad = "@" in parts.netloc or parts.fragment or not url.isascii()
        if not host or bad or " " in url or not url.isprintable():
            raise server_error(place, "has an invalid URL", hint, code)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise server_error(place, "is not read over https", "use the https URL", code)
        tls = None
        if parts.scheme == "https":
            try:
                tls = tls_context(ca)
            except (OSError, ValueError):
                fix = "set ca to a file of PEM certificates"
                raise server_error(
                    place, "has certificates that can't be used", fix, code
                ) from None
        self._endpoint = Endpoint(host, port or (443 if tls is not None else 80), tls=tls)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def ask(
        self,
        method: str,
        body: bytes = b"",
        *,
        seconds: float,
        limit: int,
        headers: dict[str, str],
        authorization: str | None = None,
    ) -> HttpReply:
        """Return the response, whatever its status. Raises ``TransportError``."""
        from guardrail.system.http import HttpConnection

        end = time.monotonic() + seconds
        connection = HttpConnection(self._endpoint, headers=headers)
        try:
            self._endpoint.look_up(end)
            return connection.ask(
                method, self._path, body, end=end, limit=limit, authorization=authorization
            )
        finally:
            connection.close()
