"""Asks an issuer whether a token was revoked (RFC 7662).

An answer is valid for some time. After that, the next call asks again, and whoever needs the answer
meanwhile waits for the same request. A few threads send the requests of all tokens, so an endpoint
that hangs occupies no others. Every other answer than that the token is active refuses it.
"""

from __future__ import annotations

import base64
import functools
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, quote_plus

from guardrail.config.issuers import IntrospectionSettings, IssuerSettings
from guardrail.core.json_text import JsonTextError, read
from guardrail.core.shown_urls import shown_url
from guardrail.errors import ConfigError, os_reason
from guardrail.identity.instants import Instant
from guardrail.identity.issuer_server import IssuerServer, server_error
from guardrail.identity.token_text import SecretText
from guardrail.system.few_threads import FewThreads
from guardrail.system.futures import BatchedFuture
from guardrail.system.input_files import read_input

__all__ = ["BUSY", "NOT_ASKED", "REVOKED", "UNANSWERED", "Introspection", "NotAsked", "TokenStatus"]

REVOKED: Final = "token_revoked"
"""Detail of cause ``identity``: the issuer says that the token is not active."""
UNANSWERED: Final = "token_introspection"
"""Detail of cause ``identity``: the issuer's endpoint gave no valid answer about the token."""
BUSY: Final = "token_introspection_busy"
"""Detail of cause ``identity``: the issuer's endpoint was being asked about too many tokens."""
NOT_ASKED: Final = "token_not_asked"
"""The issuer must be asked about the token, which takes time. Never recorded."""

_CODE: Final = "config.introspection"
_MAX_SECRET: Final = 4_096
_MAX_ANSWER: Final = 64 * 1024
_RETRY_S: Final = 1.0
"""Seconds for which a failed request is not repeated, and for which every answer can be used."""
MOST_ASKED: Final = 16
"""Maximum number of simultaneous requests to one endpoint."""
MOST_WAITING: Final = 1_024
"""Maximum number of tokens that wait for a request to one endpoint. Others are refused at once."""


class NotAsked(str):
    """``NOT_ASKED``, with the answer that will come."""

    __slots__ = ("answer", "patience")

    def __new__(cls, answer: Future[str], patience: float) -> Self:
        """*answer* is the result of ``TokenStatus.refusal``, *patience* the number of seconds after
        which it counts as ``UNANSWERED``.
        """
        made = super().__new__(cls, NOT_ASKED)
        made.answer, made.patience = answer, patience
        return made

    answer: Future[str]
    patience: float


class Introspection:
    """The introspection endpoint of one issuer. Thread-safe."""

    def __init__(self, issuer: IssuerSettings, settings: IntrospectionSettings) -> None:
        """Raises ``ConfigError`` if the URL is wrong, or if the file with the secret can't be read
        or can be read by other users.
        """
        self._issuer = issuer.issuer
        self._settings = settings
        self._place = f"the introspection endpoint of {issuer.issuer} ({shown_url(settings.url)})"
        hint = "url must be the issuer's introspection_endpoint"
        self._server = IssuerServer(settings.url, issuer.ca, self._place, hint=hint, code=_CODE)
        self.interval = float(settings.interval_s)
        """Seconds for which an answer is valid."""
        self.patience = settings.timeout_ms / 1000
        """Seconds for one request, including the time for which it waits for others."""
        self.threads = FewThreads(
            MOST_ASKED, most_waiting=MOST_WAITING, name="guardrail-introspection"
        )
        """Send the requests."""
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

    __slots__ = ("_answer", "_clock", "_endpoint", "_pending", "_subject", "_token")

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
        self._answer: tuple[Instant, str] | None = None
        """The time of the last request and its result; replaced together."""
        self._pending: dict[int, Future[str]] = {}
        """The request in progress, by process: the threads of a parent do not run in its child."""

    def refusal(self, *, wait: bool) -> str:
        """Return the detail for a refusal, or an empty string if the token is active. If the issuer
        must be asked, this waits for the answer; without *wait*, it returns a ``NotAsked``.
        """
        known = self._known()
        if known is not None:
            return known
        answer, patience = self._asking(), self._endpoint.patience
        if not wait:
            return NotAsked(answer, patience)
        try:
            return answer.result(patience)
        except TimeoutError:
            return UNANSWERED

    def _asking(self) -> Future[str]:
        """Return the result of the request in progress. If there is none, start one."""
        here, made, will_end = os.getpid(), BatchedFuture[str](), False
        try:
            found = self._pending.setdefault(here, made)
            ask = functools.partial(self._ask, time.monotonic())
            will_end = found is not made or self._endpoint.threads.run(ask, made)
        finally:  # also if Ctrl-C interrupts this
            if not will_end:
                self._pending.pop(here, None)
                made.set_result(BUSY)
        return found

    def _ask(self, since: float) -> str:
        """Ask the issuer, and return the result. *since* is the time at which the request began to
        wait for a thread.
        """
        try:
            known = self._known()
            if known is not None:
                return known
            if time.monotonic() - since > self._endpoint.patience:
                return BUSY  # nobody waits for it any more
            asked = Instant.now(self._clock)
            result = self._endpoint.ask(self._token, self._subject, asked.wall)
            # If the answer took long, it can still be used by those who waited for it.
            least = Instant.now(self._clock).before(self._endpoint.interval - _RETRY_S)
            self._answer = (asked.later(least), result)
            return result
        finally:
            self._pending.pop(os.getpid(), None)

    def _known(self) -> str | None:
        """Return the last result if it is still valid."""
        if self._answer is None:
            return None
        asked, result = self._answer
        valid = _RETRY_S if result == UNANSWERED else self._endpoint.interval
        return result if asked.age(self._clock()) < valid else None
