"""File anchor: an append-only file in a different directory, ideally with a different owner, with
one head per line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from guardrail.anchors.anchor import AnchoredHead, Prove, check_follows
from guardrail.anchors.lines import LINE_START, MAX_LINE, HeadLine, head_line, parse_line
from guardrail.anchors.lock import try_lock
from guardrail.config import is_default_place
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote, Verify
from guardrail.core.words import counted
from guardrail.errors import AnchorError, ConfigError, os_reason
from guardrail.system.disk import is_full, make_room, no_room
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import denial_of, open_or_make

__all__ = ["MAX_FILE", "FileAnchor", "check_place"]

_BLOCK = 64 * 1024
_COMPARED = 1000
_TORN_AT_LEAST = 3
"""Minimum length of an incomplete line. A shorter one can't be distinguished from the lines of
other programs.
"""
MAX_FILE = 256 << 20
"""Maximum size, in bytes, of an anchor file that is read completely."""

_MOVED = "if you changed [anchors] file: guardrail anchor move OLD_FILE --reason TEXT"
_CONTRADICTS = (
    "guardrail verify; then restore the correct ledger, or run guardrail recover, which starts a "
    "new log"
)
_FOREIGN = (
    "guardrail verify, and find out who wrote there; to leave that head behind, name a new "
    "file in [anchors], then run: guardrail anchor move OLD_FILE --reason TEXT"
)


def check_place(path: Path, ledger: Path) -> None:
    """Reject an anchor file that is in or below the ledger's directory, because anyone who can
    replace the ledger could also replace that file. A file next to the default directory is
    rejected for the same reason.

    Raises ``ConfigError``.
    """
    folder = Path(os.path.realpath(path)).parent
    db = Path(os.path.realpath(ledger))
    home = db.parent
    next_to_it = is_default_place(db) and folder == home.parent
    if folder == home or home in folder.parents or next_to_it:
        raise ConfigError(
            "[anchors] file is in or next to the ledger's directory, so anyone who can change "
            "the ledger can also change the file",
            code="config.anchor_file",
            hint="use a file in a different directory, preferably one that a different user owns",
        )


class FileAnchor:
    """Appends heads to a file. A head counts only once it is synced. Incomplete lines stay in the
    file and are skipped.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: NoteKey,
        verify: Verify,
        name: str = "file",
        ledger: Path | None = None,
    ) -> None:
        """*key* is the log's key. A head of this log is evidence only if this key signed it.

        A new file gets the owner of *ledger*.
        """
        self._path = path
        self._ledger = ledger
        self._key = key
        self._verify = verify
        self.name = name
        self._compared: tuple[int, int, int] | None = None
        """Device and inode of the file, and the length up to which every head was compared with the
        ledger.
        """

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        """Append *note*, which is synced when this returns. See ``Anchor.publish``.

        Compares the ledger with every head that was added since this process last read the file, or
        with the newest 1000 heads the first time.
        """
        head = Checkpoint.parse(note.text)
        descriptor = self._open(create=known is None)
        try:
            _check_is_anchor_file(descriptor)
            # Most of the work is done before this process takes the lock.
            self._compare(descriptor, head, prove)
            if not try_lock(descriptor):
                raise AnchorError(
                    "another process has locked the anchor file",
                    hint="wait until that process ends, then run: guardrail anchor",
                )
            found, torn = self._last_head(descriptor, head.origin)
            if known is not None and (found is None or found.head.size < known.size):
                raise AnchorError(
                    "the anchor file does not contain the head of "
                    f"{counted(known.size, 'record')} that was written to it: the file was "
                    "truncated or replaced",
                    code="anchor.conflict",
                    hint=(
                        f"restore the missing heads, and find out who changed the file; {_MOVED}"
                    ),
                )
            if found is not None:
                check_follows(found.head, head, prove)
            self._compare(descriptor, head, prove)
            now = time.time()
            if found is None or found.note != note:
                _append(descriptor, (b"\n" if torn else b"") + head_line(note, now))
            self._remember_compared(os.fstat(descriptor))
        except OSError as error:
            raise _unreachable(error, self._path) from None
        finally:
            os.close(descriptor)
        return AnchoredHead(self.name, head.size, now, note)

    def is_proved_by(self, note: SignedNote) -> bool:  # noqa: ARG002 - it does not sign notes
        """Return True: a file anchor does not sign, so there is no signature to check."""
        return True

    def latest(self, origin: str) -> SignedNote | None:
        """Return the last head of *origin* in the file, or None. Raises ``AnchorError``."""
        with self._open_to_read() as descriptor:
            found = None if descriptor is None else self._last_head(descriptor, origin)[0]
        return None if found is None else found.note

    def heads(self, origin: str) -> Sequence[SignedNote]:
        """Return every head of *origin* in the file. See ``Anchor.heads``."""
        return tuple(each.note for each in self.lines(origin) or ())

    def lines(self, origin: str) -> Sequence[HeadLine] | None:
        """Return the lines of the file that contain heads of *origin*, or None if the file does not
        exist. See ``heads``.

        Raises ``AnchorError``.
        """
        found: dict[tuple[int, bytes], HeadLine] = {}
        with self._open_to_read() as descriptor:
            if descriptor is None:
                return None
            size = os.fstat(descriptor).st_size
            if size > MAX_FILE:
                raise AnchorError(
                    f"the anchor file is larger than {MAX_FILE >> 20} MB",
                    code="anchor.refused",
                    hint=(
                        "split it into several files, and pass each to guardrail verify "
                        "--checkpoint FILE"
                    ),
                )
            for line in _lines_backwards(descriptor, size):
                each = parse_line(line)
                if each is not None and each.head.origin == origin:
                    found[each.head.size, each.head.root] = each
        return tuple(reversed(found.values()))

    def origins(self) -> Sequence[str]:
        """Return the names of all logs that have a head in the file, the one with the newest line
        first. Nothing is authenticated.

        Raises ``AnchorError``.
        """
        found: dict[str, None] = {}
        with self._open_to_read() as descriptor:
            if descriptor is None:
                return ()
            size = min(os.fstat(descriptor).st_size, MAX_FILE)
            for line in _lines_backwards(descriptor, size):
                each = parse_line(line)
                if each is not None:
                    found.setdefault(each.head.origin)
        return tuple(found)

    def take_over(self, lines: Sequence[HeadLine]) -> int:
        """Append those heads in *lines* that are missing from the file, with their times. All must
        be heads of this log. Return the number of heads appended. The file is synced when this
        returns.

        The caller must have compared the heads with the ledger. Raises ``AnchorError``.
        """
        descriptor = self._open(create=True)
        try:
            _check_is_anchor_file(descriptor)
            if not try_lock(descriptor):
                raise AnchorError(
                    "another process has locked the anchor file",
                    hint="wait until that process ends, then run: guardrail anchor",
                )
            size = os.fstat(descriptor).st_size
            parsed = (_head_of(line, self._key.name) for line in _lines_backwards(descriptor, size))
            there = {_line_key(each): each for each in parsed if each and self._is_ours(each)}
            new = [each for each in lines if _line_key(each) not in there]
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            if new:
                # The last line is compared first, so it must be the newest head.
                last = max((*there.values(), *new), key=lambda each: each.head.size)
                added = new if new[-1] is last else [*new, last]
                made = b"".join(head_line(each.note, each.seconds) for each in added)
                _append(descriptor, (b"\n" if torn else b"") + made)
        except OSError as error:
            raise _unreachable(error, self._path) from None
        finally:
            os.close(descriptor)
        return len(new)

    @contextlib.contextmanager
    def _open_to_read(self) -> Iterator[int | None]:
        """Open the file for reading inside the block; the value is None if the file does not exist.

        Raises ``AnchorError``, also for errors inside the block.
        """
        try:
            descriptor = os.open(self._path, _FLAGS | os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise _unreachable(error, self._path) from None
        try:
            _check_regular(descriptor)
            yield descriptor
        except OSError as error:
            raise _unreachable(error, self._path) from None
        finally:
            os.close(descriptor)

    def _compare(self, descriptor: int, head: Checkpoint, prove: Prove) -> None:
        """Raise ``AnchorError`` if *head* does not extend the heads in the file.

        If only the last head were compared, a line from another history could hide the true head. A
        head that the log's key did not sign is compared as well, as in ``verify``, because it can
        belong to a log that this ledger replaced.
        """
        about = os.fstat(descriptor)
        since = 0
        if self._compared is not None and self._compared[:2] == (about.st_dev, about.st_ino):
            since = min(self._compared[2], about.st_size)
        seen: set[tuple[int, bytes]] = set()
        ours = 0
        for line in _lines_backwards(descriptor, about.st_size, since):
            found = _head_of(line, head.origin)
            if found is None or (found.head.size, found.head.root) in seen:
                continue
            seen.add((found.head.size, found.head.root))
            # Foreign heads are not counted here; otherwise, adding many of them would prevent the
            # true heads from being checked.
            try:
                ours += check_follows(found.head, head, prove, signed=partial(self._is_ours, found))
            except AnchorError as error:
                error.hint = _CONTRADICTS if self._is_ours(found) else _FOREIGN
                raise
            if ours == _COMPARED:
                break
        self._remember_compared(about)

    def _remember_compared(self, about: os.stat_result) -> None:
        self._compared = (about.st_dev, about.st_ino, about.st_size)

    def _open(self, *, create: bool) -> int:
        flags = _FLAGS | os.O_RDWR | os.O_APPEND
        try:
            try:
                descriptor = os.open(self._path, flags)
            except FileNotFoundError:
                if not create:
                    raise AnchorError(
                        "the anchor file is gone, and it contained heads of this log",
                        code="anchor.conflict",
                        hint=f"put it back, and find out who removed it; {_MOVED}",
                    ) from None
                descriptor = open_or_make(self._path, self._ledger, flags=flags, mode=0o644)
                sync_directory(self._path.parent)
        except OSError as error:
            raise _unreachable(error, self._path) from None
        try:
            _check_regular(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _last_head(self, descriptor: int, origin: str) -> tuple[HeadLine | None, bool]:
        """Return the last valid head of *origin*, and True if the file ends with an incomplete
        line.
        """
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        for line in _lines_backwards(descriptor, size):
            found = _head_of(line, origin)
            if found is not None and self._is_ours(found):
                return found, torn
        return None, torn

    def _is_ours(self, found: HeadLine) -> bool:
        """Return True if the log's key signed *found*, or if *found* belongs to a different log,
        whose key is unknown.
        """
        if found.head.origin != self._key.name:
            return True
        return found.note.signed_by(self._key, self._verify)


def _line_key(line: HeadLine) -> tuple[str, int, bytes]:
    return line.head.origin, line.head.size, line.head.root


def _head_of(line: bytes, origin: str) -> HeadLine | None:
    found = parse_line(line)
    return found if found is not None and found.head.origin == origin else None


# opening never waits, even if someone put a pipe there
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def _lines_backwards(descriptor: int, size: int, since: int = 0) -> Iterator[bytes]:
    """Yield the lines after *since* in the file, last one first. Lines longer than any that
    guardrail writes are skipped.
    """
    rest, overlong = b"", False
    at = size
    while at > since:
        start = max(since, at - _BLOCK)
        block = os.pread(descriptor, at - start, start)
        at = start
        parts = block.split(b"\n")
        for part in reversed(parts[1:]):
            if not overlong and part + rest:
                yield part + rest
            rest, overlong = b"", False
        rest = parts[0] + rest
        if len(rest) > MAX_LINE:
            rest, overlong = b"", True
    if rest and not overlong:
        yield rest


def _append(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written != len(data):
        # The file now ends in the middle of a line, which the next append detects.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


def _check_is_anchor_file(descriptor: int) -> None:
    """Check that the file is empty or begins like an anchor file, so that a wrong setting can't
    make guardrail write to an unrelated file.

    Raises ``AnchorError``.
    """
    begin = os.pread(descriptor, len(LINE_START), 0)
    # The first line may be incomplete.
    first = begin.split(b"\n")[0]
    if begin and not (len(first) >= _TORN_AT_LEAST and LINE_START.startswith(first)):
        raise AnchorError(
            "the file is not an anchor file: it contains a line that is not a head",
            code="anchor.refused",
            hint="set [anchors] file to a new path, or to a file that guardrail created",
        )


def _check_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise AnchorError(
            "the anchor file is not a regular file",
            code="anchor.refused",
            hint="set [anchors] file to a regular file",
        )


def _unreachable(error: OSError, path: Path) -> AnchorError:
    if error.errno == errno.ELOOP:
        return AnchorError(
            "the anchor file is a symbolic link",
            code="anchor.refused",
            hint="set [anchors] file to the file itself",
        )
    missing = denial_of(error, path)
    if missing is not None:
        return AnchorError(
            f"the anchor file can't be written or read: {missing.what}", hint=missing.hint
        )
    if is_full(error, path):
        return AnchorError(no_room(path), hint=make_room(path))
    return AnchorError(
        f"the anchor file can't be written or read ({os_reason(error)})",
        hint=(
            "its directory must exist, and this user must be able to read the file and append to it"
        ),
    )
