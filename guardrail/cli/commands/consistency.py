"""Implements ``guardrail consistency``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import (
    json_option,
    ledger_options,
    ledger_path,
    open_ledger,
    open_ledger_or_copy,
)
from guardrail.cli.output import Style, data, emit_json, paint, prose, remark
from guardrail.cli.render import recovery
from guardrail.core.words import counted
from guardrail.errors import GuardrailError, NoteError, UsageError
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.core.log.checkpoint import SignedNote
    from guardrail.review.proofs import Consistency

__all__ = ["consistency"]

_PATH = click.Path(path_type=Path, readable=False)


class _HeadFileError(GuardrailError):
    """A head file can't be read."""

    default_code = "head.file"


@click.command(short_help="Check that one signed head extends another.")
@click.argument("old", type=_PATH, metavar="OLD")
@click.argument("new", type=_PATH, metavar="NEW")
@ledger_options
@click.option(
    "--key",
    "key",
    metavar="PUB",
    help=(
        "The log's public key that you stored: 64 hex characters, a note key, or a file with "
        "either."
    ),
)
@click.option(
    "--backup",
    type=_PATH,
    metavar="FILE",
    help="Use this older copy of the ledger. NEW may cover more records than the copy has.",
)
@json_option
def consistency(
    *,
    old: Path,
    new: Path,
    config: Path | None,
    ledger: Path | None,
    key: str | None,
    backup: Path | None,
    as_json: bool,
) -> int:
    """Check that the signed head in NEW extends the signed head in OLD, which means that no record
    covered by OLD has changed since.

    The command compares both heads with hashes that it computes from the ledger's records. Exit
    code 0: NEW extends OLD; 1: it does not, or the heads belong to two logs; 3: a head is malformed
    or not signed by a key of this log, or the ledger lacks records that are needed to decide; 5:
    NEW extends OLD, but the key was read from the ledger itself, or a recovery took over records
    that the head in OLD does not cover, or, with --backup, the copy has all records covered by OLD
    but not all covered by NEW.
    """
    from guardrail.core.log.checkpoint import Checkpoint, NoteKey
    from guardrail.review.proofs import compare_heads, log_key
    from guardrail.review.verify import signers_in

    here = ledger_path(config, ledger)
    with open_ledger(config, ledger) if backup is None else open_ledger_or_copy(backup) as reader:
        known = log_key(reader)
        if key is not None:
            from guardrail.review.verify import load_key

            known = NoteKey(known.name, bytes.fromhex(load_key(key)))
        first, second = _head(old), _head(new)
        sizes = Checkpoint.parse(first.text).size, Checkpoint.parse(second.text).size
        if sizes[0] > sizes[1]:
            raise _swapped(*sizes)
        signers = [] if backup is None else signers_in((here,), known)
        answer = compare_heads(
            first, second, reader, known, backup=backup is not None, signers=signers
        )
    code = _exit_code(answer, pinned=key is not None)
    if as_json:
        emit_json(
            {
                "relation": answer.relation.value,
                "exit": int(code),
                "detail": answer.detail,
                "log": known.name,
                "sizes": list(sizes),
                "proof": [each.hex() for each in answer.path],
                "key_pinned": key is not None,
                "recovered": [recovery(each) for each in answer.recovered],
            }
        )
        return code
    _print(answer, known.name, sizes, pinned=key is not None)
    return code


def _swapped(old: int, new: int) -> UsageError:
    return UsageError(
        f"the head in OLD covers {counted(old, 'record')}, but the head in NEW only {new:,}",
        hint=(
            "pass the smaller head first; if the larger head is the older of the two, the log "
            "was truncated: run guardrail verify --checkpoint FILE"
        ),
    )


def _head(path: Path) -> SignedNote:
    from guardrail.core.log.checkpoint import MAX_NOTE, Checkpoint, SignedNote
    from guardrail.system.input_files import read_input
    from guardrail.system.ownership import explain_error

    try:
        raw = read_input(path, MAX_NOTE)
    except OSError as error:
        why, way = explain_error(error, path)
        raise _HeadFileError(
            f"{path}: the head can't be read ({why})",
            hint=way or "guardrail checkpoint prints a head to store outside the ledger",
        ) from None
    try:
        found = SignedNote.parse(raw)
        Checkpoint.parse(found.text)
    except NoteError as error:
        raise NoteError(
            f"{path}: {error.message}", code=error.code, hint="guardrail checkpoint prints a head"
        ) from None
    return found


def _exit_code(answer: Consistency, *, pinned: bool) -> Exit:
    from guardrail.review.proofs import HeadRelation

    if answer.relation is HeadRelation.CONSISTENT:
        return Exit.YES if pinned and not answer.recovered else Exit.RESERVED
    if answer.relation is HeadRelation.PREFIX:
        return Exit.RESERVED
    if answer.relation in (HeadRelation.FORKED, HeadRelation.OTHER_LOG):
        return Exit.NO
    return Exit.UNKNOWN


def _print(answer: Consistency, log: str, sizes: tuple[int, int], *, pinned: bool) -> None:
    from guardrail.review.proofs import HeadRelation
    from guardrail.review.verify import taken_over

    word, style = {
        HeadRelation.CONSISTENT: ("CONSISTENT", Style.GOOD),
        HeadRelation.PREFIX: ("A PREFIX of the log, proven up to the old head", Style.WARN),
        HeadRelation.FORKED: ("FORKED", Style.BAD),
        HeadRelation.OTHER_LOG: ("HEADS OF TWO LOGS", Style.BAD),
        HeadRelation.NOT_HERE: ("CAN'T TELL", Style.WARN),
        HeadRelation.KEY_UNKNOWN: ("KEY UNKNOWN", Style.WARN),
    }[answer.relation]
    data(paint(word, style))
    if answer.detail:
        for line in prose(one_line(answer.detail), indent=2):
            data(f"  {line}")
    data(f"  log      {name(log)}")
    data(f"  heads    of {sizes[0]:,} and {counted(sizes[1], 'record')}")
    if answer.relation is HeadRelation.CONSISTENT:
        data(f"  proof    {counted(len(answer.path), 'hash')} (--json shows them)")
    for each in answer.recovered:
        for line in prose(one_line(" ".join(taken_over(each))), indent=4):
            data(f"    {line}")
    if not pinned:
        data(
            "  KEY NOT PINNED: the key was read from the ledger itself; pass the key that you "
            "stored with --key"
        )
    if answer.relation is HeadRelation.FORKED:
        remark(
            "next:  keep both signed heads: they prove that the holder of the key showed two "
            "histories"
        )
    elif answer.relation is HeadRelation.NOT_HERE:
        remark("next:  guardrail verify --checkpoint FILE, with the head in NEW")
