"""The file of callers' tokens for an HTTP server, with one line ``NAME DIGEST`` per token.

The file contains only SHA-256 digests of random tokens, so reading it does not enable anyone to
make calls. The file is read again when it changes. While it can't be read, all callers are refused.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from guardrail.errors import ConfigError, os_reason
from guardrail.system.disk import is_full, make_room, why_not_written
from guardrail.system.input_files import FileVersion, read_input, version_of
from guardrail.system.listener import Headers, ListenerRefusal, values_of

__all__ = ["CALLERS_FILE", "TOKEN_HEADER", "UNUSABLE_FILE", "CallerTokens", "add_token"]

CALLERS_FILE = "callers_file"
"""The code of a refusal while the file can't be used."""
UNUSABLE_FILE = (
    "the proxy can't use its file of {}, so this request is refused; the operator of the proxy"
    " can find the reason with: guardrail doctor"
)
"""Message for a client. It reveals nothing about the file's contents."""

TOKEN_HEADER = "x-guardrail-token"  # noqa: S105 - the name of a header
"""The header for a caller's token. ``Authorization`` contains the caller's key for the upstream."""
_LINE = re.compile(r"([A-Za-z0-9._@+-]{1,128}) ([0-9a-f]{64})")
_MAX_FILE = 1 << 20
_MAX_TOKEN = 256
_PREFIX = "grt_"


class CallerTokens:
    """The tokens in a file. Thread-safe."""

    def __init__(self, path: Path, *, log: Callable[[str], None] = lambda _: None) -> None:
        """Read the tokens in *path*. *log* is called with a line for the operator if the file
        becomes unusable later. Raises ``ConfigError`` if the file is unreadable, malformed, empty,
        owned by a different user, or writable by others.
        """
        self._path = path
        self._log = log
        self._problem = ""
        """The reason that the file can't be used, or an empty string."""
        self._known = (_version(path), _read(path))
        if not self._known[1]:
            raise _refused(
                path,
                "it contains no tokens",
                "empty",
                f"guardrail proxy token NAME --callers {path}",
            )

    @property
    def names(self) -> list[str]:
        """The names of the callers, in the same order as in the file."""
        return [name for name, _ in self._current()]

    def authenticate(self, headers: Headers) -> str | ListenerRefusal:
        """Return the name of the caller as ``caller`` does, or the refusal of the request. The
        refusal mentions the header, but reveals nothing about the tokens in the file.
        """
        name = self.caller(headers)
        if name is not None:
            return name
        if self._problem:
            return ListenerRefusal(503, CALLERS_FILE, UNUSABLE_FILE.format("callers"))
        count = len(values_of(headers, TOKEN_HEADER.encode()))
        problem = {
            0: f"this request has no caller token: send it in the header {TOKEN_HEADER}",
            1: f"the caller token in the header {TOKEN_HEADER} is not valid",
        }.get(count, f"the header {TOKEN_HEADER} must appear exactly once")
        hint = "the operator of the proxy can create a token with: guardrail proxy token NAME"
        return ListenerRefusal(401, "caller", f"{problem}; {hint}")

    def caller(self, headers: Headers) -> str | None:
        """Return the name of the caller whose token is in *headers*, or None if there is none, if
        there are several, or if the file can't be used.
        """
        given = values_of(headers, TOKEN_HEADER.encode())
        if len(given) != 1 or len(given[0]) > _MAX_TOKEN:
            return None
        digest = hashlib.sha256(given[0]).hexdigest()
        found = None
        for name, stored in self._current():
            # The loop does not end early, so its duration does not reveal which digest is similar.
            if hmac.compare_digest(digest, stored):
                found = name
        return found

    def _current(self) -> tuple[tuple[str, str], ...]:
        try:
            version = _version(self._path)
            if self._known[0] != version:
                self._known = (version, _read(self._path))
        except ConfigError as error:
            problem = f"{error.message}; {error.hint}" if error.hint else error.message
            if problem != self._problem:
                self._problem = problem
                self._log(problem)
            return ()
        self._problem = ""
        return self._known[1]


def add_token(path: Path, name: str) -> str:
    """Create a random token for the caller *name*, add its digest to the file *path*, and return
    the token.

    Creates the file with mode 0600 if it is missing. Raises ``ConfigError`` if the name is
    malformed or in use, and for the same problems with the file as ``CallerTokens``.
    """
    token = _PREFIX + secrets.token_urlsafe(32)
    line = f"{name} {hashlib.sha256(token.encode()).hexdigest()}"
    if _LINE.fullmatch(line) is None:
        raise ConfigError(
            "a caller name must have 1 to 128 characters: letters, digits and . _ @ + -",
            code="callers.name",
            hint="for example ci or alice@example.com",
        )
    try:
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "ab", buffering=0) as out:
            if name in dict(_read(path)):
                raise ConfigError(
                    f"{path}: this caller already has a token",
                    code="callers.exists",
                    hint="choose a different name, or remove the caller's line from the file first",
                )
            text = path.read_bytes()
            gap = b"\n" if text and not text.endswith(b"\n") else b""
            _append(out, gap + line.encode() + b"\n")
    except OSError as error:
        raise ConfigError(
            f"{path}: the token can't be added ({why_not_written(error, path)})",
            code="callers.write",
            hint=make_room(path) if is_full(error, path) else "",
        ) from None
    return token


def _append(out: FileIO, line: bytes) -> None:
    """Append *line* durably, completely or not at all: an incomplete line would invalidate the
    whole file, so every caller would be refused. Raises ``OSError``.
    """
    size = os.fstat(out.fileno()).st_size
    try:
        if out.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(out.fileno())
    except OSError:
        os.ftruncate(out.fileno(), size)
        raise


def _version(path: Path) -> FileVersion:
    try:
        return version_of(path.stat())
    except OSError as error:
        raise _refused(
            path, os_reason(error), "unreadable", f"guardrail proxy token NAME --callers {path}"
        ) from None


def _read(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        found = path.stat()
        content = read_input(path, _MAX_FILE).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = os_reason(error) if isinstance(error, OSError) else "it is not ASCII text"
        raise _refused(path, why, "unreadable") from None
    if found.st_uid not in (0, os.geteuid()):
        raise _refused(path, "another user owns it", "owner", f"chown this user {path}")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise _refused(path, "others can change it", "exposed", f"chmod 600 {path}")
    callers = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            hint = "each line is NAME DIGEST, as guardrail proxy token writes it"
            raise _refused(path, f"line {number} is malformed", "malformed", hint)
        callers.append((match[1], match[2]))
    return tuple(callers)


def _refused(path: Path, why: str, code: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"{path}: the callers' tokens can't be used ({why})", code=f"callers.{code}", hint=hint
    )
