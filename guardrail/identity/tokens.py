"""Verifies access tokens (OIDC, OAuth 2.0: RFC 9068, RFC 8725) and SPIFFE JWT-SVIDs.

A verified token is remembered for at most 60 seconds by its digest. After that, and whenever its
issuer's keys change, its signature is verified again. Its expiry is checked for every call. If its
issuer can be asked whether it was revoked, it is asked. Nothing here waits for a server on an event
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from guardrail.config import Settings
from guardrail.config.issuers import IssuerSettings
from guardrail.errors import ConfigError, IdentityError
from guardrail.identity.claims import VerifiedIdentity, check_claims, identity_in, issuer_of
from guardrail.identity.instants import Instant
from guardrail.identity.introspection import (
    BUSY,
    NOT_ASKED,
    REVOKED,
    UNANSWERED,
    Introspection,
    NotAsked,
    TokenStatus,
)
from guardrail.identity.jwks import KeySet, KeySource
from guardrail.identity.signatures import PublicKey, is_signed
from guardrail.identity.token_text import MAX_TOKEN, SecretText, TokenText, parse_token, token_error
from guardrail.system.waiting import wait_async

__all__ = [
    "BUSY",
    "EXPIRED",
    "FETCH_WAIT_S",
    "KEYS",
    "KEY_GONE",
    "NOT_ASKED",
    "PEER",
    "REVOKED",
    "UNANSWERED",
    "NotAsked",
    "TokenVerifier",
    "VerifiedToken",
]

EXPIRED: Final = "token_expired"
"""Detail of cause ``identity``: the session's token has expired."""
KEY_GONE: Final = "token_key"
"""Detail of cause ``identity``: the key of the session's token is no longer in the key set."""
KEYS: Final = "token_keys"
"""Detail of cause ``identity``: the issuer's keys are too old, because they can't be read."""

FETCH_WAIT_S: Final = 2.0
"""Time for which a session's opening may wait for the key set of a token with an unknown key."""
MOST_WAITING: Final = 16
"""Maximum number of tokens that wait for keys on event loops. Others are refused at once, so that
tokens that nobody signed don't occupy a server.
"""
PEER: ContextVar[str | None] = ContextVar("guardrail_peer", default=None)
"""The address of the client whose token is verified in this context, if a server knows it."""
_MEMORY_S: Final = 60.0
MAX_REMEMBERED: Final = 2_048
_MAY_COME: Final = frozenset({"identity.token.key", "identity.token.keys"})
"""Codes of refusals that new keys can remove."""


class VerifiedToken:
    """A token whose signature guardrail verified. Thread-safe."""

    __slots__ = (
        "_algorithm",
        "_checked",
        "_end",
        "_key",
        "_status",
        "_text",
        "_verifier",
        "expires",
        "identity",
        "issuer",
    )

    def __init__(
        self,
        verifier: TokenVerifier,
        token: TokenText,
        identity: VerifiedIdentity,
        *,
        issuer: IssuerSettings,
        expires: float,
        key: PublicKey,
        keys: KeySet,
        now: float,
    ) -> None:
        self._verifier = verifier
        # The text is kept to verify it again; it is never written or shown.
        self._text, self._algorithm = SecretText(token.text), token.algorithm
        self.identity = identity
        self.issuer = issuer
        self.expires = expires
        """The time at which it expires, in seconds, without the leeway."""
        # The clock can be set back, but that does not make a token last longer.
        self._end = time.monotonic() + expires + verifier.leeway - now
        self._key = key.id
        endpoint = verifier.endpoints.get(issuer.issuer)
        self._status = None
        if endpoint is not None:
            subject = token.claims.get("sub")
            self._status = TokenStatus(endpoint, self._text, subject, verifier.clock)
        self._checked = (Instant(now, time.monotonic()), keys)
        """The time of the last verification, and the keys known then; replaced together."""

    def refusal(self) -> str:
        """Return the reason that the token can't be used now (a detail of cause ``identity``), or
        an empty string if it can be used.

        If its issuer must be asked whether it was revoked, this waits for the answer, but never on
        an event loop: there, it returns a ``NotAsked``.
        """
        verifier = self._verifier
        now = verifier.clock()
        if now >= self.expires + verifier.leeway or time.monotonic() >= self._end:
            self._end = float("-inf")  # it stays expired
            return EXPIRED
        keys = verifier.sources[self.issuer.issuer].current(now)
        if keys is None:
            return KEYS
        checked, known = self._checked
        if keys is known and checked.age(now) <= _MEMORY_S:
            return self._revoked()
        key = keys.by_id.get(self._key)
        if key is None or is_signed(self._text.reveal(), self._algorithm, [key]) is None:
            return KEY_GONE
        self._checked = (Instant(now, time.monotonic()), keys)
        return self._revoked()

    def _revoked(self) -> str:
        return "" if self._status is None else self._status.refusal(wait=not _on_event_loop())


class TokenVerifier:
    """Verifies the tokens of the issuers in the settings. Thread-safe, even after a fork."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Read the keys of every issuer, all at once, so that this takes a few seconds at most.
        *clock* returns the time in seconds since 1970. Raises ``ConfigError`` if the keys of an
        issuer can't be used; if its server is only unavailable, its tokens are refused until it
        answers.
        """
        identity = settings.identity
        self.clock = clock
        self.leeway = float(identity.leeway_s)
        self._issuers = {each.issuer: each for each in identity.issuers}
        self.sources = {each.issuer: KeySource(each, identity, clock) for each in identity.issuers}
        """The keys of each issuer."""
        self.endpoints = {
            each.issuer: Introspection(each, each.introspection)
            for each in identity.issuers
            if each.introspection is not None
        }
        """The introspection endpoints of the issuers that have one."""
        if self.endpoints:
            settings.require_trust("[identity.issuers] introspection")
        for source in self.sources.values():
            source.begin()
        found = [source.load() for source in self.sources.values()]
        self._number_of_keys = sum(0 if each is None else len(each.keys) for each in found)
        self._remembered: dict[bytes, VerifiedToken] = {}
        self._waiting: set[object] = set()
        self.note_refused: Callable[[str, str | None, str | None], None] | None = None
        """Called for each refused token: with the reason, the configured issuer that it names, and
        the client's address. Guards of tenants share a verifier, and leave this to the first guard,
        because a token is refused before its tenant is known.
        """

    def number_of_keys(self) -> int:
        """Return the number of keys that all issuers had when this was created."""
        return self._number_of_keys

    def problems(self) -> list[ConfigError]:
        """Return, for each issuer whose keys could not be read at the last attempt, the reason."""
        found = (source.problem for source in self.sources.values())
        return [problem for problem in found if problem is not None]

    def verify(self, text: object, *, wait: float) -> VerifiedToken:
        """Return the verified token *text*, a str or ``SecretText``. Raises ``IdentityError``,
        which quotes no part of it, and whose traceback has no variable with a part of it.

        If its key is unknown, the issuer's keys are read again, and this waits for them at most
        *wait* seconds.
        """
        secret = SecretText(text)
        del text
        try:
            return self._verify(secret, wait)
        except IdentityError as error:
            refused = error
        if not refused.hint.startswith(_IN_A_THREAD):
            self._note(refused, secret)
        # The frames of the parser have variables with parts of the token.
        raise refused.with_traceback(None)

    def _note(self, refused: IdentityError, secret: SecretText) -> None:
        if self.note_refused is not None:
            reason = refused.code.rpartition(".")[2]
            self.note_refused(reason, self._issuer_named(secret), PEER.get())

    def _issuer_named(self, secret: SecretText) -> str | None:
        """Return the configured issuer that the text names, if it can be parsed. Nothing is
        verified.
        """
        try:
            return issuer_of(parse_token(secret.reveal()), self._issuers).issuer
        except IdentityError:
            return None

    def _verify(self, secret: SecretText, wait: float) -> VerifiedToken:
        digest = _digest(secret)
        found = self._remembered.get(digest)
        if found is not None:
            reason = found.refusal()
            if reason in _ANSWERS:
                raise _inactive(reason)
            if not reason:
                return found
            if reason == EXPIRED:
                raise token_error("expired", "has expired", "get a new token")
            self._remembered.pop(digest, None)
        made = self._remember(digest, self._verified(parse_token(secret.reveal()), wait))
        reason = made.refusal()
        if reason:
            # The answer is kept, so the endpoint is not asked about each use of this token.
            raise _inactive(reason)
        return made

    def _remember(self, digest: bytes, made: VerifiedToken) -> VerifiedToken:
        """Return the token with *digest*: *made*, or that of a thread that verified the same text
        at the same time, so that both wait for one answer of its issuer.
        """
        while len(self._remembered) >= MAX_REMEMBERED:
            with contextlib.suppress(RuntimeError, StopIteration):  # another thread was first
                self._remembered.pop(next(iter(self._remembered)), None)
        return self._remembered.setdefault(digest, made)

    async def averify(self, text: object) -> VerifiedToken:
        """Async version of ``verify``: if the issuer's keys are being read, the task waits for them
        at most ``FETCH_WAIT_S`` seconds. If the issuer must be asked about the token, all tasks
        with this token wait for one answer.
        """
        secret = SecretText(text)
        del text
        try:
            return self.verify(secret, wait=0.0)
        except IdentityError as error:
            if error.hint.startswith(_IN_A_THREAD):
                return await self._confirmed(secret)
            if error.code not in _MAY_COME or len(self._waiting) >= MOST_WAITING:
                raise
        place = object()
        self._waiting.add(place)
        try:
            await self._source(secret).aanswered(FETCH_WAIT_S)
        finally:
            self._waiting.discard(place)
        return self.verify(secret, wait=0.0)

    async def _confirmed(self, secret: SecretText) -> VerifiedToken:
        """Return the token when its issuer has answered about it. Raises ``IdentityError``."""
        found = self._remembered.get(_digest(secret))
        reason = "" if found is None else found.refusal()
        if isinstance(reason, NotAsked):
            try:
                reason = await wait_async(reason.answer, reason.patience)
            except TimeoutError:
                reason = UNANSWERED
        if not reason:
            return self.verify(secret, wait=0.0)
        refused = _inactive(reason)
        self._note(refused, secret)
        raise refused

    def _source(self, secret: SecretText) -> KeySource:
        return self.sources[issuer_of(parse_token(secret.reveal()), self._issuers).issuer]

    def _verified(self, token: TokenText, wait: float) -> VerifiedToken:
        issuer = issuer_of(token, self._issuers)
        if token.algorithm not in issuer.algorithms:
            raise token_error(
                "algorithm",
                "is signed with an algorithm that its issuer's settings do not accept",
                "set algorithms in the issuer's table; symmetric algorithms are never accepted",
            )
        now = self.clock()
        expires = check_claims(token, issuer, now=now, leeway=self.leeway)
        keys, fitting = self._keys(token, issuer, wait)
        key = is_signed(token.text, token.algorithm, fitting)
        if key is None:
            raise token_error("signature", "has an invalid signature")
        return VerifiedToken(
            self,
            token,
            identity_in(token, issuer),
            issuer=issuer,
            expires=expires,
            key=key,
            keys=keys,
            now=now,
        )

    def _keys(
        self, token: TokenText, issuer: IssuerSettings, wait: float
    ) -> tuple[KeySet, tuple[PublicKey, ...]]:
        source = self.sources[issuer.issuer]
        keys = source.current(self.clock())
        fitting = () if keys is None else keys.matching(token.kid, token.algorithm)
        if not fitting:
            source.ask_again(wait)
            keys = source.current(self.clock())
            fitting = () if keys is None else keys.matching(token.kid, token.algorithm)
        if keys is None:
            raise _unavailable(source)
        if not fitting:
            raise token_error(
                "key",
                "is signed with a key that its issuer does not publish",
                "try again in a few seconds if the issuer has just changed its keys",
            )
        return keys, fitting


_IN_A_THREAD: Final = "open the session in a thread"
_ANSWERS: Final = frozenset({BUSY, NOT_ASKED, REVOKED, UNANSWERED})


def _inactive(reason: str) -> IdentityError:
    """Return the error for a token that its issuer does not confirm."""
    if reason == REVOKED:
        return token_error("revoked", "was revoked, says its issuer", "get a new token")
    if reason == NOT_ASKED:
        return token_error(
            "introspection",
            "must be confirmed by its issuer, which an event loop can't wait for",
            f"{_IN_A_THREAD}: asyncio.to_thread(guard.session, token=...), or use guard.asession",
        )
    if reason == BUSY:
        return token_error(
            "introspection",
            "can't be confirmed now: its issuer is being asked about too many others",
            "try again; check that the issuer's introspection endpoint answers quickly",
        )
    return token_error(
        "introspection",
        "can't be confirmed: its issuer's introspection endpoint gives no valid answer",
        "check url, client_id and secret_file in the issuer's table, and that it is running",
    )


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _digest(secret: SecretText) -> bytes:
    """Return the digest of a text that can be a token, otherwise an empty text."""
    text = secret.reveal()
    if isinstance(text, str) and len(text) <= MAX_TOKEN and text.isascii():
        return hashlib.sha256(text.encode("ascii")).digest()
    return b""


def _unavailable(source: KeySource) -> IdentityError:
    state = "are too old" if source.has_read else "have not been read yet"
    reason, hint = "", ""
    if source.problem is not None:
        reason, hint = f": {source.problem.message}", source.problem.hint
    return token_error(
        "keys", f"can't be verified, because its issuer's keys {state}{reason}", hint
    )
