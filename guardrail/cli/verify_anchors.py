"""Reads the heads that anchors store for the ledger under verification, even if the name of its log
can't be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.options import settings_for
from guardrail.core.words import counted
from guardrail.errors import AnchorError, ConfigError, GuardrailError

if TYPE_CHECKING:
    from guardrail.anchors.anchor import Anchor
    from guardrail.config import Settings
    from guardrail.core.log.checkpoint import SignedNote
    from guardrail.review.verify import OutsideHead

__all__ = ["MOVE", "configured_heads", "missing_head", "origin_of", "witness_ca", "witness_heads"]

_RESTARTS = 64
"""Maximum number of a log's restarts whose heads are requested from anchors."""


def origin_of(path: Path) -> str:
    """Return the name of the log at *path*, or an empty string if it can't be read."""
    from guardrail.review.verify import readable

    try:
        with readable(Path(os.path.realpath(path))) as reader:
            return reader.log
    except (GuardrailError, OSError):
        return ""


def witness_ca(config: Path | None, ledger: Path | None) -> Path | None:
    """Return the CA certificates for witnesses, if the settings contain any."""
    with suppress(ConfigError):
        return settings_for(config, ledger).anchors.witness_ca
    return None


def witness_heads(
    witnesses: tuple[str, ...], origin: str | None, ca: Path | None
) -> list[OutsideHead]:
    """Request heads from each witness on the command line. Raises ``AnchorError`` if any witness
    does not respond.
    """
    from guardrail.anchors.witness.client import WitnessAnchor
    from guardrail.core.log.checkpoint import NoteKey
    from guardrail.errors import NoteError
    from guardrail.keys.log_key import verify_signature
    from guardrail.review.verify import OutsideHead

    found = []
    for text in witnesses:
        url, _, rest = text.strip().partition(" ")
        try:
            own = ca if url.startswith("https:") else None
            anchor = WitnessAnchor(url, key=NoteKey.parse(rest), verify=verify_signature, ca=own)
        except (NoteError, ConfigError):
            raise click.UsageError(
                "--witness requires one argument: a URL, a space and the witness's key",
                click.get_current_context(),
            ) from None
        if not origin:
            raise AnchorError(
                "the log's name can't be read, so its head can't be requested from the witness",
                code="anchor.refused",
                hint="guardrail verify --checkpoint FILE",
            )
        note = anchor.latest(origin)
        if note is not None:
            found.append(OutsideHead.parse(anchor.name, str(note)))
    return found


def configured_heads(
    config: Path | None,
    ledger: Path | None,
    path: Path,
    notices: list[str],
    *,
    own: bool = True,
) -> list[OutsideHead]:
    """Return the heads that the configured anchors store for the ledger at *path*. An anchor that
    can't be read adds a notice.

    If the log's name can't be read, its possible names are tried, but only for the settings' *own*
    ledger.

    An anchor file is also searched for other logs of this project, because this log may have
    replaced one of them.
    """
    from guardrail.anchoring import anchors_at
    from guardrail.anchors.configured import is_configured
    from guardrail.review.verify import OutsideHead, readable

    try:
        settings = settings_for(config, ledger)
    except ConfigError:
        return []
    if not is_configured(settings.anchors):
        return []
    log, publics = "", set[str]()
    try:
        with readable(Path(os.path.realpath(path))) as reader:
            log, publics = reader.log, {str(reader.genesis["key"]["public"])}
    except (GuardrailError, OSError, KeyError, TypeError, ValueError):
        if not own:
            return []  # verify reports why the ledger can't be read
        publics = _publics(settings)
    names = [log] if log else _names(settings, publics)
    try:
        anchors = anchors_at(settings, min(publics, default="00" * 32), names[0])
    except (GuardrailError, ValueError) as error:
        why = error.message if isinstance(error, GuardrailError) else type(error).__name__
        notices.append(f"The anchors could not be read: {why}.")
        return []
    found = []
    for anchor in anchors:
        try:
            notes = list(anchor.heads(log)) if log else list(_heads_of_any(anchor, names, publics))
            others = _replaced_logs(anchor, settings, log, publics) if own else []
        except AnchorError as error:
            notices.append(f"The anchor {anchor.name} could not be read: {error.message}.")
            continue
        found += [OutsideHead.parse(anchor.name, str(note)) for note in (*notes, *others)]
        missing = missing_head(anchor, path, log, notes) if own else ""
        if missing:
            notices.append(f"{missing}; every call is denied. {MOVE}.")
    return found


MOVE = (
    "Restore the file; if you changed [anchors] file: guardrail anchor move OLD_FILE --reason "
    "TEXT; if the file is permanently lost: guardrail anchor move --lost --reason TEXT"
)


def missing_head(anchor: Anchor, path: Path, log: str, notes: Sequence[SignedNote]) -> str:
    """Describe the head that the anchor file accepted from the ledger at *path* but that is not in
    *notes*, the heads that the file contains now. The result is empty if no head is missing.

    The accepted head comes from the state file next to the ledger, which guards also check before
    they accept a call.
    """
    from guardrail.anchors.state import read_state, state_path
    from guardrail.core.log.checkpoint import Checkpoint

    known = (
        read_state(state_path(Path(os.path.realpath(path))), log).of(anchor.name).known
        if log
        else None
    )
    if anchor.name != "file" or known is None:
        return ""
    if any(Checkpoint.parse(note.text).size >= known.size for note in notes):
        return ""
    return (
        f"The anchor file does not contain the head of {counted(known.size, 'record')} that was "
        "written to it"
    )


# -- a ledger that can't say which log it is -------------------------------------------------------


def _replaced_logs(
    anchor: Anchor, settings: Settings, log: str, publics: set[str]
) -> list[SignedNote]:
    """Find the other logs of this project that *log* may have replaced, and return each log's
    newest head in an anchor file. *log* is empty if the name can't be read.

    A log that a recovery continued is omitted, because it keeps its name and records the recovery.
    For an unreadable log whose keys *publics* are known, only the log's own name is searched for.
    Raises ``AnchorError``.
    """
    from guardrail.anchors.file import FileAnchor
    from guardrail.config.log_names import is_of_project
    from guardrail.ledger.maintenance.known_heads import family, generation

    if not isinstance(anchor, FileAnchor) or (log and not is_of_project(settings, log)):
        return []
    if generation(log) > 1 or (publics and not log):
        return []
    others = [each for each in anchor.origins() if is_of_project(settings, each)]
    found = [anchor.heads(each) for each in others if not log or family(each) != log]
    return [max(each, key=_size) for each in found if each]


def _size(note: SignedNote) -> int:
    from guardrail.core.log.checkpoint import Checkpoint

    return Checkpoint.parse(note.text).size


def _names(settings: Settings, publics: set[str]) -> list[str]:
    """Return the possible names of the log under *settings*: remembered names, names stored with
    the keys, and the name that a new log with one of the keys *publics* would have.
    """
    from guardrail.anchoring import remembered_head, stored_names
    from guardrail.config.log_names import possible_names

    remembered = remembered_head(settings)
    names = [] if remembered is None else [remembered.key.name]
    names += stored_names(settings)[-_RESTARTS:]
    return list(dict.fromkeys([*names, *possible_names(settings, sorted(publics))]))


def _publics(settings: Settings) -> set[str]:
    """Return the candidate public keys for the log. The result is empty if the key files are
    missing and no head is remembered.
    """
    from guardrail.anchoring import remembered_head
    from guardrail.keys.log_key import Keys

    remembered = remembered_head(settings)
    found = set() if remembered is None else {remembered.key.public.hex()}
    with suppress(GuardrailError):
        found.add(
            Keys.load(
                settings.key_path,
                signer=settings.keys.signer,
                allow=lambda: settings.require_trust("[keys] signer"),
            ).public
        )
    return found


def _heads_of_any(anchor: Anchor, names: Sequence[str], publics: set[str]) -> Iterator[SignedNote]:
    """Yield the heads of logs with these *names*, and of their restarts, that were signed by one of
    the keys *publics*.

    If no keys are known, every head is yielded, because the heads can then show only that the
    anchor knows such a log.
    """
    from guardrail.anchoring import is_signed
    from guardrail.ledger.maintenance.known_heads import family, generation

    for base in dict.fromkeys(map(family, names)):
        last = max(generation(each) for each in names if family(each) == base)
        number = 1
        while number <= min(last + 1, _RESTARTS):
            name = base if number == 1 else f"{base}~{number}"
            notes = anchor.heads(name)
            if notes:
                last = max(last, number)  # another restart may have followed that one
            for note in notes:
                if not publics or any(is_signed(note, name, each) for each in publics):
                    yield note
            number += 1
