"""Stores the memory of heads: the largest head of each log, on this machine but outside the
ledger's directory.

It detects a deleted directory, an emptied ledger and an older copy, without any configuration. It
is not an anchor, because it belongs to the same user on the same machine: anyone who can change the
ledger can also change the memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from guardrail.anchors.anchor import Prove, check_follows
from guardrail.config import AnchorSettings
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote, Verify
from guardrail.core.words import counted
from guardrail.errors import AnchorError, NoteError, os_reason
from guardrail.system.disk import why_not_written
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import new_file, new_folder
from guardrail.system.state_folder import is_temporary, state_folder

__all__ = ["HeadMemory", "RememberedHead", "memory_folder", "memory_of"]

_VERSION = 1
_MAX_BYTES = 64 * 1024
_PATIENCE = 1.0
"""Seconds to wait while another process stores a head."""


@dataclass(frozen=True, slots=True)
class RememberedHead:
    """The largest head that this machine has seen for the log at a path."""

    path: str
    """Real path of the ledger."""
    key: NoteKey
    """Name and public key of the log."""
    note: SignedNote
    """The head, signed by that key."""

    @property
    def head(self) -> Checkpoint:
        """The head as a checkpoint."""
        return Checkpoint.parse(self.note.text)

    def describe(self) -> str:
        """Return the name of the log and its number of records."""
        return f"the log {self.key.name} with {counted(self.head.size, 'record')}"


class HeadMemory:
    """The memory of one ledger: a file named after the ledger's real path, with mode 0600. It is
    locked, and replaced atomically.
    """

    def __init__(self, folder: Path, ledger: Path, verify: Verify, *, shared: bool = False) -> None:
        """*folder* is created when the first head is stored; nothing is read yet.

        If *shared* is True, new files get the ledger's owner.
        """
        self.path = os.path.realpath(ledger)
        self.folder = folder
        self._like = Path(self.path) if shared else None
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()
        self.file = folder / f"{digest[:32]}.json"
        self._verify = verify

    def read(self) -> RememberedHead | None:
        """Return the remembered head, or None.

        Raises ``AnchorError`` (``anchor.memory``) if the file can't be read, or if it does not
        contain a head of a log at this path, signed by the key in the file.
        """
        try:
            descriptor = os.open(
                self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._memory_error(f"can't be read ({os_reason(error)})") from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._memory_error("is not a regular file")
            raw = os.read(descriptor, _MAX_BYTES + 1)
        except OSError as error:
            raise self._memory_error(f"can't be read ({os_reason(error)})") from None
        finally:
            os.close(descriptor)
        found = self._parse(raw)
        if found is None:
            raise self._memory_error("contains no signed head of a log at this path")
        return found

    def keep(self, note: SignedNote, key: NoteKey, prove: Prove) -> None:
        """Remember the head *note*, signed by *key*, if it is larger than the remembered head;
        durable when this returns.

        Raises ``AnchorError``: ``anchor.conflict`` if *note* is smaller, belongs to a different
        log, or does not extend the remembered head (nothing is changed), or ``anchor.memory`` if
        the file can't be written.
        """
        with self._locked():
            before = self.read()
            if before is not None:
                if before.key != key:
                    raise AnchorError(
                        f"this machine remembers {before.describe()} at this path, but this is a "
                        "different log",
                        code="anchor.conflict",
                        hint=f"guardrail recover, or guardrail anchor forget {self.path}",
                    )
                check_follows(before.head, Checkpoint.parse(note.text), prove)
                if before.note.text == note.text:
                    return
            self._write(note, key)

    def replace(self, note: SignedNote, key: NoteKey) -> None:
        """Replace the remembered head with *note*, without checking that *note* follows it. Used
        after ``recover``, which has recorded that the log was interrupted.

        Raises ``AnchorError`` (``anchor.memory``).
        """
        with self._locked():
            self._write(note, key)

    def forget(self) -> bool:
        """Forget the remembered head; return True if there was one.

        Raises ``AnchorError`` (``anchor.memory``).
        """
        try:
            self.file.unlink()
            sync_directory(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._memory_error(f"can't be removed ({os_reason(error)})") from None
        return True

    def _parse(self, raw: bytes) -> RememberedHead | None:
        try:
            document = json.loads(raw)
            key = NoteKey(document["log"], bytes.fromhex(document["key"]))
            note = SignedNote.parse(document["head"])
            head = Checkpoint.parse(note.text)
            good = (
                document["v"] == _VERSION
                and document["path"] == self.path
                and head.origin == key.name
                and note.signed_by(key, self._verify)
            )
        except (ValueError, KeyError, TypeError, RecursionError, NoteError):
            return None
        return RememberedHead(self.path, key, note) if good else None

    def _write(self, note: SignedNote, key: NoteKey) -> None:
        document = {
            "v": _VERSION,
            "path": self.path,
            "log": key.name,
            "key": key.public.hex(),
            "head": str(note),
        }
        fresh = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()  # left by a dead process with the same PID
            descriptor = new_file(fresh, self._like)
            with os.fdopen(descriptor, "wb") as out:
                out.write(json.dumps(document, ensure_ascii=False).encode("utf-8"))
                out.flush()
                os.fsync(descriptor)
            fresh.replace(self.file)
            sync_directory(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise self._memory_error(
                f"can't be written ({why_not_written(error, self.file)})"
            ) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock inside the block, so that no process can replace another process's
        larger head with a smaller one.
        """
        try:
            new_folder(self.folder, self._like)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._memory_error(
                f"can't be written ({why_not_written(error, self.folder)})"
            ) from None
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise self._memory_error("is locked by another process") from None
                time.sleep(0.01)

    def _memory_error(self, problem: str) -> AnchorError:
        return AnchorError(
            f"{self.file}, where this machine stores the heads it has seen, {problem}",
            code="anchor.memory",
            hint=f"guardrail anchor forget {self.path}, or set [anchors] memory = false",
        )


def memory_folder(
    settings: AnchorSettings, environment: Mapping[str, str] | None = None
) -> Path | None:
    """Return the folder in which this machine stores heads, or None if ``[anchors] memory`` is off
    or this user has no home directory.

    The folder is the configured path, or ``heads`` in the user's state folder (``state_folder``).
    """
    if isinstance(settings.memory, Path):
        return settings.memory
    return state_folder("heads", environment) if settings.memory else None


def memory_of(settings: AnchorSettings, ledger: Path, verify: Verify) -> HeadMemory | None:
    """Return the memory of *ledger*, or None if the ledger has no memory.

    Ledgers in temporary directories are expected to disappear. They have a memory only if
    ``[anchors] memory`` is a path.
    """
    folder = memory_folder(settings)
    if folder is None or (not isinstance(settings.memory, Path) and is_temporary(ledger)):
        return None
    # A memory at a configured path is shared by all users who run commands on the ledger. Root's
    # own memory is not shared.
    return HeadMemory(folder, ledger, verify, shared=isinstance(settings.memory, Path))
