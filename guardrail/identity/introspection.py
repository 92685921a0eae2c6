"""Asks an issuer whether a token was revoked (RFC 7662).

An answer is valid for some time. After that, the next call asks again, and whoever needs the answer
meanwhile waits for the same request. Every other answer than that the token is active refuses it.
"""

from __future__ import annotations

import base64
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from guardrail.config.issuers import IntrospectionSettings, IssuerSettings
from guardrail.core.json_text import JsonTextError, read
from guardrail.errors import ConfigError, os_reason
from guardrail.identity.issuer_server import IssuerServer, server_error
from guardrail.identity.token_text import SecretText
from guardrail.system.input_files import read_input

__all__ = ["NOT_ASKED", "REVOKED", "UNANSWERED", "Introspection", "TokenStatus"]

REVOKED: Final = "token_revoked"
"""Detail of cause ``identity``: the issuer says that the token is not active."""
UNANSWERED: Final = "token_introspection"
"""Detail of cause ``identity``: the issuer's endpoint gave no valid answer about the token."""
NOT_ASKED: Final = "token_not_asked"
"""The issuer must be asked about the token, which takes time. Never recorded."""

_CODE: Final = "config.introspection"
_MAX_SECRET: Final = 4_096
_MAX_ANSWER: Final = 64 * 1024
_RETRY_S: Final = 1.0
"""Seconds for which a failed request is not repeated."""


class Introspection:
    """The introspection endpoint of one issuer. Thread-safe."""

    def __init__(self, issuer: IssuerSettings, settings: IntrospectionSettings) -> None:
        """Raises ``ConfigError`` if the URL is wrong, or if the file with the secret can't be read
        or can be read by other users.
        """
        self._issuer = issuer.issuer
        self._settings = settings
        self._place = f"the introspection endpoint of {issuer.issuer} ({settings.url})"
        hint = "url must be the issuer's introspection_endpoint"
        self._server = IssuerServer(settings.url, issuer.ca, self._place, hint=hint, code=_CODE)
        self.interval = float(settings.interval_s)
        """Seconds for which an answer is valid."""
        self.patience = settings.timeout_ms / 1000
        """Seconds for one request."""
        self._authorization()

    def ask(self, token: SecretText, subject: str | None, now: float) -> str:
        """Return an empty string if the issuer says that *token* is active at the time *now*, and
        otherwise the detail for a refusal. *subject* is the token's ``sub``. Never raises.
        """
        from guardrail.system.http_errors import TransportError

        form = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            reply = self._server.ask(
                "POST",
                b"token_type_hint=access_token&token=" + quote(token.reveal()).encode("ascii"),
                seconds=self.patience,
                limit=_MAX_ANSWER,
                headers=form,
                authorization=self._authorization().reveal(),
            )
        except (TransportError, ConfigError):
            return UNANSWERED
        if reply.status != 200:
            return UNANSWERED
        return self._judge(reply.body, subject, now)

    def _judge(self, body: bytes, subject: str | None, now: float) -> str:
        try:
            answer = read(body.decode("utf-8"))
        except (JsonTextError, UnicodeDecodeError):
            return UNANSWERED
        active = answer.get("active") if isinstance(answer, dict) else None
        if active is False:
            return REVOKED
        if active is not True:
            return UNANSWERED
        # An answer about another token is wrong.
        expires, begins = answer.get("exp", now + 1), answer.get("nbf", now)
        if any(type(time) not in (int, float) for time in (expires, begins)):
            return UNANSWERED
        if answer.get("iss", self._issuer) != self._issuer or answer.get("sub", subject) != subject:
            return UNANSWERED
        return "" if begins - 60 <= now < expires + 60 else REVOKED

    def _authorization(self) -> SecretText:
        """Return the header ``Authorization`` (RFC 6749, section 2.3.1). The secret is read each
        time, so a new one takes effect at once. Raises ``ConfigError``.
        """
        path = self._settings.secret_file
        secret = _secret_in(path, self._place)
        pair = f"{quote_plus(self._settings.client_id)}:{quote_plus(secret.reveal())}"
        return SecretText("Basic " + base64.b64encode(pair.encode()).decode("ascii"))


def _secret_in(path: Path, place: str) -> SecretText:
    try:
        if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise server_error(
                place,
                f"has a secret that other users can read: {path}",
                f"chmod 600 {path}; if it was exposed, get a new secret",
                _CODE,
            )
        secret = SecretText(read_input(path, _MAX_SECRET).decode("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "not UTF-8"
        raise server_error(
            place,
            f"has a secret that can't be read: {path} ({reason})",
            "put the client's secret alone into secret_file, with mode 0600",
            _CODE,
        ) from None
    if not secret.reveal():
        raise server_error(
            place, f"has an empty secret: {path}", "put the client's secret into it", _CODE
        )
    return secret


class TokenStatus:
    """The issuer's last answer about one token. Thread-safe, even after a fork."""

    __slots__ = ("_answer", "_clock", "_endpoint", "_lock", "_pid", "_subject", "_token")

    def __init__(
        self,
        endpoint: Introspection,
        token: SecretText,
        subject: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._token = token
        self._subject = subject
        self._clock = clock
        self._answer: tuple[float, str] | None = None
        """The time of the last request and its result; replaced together."""
        self._pid, self._lock = os.getpid(), threading.Lock()

    def refusal(self, *, wait: bool) -> str:
        """Return the detail for a refusal, or an empty string if the token is active. If the issuer
        must be asked, this waits for the answer; without *wait*, it returns ``NOT_ASKED``.
        """
        known = self._known()
        if known is not None:
            return known
        if not wait:
            return NOT_ASKED
        if self._pid != os.getpid():  # the thread that held the lock is not in this process
            self._pid, self._lock = os.getpid(), threading.Lock()
        lock = self._lock
        if not lock.acquire(timeout=self._endpoint.patience):
            return UNANSWERED
        try:
            known = self._known()
            if known is None:
                asked = self._clock()
                known = self._endpoint.ask(self._token, self._subject, asked)
                self._answer = (asked, known)
            return known
        finally:
            lock.release()

    def _known(self) -> str | None:
        """Return the last result if it is still valid."""
        if self._answer is None:
            return None
        asked, result = self._answer
        valid = _RETRY_S if result == UNANSWERED else self._endpoint.interval
        # The clock can be set back, so an age can be negative.
        return result if 0 <= self._clock() - asked < valid else None
