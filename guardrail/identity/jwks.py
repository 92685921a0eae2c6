"""The public keys of an issuer: read from a file or a URL, and kept until they are too old.

A file is read again when it changes. A URL is asked again in the background when its keys reach an
age, and at once for a token whose key is unknown, but never more often than the cool-down permits.
If it does not answer, the known keys stay in use until they reach the maximum age. A guard starts
without the keys of an issuer that does not answer, and refuses this issuer's tokens until it does.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guardrail.config import IdentitySettings
from guardrail.config.issuers import IssuerSettings
from guardrail.core.json_text import JsonTextError, read
from guardrail.core.shown_urls import shown_url
from guardrail.core.words import counted
from guardrail.errors import ConfigError, os_reason
from guardrail.identity.issuer_server import IssuerServer
from guardrail.identity.signatures import PublicKey, public_key
from guardrail.system.input_files import FileVersion, read_input, version_of
from guardrail.system.threads import BackgroundThread, OnceEvent

__all__ = ["FETCH_S", "UNAVAILABLE", "KeySet", "KeySource", "parse_key_set"]

UNAVAILABLE: Final = "config.jwks_unavailable"
"""Code of the error for an issuer whose server does not answer now."""
_MAX_BYTES: Final = 512 * 1024
_MAX_KEYS: Final = 200
FETCH_S: Final = 5.0
"""Time for one request, from the look-up of the name to the last byte."""
_COOL_DOWN_S: Final = 10.0
"""Least time between two requests to one URL."""
_FILE_S: Final = 1.0
"""Time for which a file is not examined again."""
_POLL_S: Final = 0.02
"""Time between two looks at a request that a task waits for."""
_PRIVATE: Final = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys in one version of a key set."""

    digest: str
    """SHA-256 of the key set's text."""
    keys: tuple[PublicKey, ...] = field(repr=False)
    by_id: dict[str, PublicKey] = field(repr=False)

    def matching(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """Return the keys for a token with this ``kid`` and algorithm. A token without ``kid`` has
        a key only if exactly one fits the algorithm.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if kid is None:
            return tuple(fitting) if len(fitting) == 1 else ()
        return tuple(key for key in fitting if key.kid == kid)[:4]


def parse_key_set(raw: bytes, where: str) -> KeySet:
    """Return the key set in *raw*. Keys that can't verify tokens are left out. Raises
    ``ConfigError``; *where* names the source in it.
    """
    if raw.lstrip()[:1] == b"<":
        raise _error(where, "is an HTML or XML page, not a JSON Web Key Set", _WRONG)
    try:
        document = read(raw.decode("utf-8"))
    except (JsonTextError, UnicodeDecodeError):
        document = None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _error(where, 'is not a JSON Web Key Set: a JSON object with a list "keys"', _WRONG)
    if len(entries) > _MAX_KEYS:
        raise _error(where, f"has more than {counted(_MAX_KEYS, 'key')}", _WRONG)
    if any(not _PRIVATE.isdisjoint(each) for each in entries):
        raise _error(
            where,
            "contains a private or symmetric key",
            "publish only public keys, and replace every key that was published with its "
            "private part",
        )
    found = tuple(key for each in entries if (key := public_key(each)) is not None)
    by_id = {key.id: key for key in found}
    return KeySet(hashlib.sha256(raw).hexdigest(), found, by_id)


class KeySource:
    """The keys of one issuer. Thread-safe, even after a fork: every change is one assignment."""

    def __init__(
        self,
        issuer: IssuerSettings,
        settings: IdentitySettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare to read the keys; ``load`` reads them. *clock* returns the time in seconds.
        Raises ``ConfigError`` if the settings are wrong.
        """
        self._clock = clock
        self._place = f"the key set of {issuer.issuer} ({shown_url(issuer.jwks)})"
        self._file = None if issuer.is_url else Path(issuer.jwks)
        self._url = _Url(issuer, self._place) if issuer.is_url else None
        self._refresh_s = settings.jwks_refresh_s if issuer.is_url else _FILE_S
        self._max_age_s = settings.jwks_max_age_s
        self._keys: KeySet | None = None
        self._version: FileVersion | None = None
        self._read = self._tried = float("-inf")
        """The times of the last successful and of the last attempt to read the keys."""
        self._request: _Request | None = None
        """The last request to the server, which may still be running."""
        self.problem: ConfigError | None = None
        """The reason that the last attempt failed, or None."""

    def begin(self) -> None:
        """Start to read the keys for the first time, if that can take long."""
        if self._url is not None:
            self._start(self._clock())

    def load(self) -> KeySet | None:
        """Return the keys that are read first, or None if their server is unavailable: ``problem``
        is then the reason. Raises ``ConfigError`` if the settings, the file or the key set are
        wrong, or if no key can verify tokens.
        """
        request = self._request
        if request is None:
            self._attempt()
        else:
            request.ended.wait(2 * FETCH_S)
        if self._keys is not None and not self._keys.keys:
            raise _error(self._place, "contains no public key that can verify tokens", _WRONG)
        if self.problem is not None and self.problem.code != UNAVAILABLE:
            raise self.problem
        if self._keys is None and self.problem is None:
            self.problem = _unavailable(self._place, "the request did not end in time")
        return self._keys

    @property
    def has_read(self) -> bool:
        """True if keys have ever been read."""
        return self._keys is not None

    def current(self, now: float) -> KeySet | None:
        """Return the keys that can be used at the time *now*, or None if they are too old. Never
        waits for a server.
        """
        # The clock can be set back, so an age can be negative.
        if not 0 <= now - self._tried < self._refresh_s and self._due(now):
            self._start(now)
        return self._keys if abs(now - self._read) <= self._max_age_s else None

    def ask_again(self, wait: float) -> None:
        """Read the keys again, because a token names an unknown one, unless they were read just
        before. Waits at most *wait* seconds for a server, also for one that was already asked.
        """
        now = self._clock()
        if self._file is not None or abs(now - self._tried) >= _COOL_DOWN_S:
            self._start(now)
        request = self._request
        if request is not None and wait > 0:
            request.ended.wait(wait)

    async def aanswered(self, wait: float) -> None:
        """Wait until no request to the server is in progress, at most *wait* seconds."""
        end = time.monotonic() + wait
        request = self._request
        if request is None:
            return
        # The request runs in a thread, which may belong to the parent of a forked process.
        while request.is_running() and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)

    def _due(self, now: float) -> bool:
        # A server that does not answer is not asked before each call.
        return self._file is not None or abs(now - self._tried) >= _COOL_DOWN_S

    def _start(self, now: float) -> None:
        if self._file is not None:
            self._attempt()  # a small regular file
            return
        if self._request is not None and self._request.is_running():
            return
        # Whoever sees the new time also sees the request, and waits for it.
        self._request = request = _Request()
        self._tried = now
        thread = BackgroundThread(self._run, "guardrail-jwks", request)
        try:
            thread.start()
        except RuntimeError:
            self.problem = _unavailable(self._place, "the system can start no more threads")
            request.ended.set()

    def _run(self, request: _Request) -> None:
        try:
            self._attempt()
        finally:
            request.ended.set()

    def _attempt(self) -> None:
        self._tried = now = self._clock()
        try:
            version, raw = self._fetch()
            if version is None or version != self._version:
                found = parse_key_set(raw, self._place)
                if self._keys is None or self._keys.digest != found.digest:
                    self._keys = found
            self._version = version
            self._read, self.problem = now, None
        except ConfigError as error:
            self.problem = error

    def _fetch(self) -> tuple[FileVersion | None, bytes]:
        """Return the version of the file, or None for a URL, and the text of the key set, which is
        empty if the file is unchanged. Raises ``ConfigError``.
        """
        if self._url is not None:
            return None, self._url.get()
        assert self._file is not None
        try:
            version = version_of(os.stat(self._file))
            raw = b"" if version == self._version else read_input(self._file, _MAX_BYTES)
        except OSError as error:
            hint = "correct jwks in guardrail.toml, or restore the file"
            raise _error(self._place, f"can't be read ({os_reason(error)})", hint) from None
        return version, raw


class _Request:
    """A request in a thread of its own."""

    def __init__(self) -> None:
        self.ended = OnceEvent()
        self._end = time.monotonic() + 2 * FETCH_S

    def is_running(self) -> bool:
        """Return True if the request has not ended. In a forked process, no one ends it."""
        return not self.ended.is_set() and time.monotonic() < self._end


_WRONG = (
    "jwks must be the issuer's jwks_uri, which its page /.well-known/openid-configuration names, or"
    " a copy of that document"
)


class _Url:
    """The URL of a key set."""

    def __init__(self, issuer: IssuerSettings, place: str) -> None:
        self._place = place
        self._server = IssuerServer(issuer.jwks, issuer.ca, place, hint=_WRONG, code="config.jwks")

    def get(self) -> bytes:
        """Return the body of the response. Raises ``ConfigError``."""
        from guardrail.system.http_errors import TransportError

        accept = {"Accept": "application/json"}
        try:
            reply = self._server.ask("GET", seconds=FETCH_S, limit=_MAX_BYTES, headers=accept)
        except TransportError as error:
            if error.detail == "too_large":
                what = f"is larger than {counted(_MAX_BYTES, 'byte')}"
                raise _error(self._place, what, _WRONG) from None
            raise _unavailable(self._place, f"the server {error.message}") from None
        if 300 <= reply.status < 400:
            what = f"can't be read: the server answers with a redirect ({reply.status})"
            raise _error(self._place, what, "set jwks to the address that it leads to")
        if reply.status == 429 or reply.status >= 500:
            raise _unavailable(self._place, f"the server answers {reply.status}")
        if reply.status != 200:
            what = f"can't be read: the server answers {reply.status}"
            raise _error(self._place, what, _WRONG)
        body: bytes = reply.body
        return body


def _unavailable(where: str, reason: str) -> ConfigError:
    """Return the error for a server that may answer later."""
    return ConfigError(
        f"{where} can't be read: {reason}",
        code=UNAVAILABLE,
        hint="this issuer's tokens are refused until it answers: check jwks, and that the issuer "
        "is running; to be independent of it, save its key set in a file and set jwks to this file",
    )


def _error(where: str, what: str, hint: str) -> ConfigError:
    return ConfigError(f"{where} {what}", code="config.jwks", hint=hint)
