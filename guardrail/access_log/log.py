"""Writes the access log, which records each read of a ledger before anything is shown.

The access log is a separate log next to the ledger, with its own keys and name: readers must be
able to write to the access log, but never to the ledger that they read. Reads of the access log are
recorded in the access log.

The process that reads the ledger writes the record itself. The access log therefore shows reads by
guardrail, and its chain shows that no record was changed later. It can't show reads by other
programs, which do not write records.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardrail.access_log.memory import AccessMemory
from guardrail.access_log.selectors import SelectedNames, printable
from guardrail.config import Settings, is_default_place
from guardrail.config.log_names import new_log_name
from guardrail.core.log import fields
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.record import FORMAT_VERSION, Draft
from guardrail.errors import (
    AccessError,
    GuardrailError,
    KeysError,
    LedgerError,
    LedgerOpenError,
    NoteError,
    RecordError,
    UsageError,
    os_reason,
)
from guardrail.identity.actor import current_actor
from guardrail.keys.log_key import Keys, discard_new_keys
from guardrail.ledger.files import lock_path, refuse_links, traces
from guardrail.ledger.half_moved import is_access_log_left, way_to_finish
from guardrail.ledger.lease import own_origin
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite.signs import was_ledger
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.disk import WORK, is_full, make_room, no_room
from guardrail.system.durable import make_private_folder
from guardrail.system.os_user import login_name
from guardrail.system.ownership import denial_of, open_or_make

__all__ = ["HOLDS", "PlannedRead", "RecordedRead", "UnrecordedRead", "record_read"]

HOLDS = "access"
"""Value of ``holds`` in the genesis record of an access log."""
MAX_PURPOSE = 1000
"""Maximum length of a purpose, in characters."""
PATIENCE = 1.0
"""Seconds that a reader waits for its record to be written."""
PATIENCE_CREATING = 3.0
"""Seconds that the first reader waits for the log to be created, which needs many syncs."""
_SUFFIX = ".access.db"


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """A read that is about to happen."""

    command: str
    """Stable name of the reader: a command or a page."""
    names: Mapping[str, object] = field(default_factory=dict)
    """Names that the reader requested: ids, record numbers, files. They are recorded unchanged
    unless they contain secrets.
    """
    texts: Mapping[str, object] = field(default_factory=dict)
    """Free text that the reader searched for. It is redacted like the purpose."""
    subjects: Collection[str] = ()
    """Keys of *names* whose value names a principal, an agent or a tool (``principal:ID``)."""
    purpose: str = ""
    """The reader's reason. It is redacted before it is recorded."""


@dataclass(frozen=True, slots=True)
class RecordedRead:
    """The read is durably recorded in the access log."""

    path: Path
    seq: int


@dataclass(frozen=True, slots=True)
class UnrecordedRead:
    """The read could not be recorded, but may continue."""

    path: Path
    """Location of the access log."""
    code: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class _LedgerState:
    """The state of the ledger that is about to be read."""

    path: Path
    log: str | None = None
    size: int | None = None
    root: str | None = None
    problem: str | None = None
    """Code of the error if the ledger can't be opened."""
    is_access_log: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "path": printable(str(self.path)),
            "log": self.log,
            "size": self.size,
            "root": self.root,
            "problem": self.problem,
        }


def record_read(
    settings: Settings, reading: PlannedRead, *, file: Path | None = None
) -> RecordedRead | UnrecordedRead | None:
    """Record that the ledger of *settings*, or *file* (an export or a copy), is about to be read.

    Call this function before anything is shown. If another process has locked the access log, this
    function waits for about one second at most. The record is durable if it returns
    ``RecordedRead``.

    Returns None, and records nothing, if neither the ledger nor its access log exists, unless
    *file* is given and ``[access] required`` is set. Raises ``AccessError`` if ``[access]
    required`` is set and the record could not be written, and ``UsageError`` if the purpose is too
    long.
    """
    if len(reading.purpose) > MAX_PURPOSE:
        raise UsageError(
            f"the reason for reading may have at most {MAX_PURPOSE} characters",
            code="access.purpose",
        )
    ledger = settings.ledger.path
    if file is None:
        if os.path.exists(ledger) and not os.path.isfile(ledger):
            # A folder, FIFO or device is not a ledger. The command rejects such a path, and no file
            # is created next to it.
            return None
        examined = _examine(ledger)
        db, keys = _access_log_paths(settings, examined)
        # A mistyped path may name any file, so no access log is created next to a file that never
        # was a ledger.
        there = examined.problem is None or (
            examined.problem != "ledger.missing" and was_ledger(ledger)
        )
    else:
        examined = _LedgerState(file.absolute())
        db, keys = settings.access_path.absolute(), settings.access_key_path.absolute()
        there = settings.access.required or os.path.exists(ledger)
    if not there and not os.path.exists(db):
        return None
    try:
        return RecordedRead(db, _write(settings, db, keys, examined, reading))
    except (LedgerError, KeysError, RecordError) as error:
        failed = UnrecordedRead(db, error.code, error.message, _hint(error, db, keys))
    except OSError as error:
        missing = denial_of(error, db, db)
        why = f"it can't be written ({os_reason(error) if missing is None else missing.what})"
        hint = "run the command as a user who can write to it" if missing is None else missing.hint
        if is_full(error, db):
            why, hint = no_room(db, WORK), make_room(db)
        failed = UnrecordedRead(db, "access.write", why, hint)
    if settings.access.required:
        raise AccessError(
            f"the settings require every read to be recorded in {db}, and this one could not be:"
            f" {failed.why}",
            hint=failed.hint,
        )
    return failed


def _hint(error: GuardrailError, db: Path, keys: Path) -> str:
    if error.code == "keys.other_log":
        return (
            "set [access] keys to the folder that was created with this access log, or move both "
            f"away: {db}, {keys}"
        )
    bare = {"guardrail recover", "guardrail doctor", "guardrail verify", "guardrail init"}
    return f"{error.hint} --ledger {db}" if error.hint in bare else error.hint


# -- the ledger ------------------------------------------------------------------------------------


def _examine(path: Path) -> _LedgerState:
    path = path.absolute()
    by_name = path.name.endswith(_SUFFIX)
    try:
        with LedgerReader.open(path) as reader, reader.snapshot():
            size, root = _head(reader)
            genesis = reader.genesis
            return _LedgerState(
                path,
                printable(reader.log),
                size,
                root,
                is_access_log=by_name or genesis.get("holds") == HOLDS,
            )
    except (LedgerError, RecordError) as error:
        return _LedgerState(path, problem=error.code, is_access_log=by_name)
    except OSError:
        return _LedgerState(path, problem="ledger.unreadable", is_access_log=by_name)


def _head(reader: LedgerReader) -> tuple[int, str | None]:
    """Return the number of records, and the root of the stored head if it covers all of them.
    Neither is verified.
    """
    size = reader.size()
    row = reader.storage.head()
    try:
        head = Checkpoint.parse(SignedNote.parse(row.note).text) if row is not None else None
    except NoteError:
        head = None
    return size, head.root.hex() if head is not None and head.size == size else None


def _access_log_paths(settings: Settings, examined: _LedgerState) -> tuple[Path, Path]:
    """Return the paths of the access log and of its key folder."""
    db, keys = settings.access_path.absolute(), settings.access_key_path.absolute()
    if examined.is_access_log and os.path.realpath(examined.path) != os.path.realpath(db):
        # These settings do not name this log, so the path alone identifies it.
        return examined.path, examined.path.with_suffix(".keys")
    return db, keys


# -- the record ------------------------------------------------------------------------------------


def _write(
    settings: Settings, db: Path, folder: Path, examined: _LedgerState, reading: PlannedRead
) -> int:
    """Write the record and return its number. Raises ``LedgerError``, ``KeysError``,
    ``RecordError``, ``OSError``.
    """
    memory = AccessMemory(settings, db)
    keys, writer = _open(settings, db, folder, memory)
    end = time.monotonic() + PATIENCE
    try:
        hide = settings.identity.principal_form == "token"
        recorder = SelectedNames(keys.tenant("default"), hide_principals=hide)
        draft = _draft(writer.log, examined, reading, recorder)
        seq = writer.append(draft).seq
        with contextlib.suppress(LedgerError):
            memory.keep(keys, writer.log)
        return seq
    finally:
        # The record is either durable or rejected. If closing leaves anything to clean up, the next
        # writer does so.
        with contextlib.suppress(LedgerError):
            writer.close(timeout=max(0.1, end - time.monotonic()))


def _draft(
    log: str, examined: _LedgerState, reading: PlannedRead, selected: SelectedNames
) -> Draft:
    record: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "log": log,
        "type": "access.read",
        "actor": {**current_actor(), "uid": os.getuid(), "login": login_name()},
        "origin": {**own_origin("cli"), "terminal": _terminal()},
        "command": reading.command,
        "ledger": examined.document(),
        "selector": selected.selector(reading.names, reading.subjects, reading.texts),
        "purpose": selected.text(reading.purpose) if reading.purpose else None,
    }
    try:
        return Draft.build(record)
    except RecordError as error:
        if error.code != "record.too_large":
            raise
        return Draft.build({**record, "selector": {"omitted": "size"}})


def _terminal() -> str | None:
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            return os.ttyname(descriptor)
    return None


# -- the log ---------------------------------------------------------------------------------------


def _open(
    settings: Settings, db: Path, folder: Path, memory: AccessMemory
) -> tuple[Keys, LedgerWriter]:
    """Open the access log. Create it and its keys if neither exists and this machine does not
    remember them.
    """
    if db.exists() and folder.exists():
        return _open_existing(db, folder, memory)
    own = settings.access.path is not None
    if is_default_place(settings.ledger.path) and not own and not db.parent.exists():
        make_private_folder(db.parent)  # the missing ledger would be in the same folder
    with _exclusive(db.parent):
        has_keys = folder.is_dir() and any(folder.iterdir())
        left = traces(db)
        if db.exists() and has_keys:
            return _open_existing(db, folder, memory)
        memory.check(None)
        moved = "" if own else way_to_finish(settings.ledger.path)
        if left or has_keys:
            raise LedgerOpenError(
                "the keys of the access log exist, but the access log does not"
                if has_keys
                else "the access log exists, but its keys do not",
                code="access.half",
                hint=moved or f"restore the missing part, or move the rest away: {db}, {folder}",
            )
        if moved and is_access_log_left(settings.ledger.path):
            raise LedgerOpenError(
                "the access log of this ledger is still in a different folder",
                code="access.half",
                hint=moved,
            )
        return _create(settings, db, folder)


def _open_existing(db: Path, folder: Path, memory: AccessMemory) -> tuple[Keys, LedgerWriter]:
    keys = Keys.load(folder)
    memory.check(keys)
    signing = keys.signing(actor=current_actor(), epochs=False)
    return keys, LedgerWriter.open(db, signing=signing, settings=_writer_settings(PATIENCE))


def _create(settings: Settings, db: Path, folder: Path) -> tuple[Keys, LedgerWriter]:
    refuse_links(db, folder)
    # An access log next to the ledger is for everyone who reads the ledger. In any other folder, it
    # belongs to the reader.
    like = None if settings.access.path is not None else settings.ledger.path
    keys = Keys.create(folder, like=like)
    try:
        return keys, _create_log(settings, db, keys, like)
    except (OSError, LedgerError):
        if not traces(db):
            discard_new_keys(folder)
        raise


def _create_log(settings: Settings, db: Path, keys: Keys, like: Path | None) -> LedgerWriter:
    # All other files get the owner of the lock file.
    os.close(open_or_make(lock_path(db), like, flags=os.O_RDWR))
    genesis = fields.genesis(
        nonce=os.urandom(16).hex(),
        public_key=keys.public,
        config_digest=settings.digest(keys.tenant("default")),
        predecessor=None,
    )
    return LedgerWriter.create(
        db,
        log=new_log_name(settings, keys.public, part="access"),
        genesis={**genesis, "holds": HOLDS},
        signing=keys.signing(actor=current_actor(), epochs=False),
        settings=_writer_settings(PATIENCE_CREATING),
    )


def _writer_settings(seconds: float) -> LedgerSettings:
    return LedgerSettings(append_deadline=seconds, open_deadline=seconds)


@contextlib.contextmanager
def _exclusive(folder: Path) -> Generator[None]:
    """Hold a lock inside the block, so that only one process at a time looks for the log or creates
    it. Raises ``LedgerError``, ``OSError``.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + PATIENCE_CREATING
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LedgerOpenError(
                        "another process is creating a log in this folder, and has not "
                        "finished in time",
                        code="ledger.timeout",
                        hint="guardrail doctor",
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
