"""Diagnoses why a ledger can't be opened and how to fix it. ``open``, ``doctor`` and ``recover``
share this diagnosis.

This module only reads. ``guardrail.wiring.recovery`` carries out the plan made here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.anchoring import (
    CONTRADICTIONS,
    anchors_at,
    is_signed,
    remembered_head,
    stored_names,
)
from guardrail.anchors.anchor import Anchor
from guardrail.anchors.configured import is_configured
from guardrail.anchors.memory import RememberedHead
from guardrail.config import Settings
from guardrail.config.log_names import configured_name, new_log_name, possible_names
from guardrail.core.log.checkpoint import Checkpoint
from guardrail.errors import (
    AnchorError,
    ConfigError,
    GuardrailError,
    KeysError,
    LedgerError,
    LedgerOpenError,
    NoteError,
    os_reason,
)
from guardrail.keys.log_key import NAMES_FILE, Keys, verify_signature
from guardrail.ledger.files import resolve
from guardrail.ledger.half_moved import refuse_half_moved, way_to_finish
from guardrail.ledger.maintenance.examine import examine
from guardrail.ledger.maintenance.known_heads import KnownHead, family, generation, next_name
from guardrail.ledger.maintenance.recovery_plan import Action, RecoveryPlan, inspect, line0
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.seal import Seal
from guardrail.ledger.sqlite.signs import was_ledger
from guardrail.wiring.ledger_folder import check_existed, in_the_way

__all__ = [
    "BACK",
    "RECOVER",
    "WHOLE",
    "Diagnosis",
    "check_log_name",
    "check_outside",
    "diagnose",
    "explain",
    "has_keys",
    "is_small",
    "read_backup",
]

_GONE = ("keys.missing", "keys.malformed")
"""Error codes for keys that are lost or unusable and must be replaced."""
WHOLE = 20_000
"""Maximum number of records in a ledger that is read completely to explain why it can't be opened.
In a larger ledger, only the files and the two ends of the log are checked.
"""
RECOVER = "guardrail recover"
BACK = "move the same files back; programs that have them open then continue automatically"
_WITHOUT_KEYS = "restore the key folder from a backup; without a backup: guardrail recover"
_PASSING = (
    "ledger.tenant",
    "ledger.timeout",
    "ledger.poisoned",
    "ledger.journal",
    "ledger.in_use",
    "ledger.folder",
    "ledger.linked",
    "ledger.earlier",
    "ledger.reserve",
    "keys.create",
)
"""Error codes for faults that are only temporary, or that their own messages explain best."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of a diagnosis."""

    plan: RecoveryPlan
    keys: Keys | None
    """The log's keys, or None if they are lost."""
    unusable: str = ""
    """The reason that the log can't be continued although its file may be intact."""
    names: tuple[str, ...] = ()
    """Earlier names of this log."""
    next_log: str = ""
    """The log name after a restart, or an empty string if the old name is unknown and the new one
    depends on new keys.
    """

    @property
    def ok(self) -> bool:
        """True if a guard can open the ledger."""
        return self.plan.action in (Action.NOTHING, Action.CLOSE_CALLS)

    @property
    def way_out(self) -> str:
        """The next step, or an empty string if there is nothing to do."""
        if self.ok:
            return ""
        way = RECOVER if self.keys is not None else _WITHOUT_KEYS
        return f"{BACK}; if they are gone: {way}" if self.is_away else way

    @property
    def is_away(self) -> bool:
        """True if the database disappeared while a process was running and has not reappeared."""
        seal = self.plan.seal
        return seal is not None and seal.away and self.plan.examined is None


@dataclass(frozen=True, slots=True)
class _QuickFacts:
    """Facts about a ledger that can be determined without reading all of it."""

    keys: Keys | None
    first: Mapping[str, Any]
    """Line 0, unproved, or an empty mapping if it can't be read."""
    public: str
    unusable: str
    remembered: RememberedHead | None


def has_keys(settings: Settings) -> bool:
    """Return True if the key folder in the settings contains keys. Raises ``KeysError`` if that
    can't be determined.
    """
    folder = settings.key_path
    try:
        return folder.is_dir() and any(item.name != NAMES_FILE for item in folder.iterdir())
    except OSError as error:
        raise KeysError(
            f"{folder}: can't be read ({os_reason(error)})",
            code="keys.unreadable",
            hint=f"make it readable for this user, or run as its owner: ls -ld {folder}",
        ) from None


def check_log_name(settings: Settings, log: str) -> None:
    """Raise ``LedgerOpenError`` (``ledger.other_name``) if the log name in the settings differs
    from *log*, the existing log.

    A restarted log has the configured name plus the restart number.
    """
    wanted = configured_name(settings)
    if wanted and wanted not in (log, family(log)):
        raise LedgerOpenError(
            f"the ledger contains the log {log}, but [ledger] log is {wanted}: a log keeps "
            "its original name",
            code="ledger.other_name",
            hint=(
                f'write log = "{log}" under [ledger], remove it, or set a different [ledger] path'
            ),
        )


def diagnose(settings: Settings, backups: Sequence[Path] = ()) -> Diagnosis:
    """Find the reason that a guard can't open the ledger, and the steps that ``recover`` would
    take.

    Raises ``GuardrailError`` for a fault that ``recover`` can't fix.
    """
    path = settings.ledger.path
    outside = _quick_facts(settings, anything=bool(backups))
    keys, first, public = outside.keys, outside.first, outside.public
    remembered, unusable = outside.remembered, outside.unusable
    known: list[KnownHead] = []
    if remembered is not None:
        head = remembered.head
        known.append(
            KnownHead("memory", head.origin, head.size, head.root, remembered.key.public.hex())
        )
    seal = Seal.read(path)
    named = [str(first.get("log", "")), seal.log if seal else "", *(each.log for each in known)]
    named += [str(line0(each).get("log", "")) for each in backups]
    named = [each for each in (*named, *_earlier_names(settings)) if each]
    publics = {public, keys.public if keys else "", *(each.public for each in known)}
    publics = (publics | {_public_key(line0(each)) for each in backups}) - {""}
    known += _anchored_heads(settings, named or possible_names(settings, publics), publics)
    known += [read_backup(each, {one.size for one in known}) for each in backups]
    signing = None if keys is None else keys.signing(actor={}, epochs=False)
    plan = inspect(path, signing=signing, verify=verify_signature, known=known, unusable=unusable)
    names = tuple(dict.fromkeys([*named, *(each.log for each in known)]))
    _check_signer_and_name(settings, plan, keys)
    if remembered is not None and plan.action is Action.NOTHING:
        _check_recalled(settings, plan.log, remembered)
    origin = plan.log or (plan.judged.last.log if plan.judged.last else "")
    if not origin and (keys is not None or settings.ledger.log):
        origin = new_log_name(settings, keys.public if keys is not None else "")
    if plan.judged.last is not None and generation(plan.judged.last.log) > generation(origin):
        origin = plan.judged.last.log
    next_log = next_name(origin, names) if origin else ""
    return Diagnosis(plan, keys, unusable, names, next_log)


def explain(settings: Settings, error: GuardrailError) -> GuardrailError:
    """Return the exception to raise after opening the ledger failed with *error*. The exception
    contains the cause and the next step from ``diagnose``.

    Called only after a failure, so a successful start costs no time. Nothing is written.
    """
    if error.code in _PASSING:
        return error
    try:
        way = diagnose(settings).way_out if is_small(settings) else check_outside(settings)
    except ConfigError:
        # These settings may not start the signer. The failed attempt to open the ledger got further
        # than this check.
        return error
    except GuardrailError as known:
        # An error that contains a file and its owner is more helpful than the message that the file
        # can't be read.
        return error if error.code == "ledger.permission" else known
    moved = "" if way.startswith(BACK) else way_to_finish(settings.ledger.path)
    if moved or (error.code not in CONTRADICTIONS and (way or not error.hint)):
        # The error about a contradiction already contains this step and another one.
        error.hint = moved or way or RECOVER
    return error


def is_small(settings: Settings) -> bool:
    """Return True if the ledger is small enough to be read in full while a user waits."""
    with (
        contextlib.suppress(LedgerError),
        LedgerReader.open(settings.ledger.path, strict=False) as reader,
    ):
        return reader.size() <= WHOLE
    return True


def check_outside(settings: Settings) -> str:
    """Check everything that opening needs besides the records: keys, signer, name, and the owner of
    the files.

    Return the next step if ``recover`` can fix the problem, otherwise an empty string. Raises
    ``GuardrailError`` for a fault that ``recover`` can't fix.
    """
    outside = _quick_facts(settings, anything=False)
    if outside.unusable:
        way = RECOVER if outside.keys is not None else _WITHOUT_KEYS
        return way_to_finish(settings.ledger.path) or way
    log = str(outside.first.get("log", ""))
    if log:
        check_log_name(settings, log)
    _check_signer(settings, outside.keys, log)
    return ""


def _quick_facts(settings: Settings, *, anything: bool) -> _QuickFacts:
    """Return the facts that are known without reading the records. *anything* is True if a part of
    the log exists elsewhere. Raises the same errors as ``diagnose``.
    """
    path = settings.ledger.path
    if os.path.lexists(path.parent) and not path.parent.is_dir():
        raise in_the_way(path.parent.absolute())
    keys, problem = _load_keys(settings)
    if path.parent.exists():
        resolve(path)
        refuse_half_moved(path)
    remembered = remembered_head(settings)
    nobodys = bool(problem) and not has_keys(settings)
    # Keys of another ledger with a similar name do not belong to this one.
    nobodys = nobodys or (settings.keys.path is None and not was_ledger(path))
    if remembered is None and not anything and nobodys:
        check_existed(settings)
    first = line0(path)
    public = _public_key(first)
    unusable = ""
    if keys is None and path.exists():
        assert problem is not None
        unusable = problem.message
    elif keys is not None and public and public != keys.public:
        if remembered is None or remembered.key.public.hex() != keys.public:
            raise _foreign_keys_error(settings)
        unusable = "the ledger's key is not the one in its key folder"
    return _QuickFacts(keys, first, public, unusable, remembered)


def _load_keys(settings: Settings) -> tuple[Keys | None, KeysError | None]:
    """Return the keys, or the reason that there are none. Raises ``KeysError`` if this user can't
    read them, or if others can.
    """
    try:
        return (
            Keys.load(
                settings.key_path,
                signer=settings.keys.signer,
                allow=lambda: settings.require_trust("[keys] signer"),
            ),
            None,
        )
    except KeysError as error:
        if error.code in _GONE:
            return None, error
        hint = error.hint or (
            f"make {settings.key_path} readable for this user; if it is lost, move it away, then"
            " guardrail recover"
        )
        raise KeysError(error.message, code=error.code, hint=hint) from None


def _check_signer_and_name(settings: Settings, plan: RecoveryPlan, keys: Keys | None) -> None:
    """Raise an error if the signer fails, or if the settings contain a different log's name."""
    if plan.action in (Action.NOTHING, Action.CLOSE_CALLS, Action.CONTINUE):
        check_log_name(settings, plan.log)
    _check_signer(settings, keys, plan.log)


def _check_recalled(settings: Settings, log: str, remembered: RememberedHead) -> None:
    """Raise ``LedgerOpenError`` if *log* is intact but this machine remembers a predecessor of it,
    because a recovery could not renew the memory.
    """
    if remembered.key.name != log:
        path = settings.ledger.path
        raise LedgerOpenError(
            f"nothing is wrong with the log {log}, but this machine still remembers the previous "
            f"one, {remembered.key.name}, because the recovery could not change that memory",
            code="ledger.replaced",
            hint=f"guardrail anchor forget {path}, as a user who can write the memory",
        )


def _check_signer(settings: Settings, keys: Keys | None, log: str) -> None:
    if keys is not None and keys.remote:
        keys.signing(actor={}, epochs=True).epoch_key(log or new_log_name(settings, keys.public), 0)


def _foreign_keys_error(settings: Settings) -> KeysError:
    return KeysError(
        f"{settings.key_path}: these keys do not belong to the log in {settings.ledger.path}, and "
        "nothing shows that the ledger was replaced",
        code="keys.other_log",
        hint=(
            "set [keys] path (or GUARDRAIL_KEYS) to the folder that was created with this "
            "ledger; if it is lost, to an empty folder, then run guardrail recover"
        ),
    )


def _public_key(first: Mapping[str, Any]) -> str:
    key = first.get("key")
    return str(key.get("public", "")) if isinstance(key, Mapping) else ""


# -- earlier names of this log ---------------------------------------------------------------------


def _earlier_names(settings: Settings) -> Iterator[str]:
    """Yield the names of the logs that were set aside here, and the names that recoveries stored
    with the keys.
    """
    db = settings.ledger.path
    with contextlib.suppress(OSError):
        for item in sorted(db.parent.glob(f"{db.name}-broken-*")):
            if item.is_file() and not item.name.endswith(("-wal", "-shm", "-sealed", ".json")):
                yield str(line0(item).get("log", ""))
    yield from stored_names(settings)[-1000:]


# -- heads that are known from outside -------------------------------------------------------------


def _anchored_heads(
    settings: Settings, names: Sequence[str], publics: set[str]
) -> Iterator[KnownHead]:
    """Yield every head of these logs and their restarts that the anchors store and that one of the
    keys *publics* signed.

    An anchor that can't be read is skipped.
    """
    if not is_configured(settings.anchors):
        return
    try:
        anchors = anchors_at(settings, min(publics) if publics else "00" * 32, names[0])
    except ConfigError:
        return
    log_names = dict.fromkeys(names)
    for each in list(log_names):
        for number in range(1, max(map(generation, names)) + 2):
            base = family(each)
            log_names.setdefault(base if number == 1 else f"{base}~{number}")
    for anchor in anchors:
        for name in log_names:
            with contextlib.suppress(AnchorError):
                yield from _signed_heads(anchor, name, publics)


def _signed_heads(anchor: Anchor, name: str, publics: set[str]) -> Iterator[KnownHead]:
    for note in anchor.heads(name):
        signer = next((each for each in publics if is_signed(note, name, each)), None)
        try:
            head = Checkpoint.parse(note.text)
        except NoteError:
            continue
        if signer is not None and head.origin == name and head.size:
            yield KnownHead(f"anchor {anchor.name}", name, head.size, head.root, signer)


def read_backup(path: Path, watch: Collection[int] = ()) -> KnownHead:
    """Read every record of the copy at *path*. Return its head, with the roots for the sizes in
    *watch*.

    Raises ``LedgerError`` if the copy is not intact.
    """
    first = line0(path)
    with LedgerReader.open(path) as reader:
        found = examine(reader, verify=verify_signature, watch=watch)
    if found.report.first_bad is not None or found.unreadable or found.head:
        raise LedgerError(
            f"{path}: {found.report.detail or found.unreadable or found.head}",
            code="ledger.damaged",
            hint=f"guardrail verify --ledger {path}",
        )
    return KnownHead(
        "backup",
        str(first.get("log", "")),
        found.report.records,
        found.edge.root(),
        _public_key(first),
        binding=False,
        roots=found.roots,
    )
