"""The next steps after each result of ``guardrail verify``. Text and JSON output contain the same
steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.verify_memory import memory_way_out
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.review.verify import VerifyReport

__all__ = ["left_notice", "next_steps", "way_to_check"]

_KEEP = "leave the file unchanged, copy it, and compare the copy with a backup or an export"


def next_steps(
    path: Path, report: VerifyReport, *, is_file: bool, backup: bool = False, way: str = ""
) -> list[str]:
    """Return the next steps in order. The list is empty only for a result without caveats.

    If *is_file* is True, an export, a copy of a segment or a *backup* was verified instead of a
    ledger. *way* is the hint to use if the ledger is missing.
    """
    from guardrail.review.verify import VerifyState

    shown = one_line(str(path))
    if backup and report.state in (VerifyState.ROLLED_BACK, VerifyState.PREFIX):
        return list(_copy_steps(shown, report))
    if report.exit_code == 1:
        return list(_finding_steps(path, shown, report, is_file=is_file))
    if report.exit_code == 3:
        return [_undetermined_step(report, is_file=is_file, backup=backup, way=way)]
    return list(_caveat_steps(shown, report, is_file=is_file))


def _copy_steps(shown: str, report: VerifyReport) -> Iterator[str]:
    if report.proven_to is None or report.proven_to < report.last_seq:
        yield (
            f"guardrail verify --backup {shown} --checkpoint FILE with a head that was stored "
            "when the copy was made"
        )
    if not report.key_pinned:
        yield f"guardrail verify --backup {shown} --key PUB with the log's key that you stored"
    yield "guardrail verify checks the ledger itself, with the records that came after the copy"


def _finding_steps(path: Path, shown: str, report: VerifyReport, *, is_file: bool) -> Iterator[str]:
    from guardrail.review.verify import VerifyState

    if report.state is VerifyState.MISSING:
        yield (
            "restore the file, or correct its path"
            if is_file
            else (
                "move the ledger back if it was moved; otherwise run guardrail recover, with "
                "--backup FILE if there is a copy, which starts a new log that states the loss"
            )
        )
    elif _is_head_of_the_log_before(report):
        assert report.against is not None
        yield (
            "compare the head with the remaining files of the old log: guardrail verify --ledger "
            f"OLD_FILE --checkpoint {one_line(report.against.source)}"
        )
        yield (
            "to compare this log with its own heads alone, set file in [anchors] to that file, and "
            "omit --checkpoint"
        )
        return
    else:
        yield _KEEP
        if not is_file:
            yield f"guardrail recover --dry-run --ledger {shown} shows how the log can continue"
    if memory_way_out(path, report):
        yield memory_way_out(path, report)


def _is_head_of_the_log_before(report: VerifyReport) -> bool:
    from guardrail.ledger.maintenance.known_heads import is_earlier
    from guardrail.review.verify import VerifyState

    head = None if report.against is None else report.against.head
    if report.state is not VerifyState.REPLACED or head is None:
        return False
    return is_earlier(head.origin, report.log)


def _undetermined_step(report: VerifyReport, *, is_file: bool, backup: bool, way: str) -> str:
    from guardrail.review.verify import VerifyState

    if report.state is VerifyState.KEY_UNKNOWN:
        return (
            "verify again with the key of this log and a head that it signed: guardrail "
            "verify --key PUB --checkpoint FILE"
        )
    if report.state is VerifyState.HEAD_MALFORMED:
        return "pass the output of guardrail checkpoint to --checkpoint, or omit --checkpoint"
    if report.state is VerifyState.DAMAGED and not is_file and not way:
        return "guardrail recover --dry-run shows how the log can continue; keep the file unchanged"
    if is_file and report.state is VerifyState.MISSING:
        made = "guardrail backup FILE makes one" if backup else "guardrail export makes an export"
        return f"correct the path of the file; {made}"
    if backup:
        return "name a file that guardrail backup FILE made, or get that file from its source again"
    if is_file:
        return (
            "get the file (for a segment, also its manifest NAME.json) from its source again, and "
            "verify that copy"
        )
    return way or "guardrail doctor"


def _caveat_steps(shown: str, report: VerifyReport, *, is_file: bool) -> Iterator[str]:
    if report.dead_calls:
        yield (
            "open the ledger with a guard, which closes the calls of dead processes, then run "
            "guardrail verify"
        )
    taken = [each for each in report.recovered if each.first <= each.last]
    if taken:
        seq = min(each.seq for each in taken)
        yield (
            f"guardrail verify --checkpoint FILE with a head that was stored before record {seq}, "
            "if you have one"
        )
    for each in report.recovered if not is_file else ():
        if each.lossy:
            rest = ", and names the files of the previous log" if each.restarted else ""
            yield (
                f"guardrail show {each.seq} --ledger {shown} shows how much was lost, and why{rest}"
            )
    if report.uncovered is not None:
        yield (
            "verify the ledger itself (guardrail verify), or add --checkpoint FILE "
            "with a head that covers the last record of the file"
        )
    elif report.anchored_to is None:
        yield (
            "guardrail verify --checkpoint FILE with an external head"
            if is_file or not report.note
            else (
                "guardrail checkpoint > FILE, and store FILE where nobody who can write to the "
                "ledger can change it"
            )
        )
    if not report.key_pinned:
        option = "" if is_file else f" --ledger {shown}"
        yield f"guardrail verify{option} --key PUB with the log's key that you stored"
    if report.exit_code == 5 and report.since:
        yield "run guardrail verify without --since to read the earlier records as well"


def left_notice(path: Path) -> list[str]:
    """Return the notice that a move left the newest records of the ledger behind, if it did."""
    from guardrail.ledger.half_moved import unmoved_wal

    wal = unmoved_wal(path)
    what = "was not moved with this ledger, and may contain newer records"
    return [] if wal is None else [f"{one_line(str(wal))} {what}"]


def way_to_check(path: Path, config: Path | None, ledger: Path | None) -> str:
    """Return the next step if the ledger at *path* could not be checked: the command that makes the
    ledger readable, or a different ledger that may have been meant.
    """
    from guardrail.cli.missing import way_to_a_ledger
    from guardrail.system.ownership import find_denial

    denied = find_denial([path], write=False)
    return way_to_a_ledger(config, ledger) if denied is None else denied.hint
