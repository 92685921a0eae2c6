"""Implements ``guardrail prove`` and ``guardrail check-proof``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.commands.checkpoint import head_of
from guardrail.cli.options import json_option, ledger_options, open_ledger
from guardrail.cli.output import Style, data, emit_json, paint, prose, remark
from guardrail.cli.render import clock
from guardrail.core.words import counted
from guardrail.errors import GuardrailError, NoteError, UsageError
from guardrail.review.terminal import escape, json_text, name, one_line
from guardrail.system.disk import is_full, make_room, why_not_written

if TYPE_CHECKING:
    from guardrail.core.log.checkpoint import NoteKey, SignedNote
    from guardrail.core.log.proof import ProofCheck

__all__ = ["check_proof", "prove"]

_PATH = click.Path(path_type=Path, readable=False)


class _FileError(GuardrailError):
    """A proof file can't be read or written."""

    default_code = "proof.file"


@click.command(short_help="Write a proof that one record is in the ledger.")
@click.argument("ref", metavar="SEQ|CALL")
@ledger_options
@click.option(
    "--out",
    "out",
    type=_PATH,
    metavar="FILE",
    help="Write to FILE, which must not exist. Default: stdout.",
)
def prove(*, ref: str, config: Path | None, ledger: Path | None, out: Path | None) -> None:
    """Write a proof that one record is in the ledger: its line, its inclusion path, and the signed
    head, in one file.

    SEQ is the number of the record; a call id selects the call's decision. The file contains the
    record itself, but only hashes of other records. `guardrail check-proof FILE --key PUB` checks
    the proof, without the ledger or a network.
    """
    from guardrail.anchors.state import read_state, state_path
    from guardrail.review.proofs import make_proof
    from guardrail.review.records import NotFoundError
    from guardrail.review.sessions import RecordRef, find

    head, _ = head_of(config, ledger)
    with open_ledger(config, ledger) as reader:
        target = find(reader, ref)
        if not isinstance(target, RecordRef):
            raise NotFoundError(
                "this is a session, but a proof covers one record",
                hint="guardrail show last, then guardrail prove SEQ",
            )
        kept = _notes(
            each.note for each in read_state(state_path(reader.path), reader.log).anchors.values()
        )
        proof = make_proof(reader, target.seq, head, kept)
    raw = proof.encode()
    if out is None:
        # The document is the same, but characters that a terminal would interpret or hide are
        # escaped, as JSON allows.
        data(json_text(json.loads(raw), indent=1))
    else:
        _write(out, raw)
    if proof.epoch is not None:
        remark(
            "the head is signed by a process key, because this user can't use the log key",
            Style.WARN,
        )


def _notes(texts: Iterator[str]) -> Iterator[SignedNote]:
    from guardrail.core.log.checkpoint import Checkpoint, SignedNote

    for text in texts:
        try:
            found = SignedNote.parse(text)
            Checkpoint.parse(found.text)
        except NoteError:
            continue
        yield found


def _write(path: Path, raw: bytes) -> None:
    """Write to a new file that only its owner can read, because the proof contains a record. The
    file and its name are durable when this returns.
    """
    from guardrail.system.durable import sync_directory

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} already exists, and a proof never overwrites a file",
            code="usage.exists",
            hint="choose another name",
        ) from None
    except OSError as error:
        raise _not_written(error, path, raw) from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())
        sync_directory(path.absolute().parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _not_written(error, path, raw) from None


def _not_written(error: OSError, path: Path, raw: bytes) -> _FileError:
    return _FileError(
        f"{path}: can't be written ({why_not_written(error, path, len(raw))})",
        hint=make_room(path) if is_full(error, path) else "",
    )


@click.command("check-proof", short_help="Check a record's proof, without the ledger.")
@click.argument("file", type=_PATH, metavar="FILE")
@click.option(
    "--key",
    "key",
    required=True,
    metavar="PUB",
    help=(
        "The log's public key that you stored: 64 hex characters, a note key, or a file with "
        "either."
    ),
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    metavar="NAME+HASH+KEY",
    help="A witness's key: report whether that witness cosigned the head. May be repeated.",
)
@json_option
def check_proof(*, file: Path, key: str, witnesses: Sequence[str], as_json: bool) -> int:
    """Check a proof that a record is in the log whose key you stored. This does not require the
    ledger or a network.

    Exit code 0: the record is in the log; 1: it is not; 3: the head is not signed by that key, or
    the file is not a proof; 5: the record is in the log, according to a key that the log key
    certified.
    """
    from guardrail.core.log.proof import MAX_PROOF, Proof
    from guardrail.core.log.proof import check_proof as check
    from guardrail.keys.log_key import verify_signature
    from guardrail.review.verify import load_key
    from guardrail.system.input_files import read_input
    from guardrail.system.ownership import explain_error

    public = bytes.fromhex(load_key(key))
    pinned = [_witness(each) for each in witnesses]
    try:
        raw = read_input(file, MAX_PROOF)
    except OSError as error:
        why, way = explain_error(error, file)
        raise _FileError(f"{file}: can't be read ({why})", hint=way) from None
    try:
        proof = Proof.parse(raw)
    except NoteError as error:
        raise NoteError(f"{file}: {error.message}", code=error.code, hint=error.hint) from None
    checked = check(proof, public, verify_signature, pinned)
    code = _exit_code(checked)
    if as_json:
        emit_json(_document(checked, code, pinned))
    else:
        _print(checked, pinned)
    return code


def _witness(text: str) -> NoteKey:
    from guardrail.core.log.checkpoint import Algorithm, NoteKey

    try:
        found = NoteKey.parse(text)
    except NoteError as error:
        raise UsageError(
            f"--witness: {error.message}", hint="use the key that guardrail witness init prints"
        ) from None
    if found.algorithm is not Algorithm.COSIGNATURE_V1:
        raise UsageError(
            "--witness: expected a witness key (type 0x04)",
            hint="use the key that guardrail witness init prints",
        )
    return found


def _exit_code(checked: ProofCheck) -> Exit:
    from guardrail.core.log.proof import Verdict

    if checked.verdict is Verdict.GOOD:
        return Exit.YES if checked.epoch is None else Exit.RESERVED
    return Exit.NO if checked.verdict is Verdict.NOT_IN_HEAD else Exit.UNKNOWN


def _not_proved(checked: ProofCheck) -> list[str]:
    from guardrail.core.log.proof import Verdict

    if checked.verdict is not Verdict.GOOD:
        return []
    said = [
        (
            "That the log has not been truncated, forked or replaced since: this requires an "
            "external head (guardrail verify --checkpoint FILE)."
        ),
        (
            "That the content and the time of the record are true: the time comes from the "
            "writer's own clock."
        ),
        # A witness signs any extension of the head that it knows. A recovery may have taken over
        # records after that head.
        (
            "That the log was not recovered after a change: guardrail verify lists such records "
            "if it is run on the ledger."
        ),
    ]
    if checked.epoch is not None:
        said.append(
            "That the key of the process had not been retired when it signed the head: only the "
            "log shows that."
        )
    if not checked.cosignatures:
        said.append(
            "That anyone other than the holder of the log's key has seen the head: no witness's "
            "signature was checked."
        )
    return said


def _document(checked: ProofCheck, code: Exit, pinned: Sequence[NoteKey]) -> dict[str, Any]:
    return {
        "verdict": checked.verdict.value,
        "exit": int(code),
        "detail": checked.detail,
        "log": checked.head.origin,
        "size": checked.head.size,
        "signed_by": (
            None if code in (Exit.NO, Exit.UNKNOWN) else "log" if checked.epoch is None else "epoch"
        ),
        "cosigned": _cosigned(checked),
        "not_cosigned": _missing(checked, pinned),
        "record": dict(checked.record) if checked.record is not None else None,
        "not_proved": _not_proved(checked),
    }


def _cosigned(checked: ProofCheck) -> list[dict[str, Any]]:
    from guardrail.anchors.anchor import timestamp

    return [{"witness": each.name, "ts": timestamp(each.time)} for each in checked.cosignatures]


def _missing(checked: ProofCheck, pinned: Sequence[NoteKey]) -> list[str]:
    there = {each.name for each in checked.cosignatures}
    return [each.name for each in pinned if each.name not in there]


def _print(checked: ProofCheck, pinned: Sequence[NoteKey]) -> None:
    from guardrail.core.log.proof import Verdict

    words = {
        Verdict.GOOD: ("PROVED", Style.GOOD),
        Verdict.NOT_IN_HEAD: ("NOT PROVED", Style.BAD),
        Verdict.KEY_UNKNOWN: ("KEY UNKNOWN", Style.WARN),
    }
    word, style = words[checked.verdict]
    data(paint(word, style))
    if checked.detail:
        for line in prose(one_line(checked.detail), indent=2):
            data(f"  {line}")
    data(f"  log      {name(checked.head.origin)}")
    data(f"  head     of {counted(checked.head.size, 'record')}")
    record = checked.record
    if record is not None and checked.verdict is Verdict.GOOD:
        seq, kind, ts = record.get("seq"), str(record.get("type")), str(record.get("ts"))
        data(f"  record   {seq}: {escape(kind)}, {clock(ts)}")
        data(
            "  signed   by"
            f" {'the log key' if checked.epoch is None else 'a key that the log key certified'}"
        )
    for each in _cosigned(checked):
        data(f"  cosigned {clock(each['ts'])} by {name(each['witness'])}")
    for missing in _missing(checked, pinned):
        data(f"  NOT cosigned by {name(missing)}")
    reasons = _not_proved(checked)
    if reasons:
        data()
        data(paint("Not proved", Style.STRONG))
    for entry in reasons:
        first, *rest = prose(entry, indent=4)
        data(f"  - {first}")
        for line in rest:
            data(f"    {line}")
