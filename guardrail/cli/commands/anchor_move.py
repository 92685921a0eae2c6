"""``guardrail anchor move``: copies a log's heads from one anchor file to the file in the current
settings.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.cli.app import Exit
from guardrail.cli.options import open_ledger, settings_for
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.cli.retention_ledger import redacted_reason
from guardrail.core.words import counted
from guardrail.errors import AnchorError, ConfigError, UsageError
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.anchors.lines import HeadLine
    from guardrail.anchors.moving import SortedHeads
    from guardrail.config import Settings
    from guardrail.core.log.checkpoint import NoteKey
    from guardrail.ledger.reader import LedgerReader

__all__ = ["move"]

_USAGE = 'guardrail anchor move OLD_FILE --reason "..."'


@dataclass(frozen=True, slots=True)
class _MoveRequest:
    """The options of the command."""

    old: Path | None
    """The file that has contained the heads so far, or None if it is lost."""
    new: Path
    reason: str


def move(
    old: Path | None,
    config: Path | None,
    ledger: Path | None,
    *,
    reason: str | None,
    lost: bool,
    as_json: bool,
) -> int:
    """Copy the log's heads from the file *old* to the file in [anchors], and record the move."""
    from guardrail.identity.actor import current_actor
    from guardrail.wiring.opening import load_keys, open_journal

    settings = settings_for(config, ledger)
    wish = _move_request(settings, old, reason, lost=lost)
    with open_ledger(config, ledger) as reader:
        log = reader.log
        key = load_keys(settings).signing(actor=current_actor(), epochs=False).log_key(log).key
        found = _sorted_heads(reader, key, _old_heads(wish, key, reader.path))
    taken = _anchor_file(wish.new, key, settings).take_over(found.ours)
    detail = {
        "from": None if wish.old is None else str(wish.old.absolute()),
        "to": str(wish.new),
        "heads": len(found.ours),
        "left_out": [{"size": each.size, "root": each.root.hex()} for each in found.left_out[:100]],
        "left_out_count": len(found.left_out),
        "reason": wish.reason,
    }
    journal, _ = open_journal(settings, epochs=False)
    with contextlib.closing(journal):
        seq = journal.admin("anchor_moved", detail).seq
    if as_json:
        emit_json({"exit": int(Exit.YES), "log": log, "seq": seq, "added": taken, **detail})
    else:
        _print_result(found, taken, wish.new, seq)
    return Exit.YES


def _move_request(
    settings: Settings, old: Path | None, reason: str | None, *, lost: bool
) -> _MoveRequest:
    new = settings.anchors.file
    if new is None:
        raise ConfigError(
            "[anchors] file is not set, so there is no file to move the heads to",
            code="config.anchors",
            hint="set file in [anchors] of guardrail.toml (docs/anchors.md)",
        )
    if (old is None) is not lost:
        raise UsageError(
            "pass the path of the old file, or --lost if the file is permanently lost", hint=_USAGE
        )
    with contextlib.suppress(OSError):
        if old is not None and os.path.samefile(old, new):
            raise UsageError(
                "[anchors] file is already set to this file",
                hint="set file in [anchors] to the new path first, then run: " + _USAGE,
            )
    return _MoveRequest(old, new, redacted_reason(reason, needed="guardrail anchor move") or "")


def _anchor_file(path: Path, key: NoteKey, settings: Settings) -> Any:
    from guardrail.anchors.file import FileAnchor, check_place
    from guardrail.keys.log_key import verify_signature

    check_place(path, settings.ledger.path)
    return FileAnchor(path, key=key, verify=verify_signature, ledger=settings.ledger.path)


def _old_heads(wish: _MoveRequest, key: NoteKey, ledger: Path) -> Sequence[HeadLine]:
    """Return the heads in the old file. If the file is lost, return the newest head from the state
    next to the ledger.
    """
    from guardrail.anchors.file import FileAnchor
    from guardrail.anchors.lines import HeadLine
    from guardrail.anchors.state import read_state, state_path
    from guardrail.core.log.checkpoint import SignedNote
    from guardrail.keys.log_key import verify_signature

    if wish.old is None:
        known = read_state(state_path(ledger), key.name).of("file")
        if known.known is None:
            return []
        return [HeadLine(known.known, SignedNote.parse(known.note), "")]
    lines: Sequence[HeadLine] | None = FileAnchor(wish.old, key=key, verify=verify_signature).lines(
        key.name
    )
    if lines is None:
        raise AnchorError(
            f"{wish.old}: there is no anchor file at this path",
            code="anchor.missing",
            hint=(
                "pass the path of the old file; if it is permanently lost: "
                'guardrail anchor move --lost --reason "..."'
            ),
        )
    return lines


def _sorted_heads(reader: LedgerReader, key: NoteKey, lines: Sequence[HeadLine]) -> SortedHeads:
    from guardrail.anchors.moving import sort_heads
    from guardrail.core.log.merkle import range_root
    from guardrail.keys.log_key import verify_signature
    from guardrail.ledger.tree import node_reader

    with reader.snapshot():
        size, node = reader.size(), node_reader(reader.storage)

        def root_of(count: int) -> bytes | None:
            try:
                return range_root(0, count, node)
            except ValueError:
                return None

        return sort_heads(
            lines,
            log=key.name,
            size=size,
            root_of=root_of,
            signed=lambda line: line.note.signed_by(key, verify_signature),
        )


def _print_result(found: SortedHeads, taken: int, new: Path, seq: int) -> None:
    data(
        f"{paint('moved', Style.GOOD)}  {counted(len(found.ours), 'head')} of this log, {taken:,}"
        f" of them new there: {one_line(str(new))}"
    )
    for each in found.left_out[:10]:
        data(
            f"  left    a head of {counted(each.size, 'record')} that a different key signed and "
            "the ledger contradicts"
        )
    if len(found.left_out) > 10:
        data(f"  left    and {len(found.left_out) - 10:,} more")
    data(f"  record  {seq}")
    remark("next:  keep the old file, then run: guardrail anchor")
