"""Sends one request to an anchor's server and returns the complete response before a deadline. The
``AnchorError`` for a failure states the stage of the request.

The HTTP client is ``guardrail.system.http``, whose ``TransportError`` is converted to an
``AnchorError`` here. A connection serves one request, and requests are not retried.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from guardrail.errors import AnchorError, ConfigError
from guardrail.system import http
from guardrail.system.http import (
    HttpReply,
    RequestStage,
    TlsContext,
    TransportCause,
    TransportError,
    tls_context,
)

__all__ = ["AnchorEndpoint"]

_PORTS = {"http": 80, "https": 443}

_AGAIN = (
    "check that it is running and that the URL in [anchors] is right, then run: guardrail anchor"
)
_STAGES = {
    RequestStage.NAME: "look-up",
    RequestStage.CONNECT: "connecting",
    RequestStage.TLS: "connecting",
    RequestStage.SEND: "sending",
    RequestStage.REPLY: "its reply",
}


class AnchorEndpoint:
    """The server of an anchor, identified by its URL."""

    def __init__(self, url: str, *, what: str, setting: str, ca: Path | None = None) -> None:
        """*what* is the server's name in messages, *setting* is the name of the setting that holds
        its URL, and *ca* is a CA bundle for HTTPS.

        Raises ``ConfigError``.
        """
        self._what = what
        parts = _split_url(url, setting)
        assert parts.hostname is not None
        self._path = parts.path.rstrip("/")
        tls = _tls_context(ca, setting) if parts.scheme == "https" else None
        if ca is not None and tls is None:
            raise ConfigError(
                f"[anchors] {setting}: certificates require an https URL",
                code="config.anchor_tls",
                hint="use https://, or remove the certificates",
            )
        self._endpoint = http.Endpoint(parts.hostname, parts.port or _PORTS[parts.scheme], tls=tls)

    def ask(
        self,
        method: str,
        path: str,
        *,
        end: float,
        limit: int,
        body: bytes = b"",
        content_type: str = "text/plain",
    ) -> HttpReply:
        """Send one request and return the response, regardless of its status.

        *end* is the deadline (``time.monotonic``); *limit* is the size of the largest accepted body
        in bytes. Raises ``AnchorError``: ``anchor.unreachable``, or ``anchor.malformed`` if the
        response is not a complete HTTP response within the limit.
        """
        headers = {"Content-Type": content_type} if body else {}
        connection = http.HttpConnection(self._endpoint, headers=headers)
        try:
            self._endpoint.look_up(end)
            return connection.ask(
                method,
                self._path + path or "/",
                body,
                end=end,
                limit=limit,
            )
        except TransportError as error:
            raise self._anchor_error(error) from None
        finally:
            connection.close()

    def _anchor_error(self, error: TransportError) -> AnchorError:
        """Convert *error* to the ``AnchorError`` for a head that was not published."""
        stage = _STAGES[error.stage]
        if error.cause is TransportCause.TIMEOUT:
            return AnchorError(
                f"{self._what} did not answer before the deadline ({stage})", hint=_AGAIN
            )
        if error.detail == "certificate":
            return AnchorError(
                f"{self._what}'s certificate is not trusted",
                hint="set the CA certificates for this server in guardrail.toml",
            )
        if error.stage is RequestStage.REPLY and not error.reason:
            # The server closed the connection properly, so the bytes received so far are its
            # response.
            return AnchorError(
                f"{self._what}: it {error.message}", code="anchor.malformed", hint=_AGAIN
            )
        return AnchorError(
            f"{self._what} can't be reached ({stage}: {error.reason or 'no address'})", hint=_AGAIN
        )


def _split_url(url: str, setting: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url(setting, "is invalid, or has an invalid port") from None
    if "@" in url:
        raise _bad_url(setting, "contains credentials, which would end up in logs")
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise _bad_url(setting, "must begin with https:// or http:// and contain a host")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise _bad_url(setting, "has a query, a fragment or invalid characters")
    return parts


def _bad_url(setting: str, why: str) -> ConfigError:
    return ConfigError(
        f"[anchors] {setting}: the URL {why}",
        code="config.anchor_url",
        hint="use a URL such as https://witness.example.com",
    )


def _tls_context(ca: Path | None, setting: str) -> TlsContext:
    try:
        return tls_context(ca)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[anchors] {setting}: the certificates can't be used ({type(error).__name__})",
            code="config.anchor_tls",
            hint="use a file of PEM certificates",
        ) from None
