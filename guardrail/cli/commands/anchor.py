"""Implements ``guardrail anchor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import (
    json_option,
    ledger_options,
    open_ledger,
    settings_for,
    settings_of,
)
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.cli.render import clock
from guardrail.cli.retention_ledger import reason_option
from guardrail.core.words import counted
from guardrail.errors import ConfigError
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.anchors.sending import AnchorAnswer

__all__ = ["anchor"]


@click.command(short_help="Send the current signed head to every anchor now.")
@click.argument("action", type=click.Choice(["forget", "move"]), required=False)
@click.argument("path", type=click.Path(path_type=Path, readable=False), required=False)
@click.option("--lost", is_flag=True, help="With move: the old file is lost; use its newest head.")
@reason_option
@ledger_options
@json_option
def anchor(
    *,
    action: str | None,
    path: Path | None,
    lost: bool,
    reason: str | None,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
) -> int:
    """Send the current signed head to every anchor in [anchors], and show each anchor's response.

    Guards send heads automatically. Use this command to send a head immediately, and to check that
    the anchors work. If an anchor has a head that contradicts the ledger, the exit code is 1, and
    `guardrail verify` explains the contradiction.

    `anchor forget PATH` removes this machine's memory of the ledger at PATH, for a ledger that was
    deleted deliberately. Exit code 0: the memory was removed, or there was none.

    `anchor move OLD --reason TEXT` copies the heads in the anchor file OLD to the file that is now
    set in [anchors]. Use it after you have changed that setting. Heads that were signed by a
    different key and that the ledger contradicts are not copied, but listed.
    """
    if action != "move" and (lost or reason is not None):
        raise click.UsageError(
            "only guardrail anchor move takes --lost and --reason", click.get_current_context()
        )
    if action == "move":
        from guardrail.cli.commands.anchor_move import move

        return move(path, config, ledger, reason=reason, lost=lost, as_json=as_json)
    if action == "forget":
        return _forget_memory(path, config, ledger, as_json=as_json)
    from guardrail.anchoring import LedgerHeads, anchors_of
    from guardrail.anchors.sending import send_now
    from guardrail.identity.actor import current_actor
    from guardrail.wiring.opening import load_keys

    with open_ledger(config, ledger) as reader:
        log, where = reader.log, reader.path
    settings = settings_for(config, ledger)
    signing = load_keys(settings).signing(actor=current_actor(), epochs=False)
    anchors = anchors_of(settings, signing, log)
    if not anchors:
        raise ConfigError(
            "no anchor is configured: anyone who can write the ledger can truncate it undetected",
            code="config.anchors",
            hint=(
                "set file, witness or another anchor in [anchors] of guardrail.toml "
                "(docs/anchors.md)"
            ),
        )
    answers = list(send_now(where, LedgerHeads(where, log, signing), anchors))
    code = _exit_code(answers)
    if as_json:
        emit_json({"exit": int(code), "log": log, "anchors": [_document(each) for each in answers]})
        return code
    for each in answers:
        _print_answer(each)
    return code


def _forget_memory(
    path: Path | None, config: Path | None, ledger: Path | None, *, as_json: bool
) -> int:
    from guardrail.access_log.memory import AccessMemory
    from guardrail.anchors.memory import HeadMemory, memory_folder
    from guardrail.keys.log_key import verify_signature

    settings = settings_of(config, ledger)
    folder = memory_folder(settings.anchors)
    where = path if path is not None else settings.ledger.path
    done = AccessMemory(settings, where.absolute()).forget()
    if folder is not None:
        done = HeadMemory(folder, where, verify_signature).forget() or done
    if as_json:
        emit_json({"exit": int(Exit.YES), "path": str(where), "forgotten": done})
    elif done:
        data(f"{paint('forgotten', Style.GOOD)}  {one_line(str(where))}")
    else:
        data(f"nothing was remembered for {one_line(str(where))}")
    return Exit.YES


def _exit_code(answers: list[AnchorAnswer]) -> Exit:
    codes = {each.state.code for each in answers}
    if "anchor.conflict" in codes:
        return Exit.NO
    return Exit.YES if codes == {""} else Exit.UNKNOWN


def _print_answer(answer: AnchorAnswer) -> None:
    from guardrail.anchors.anchor import timestamp

    state = answer.state
    if not state.code:
        far = f"{counted(state.size, 'record')}, {clock(timestamp(state.time))}"
        data(f"{paint('kept', Style.GOOD)}    {name(answer.name)}  {far}")
        return
    word = "NO" if state.code == "anchor.conflict" else "failed"
    data(f"{paint(word.ljust(6), Style.BAD)}  {name(answer.name)}  {one_line(state.message)}")
    if state.hint:
        remark(f"next:  {one_line(state.hint)}")


def _document(answer: AnchorAnswer) -> dict[str, Any]:
    from guardrail.anchors.anchor import timestamp

    state = answer.state
    return {
        "name": answer.name,
        "kept": not state.code,
        "size": state.size or None,
        "ts": timestamp(state.time) if state.size else None,
        "code": state.code or None,
        "message": state.message or None,
        "hint": state.hint or None,
    }
