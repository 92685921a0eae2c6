"""Implements ``guardrail run``."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from guardrail.cli.app import report
from guardrail.cli.missing import explained, server_packages
from guardrail.cli.options import config_option, settings_of
from guardrail.cli.output import LEDGER, Style, remark
from guardrail.core.words import counted
from guardrail.errors import LedgerOpenError, os_reason
from guardrail.review.terminal import one_line
from guardrail.system.signals import handled
from guardrail.system.threads import BackgroundThread

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.proxy.embedded import EmbeddedProxy

__all__ = ["RunCounts", "count_calls", "run"]

FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes for errors that are not the program's own, as in env(1)."""
_FORWARDED = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_LOOK_S = 0.1
"""Maximum delay in seconds before a signal is handled that did not interrupt a blocking call."""
_OF_TERMINALS = frozenset({signal.SIGINT, signal.SIGQUIT})


class ProgramCommand(click.Command):
    """A command that exits with the exit code of the program that it runs. Failures of the command
    itself have separate codes.
    """

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Parse the command line as click does. Exits with 125 if the command line is invalid."""
        try:
            return super().make_context(*args, **more)
        except click.UsageError as error:
            report(error, ["run"])
            raise click.exceptions.Exit(FAILED) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Exits with 125 if it fails before or after the program."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the border of this command
            given = ctx.meta.get(LEDGER, {})
            if isinstance(error, LedgerOpenError):
                error = explained(error, given.get("config"), None)
            report(error, ["run"])
            raise click.exceptions.Exit(FAILED) from None


@click.command(
    cls=ProgramCommand,
    short_help="Run a program whose model's tool calls are governed.",
    context_settings={"allow_interspersed_args": False},
)
@config_option
@click.option(
    "--upstream",
    metavar="URL",
    help=(
        "URL of OpenAI's API or a compatible API. Default: OPENAI_BASE_URL, [proxy] upstream if "
        "--config specifies the settings file, or OpenAI's own URL."
    ),
)
@click.option(
    "--anthropic-upstream",
    metavar="URL",
    help="URL of Anthropic's API. Default: ANTHROPIC_BASE_URL, or Anthropic's own URL.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    *,
    config: Path | None,
    upstream: str | None,
    anthropic_upstream: str | None,
    command: Sequence[str],
) -> None:
    """Run a program, and check and record the tool calls in its model's responses.

    The command sets OPENAI_BASE_URL and ANTHROPIC_BASE_URL to the address of its own proxy. The
    exit code is the program's exit code, or 125 if guardrail itself fails, 126 if the program can't
    be executed, and 127 if the program does not exist.
    """
    from guardrail.guard import Guard
    from guardrail.ledger.reader import LedgerReader

    with server_packages():
        from guardrail.proxy.embedded import (
            UNGOVERNED,
            EmbeddedProxy,
            anthropic_api,
            upstream_in,
        )
        from guardrail.proxy.errors import ErrorFormat
        from guardrail.proxy.seen_tools import SeenTools, seen_path
    settings = settings_of(config)
    outside = os.environ
    openai = upstream or upstream_in(outside, ErrorFormat.OPENAI) or settings.trusted_proxy.upstream
    anthropic = anthropic_api(anthropic_upstream or upstream_in(outside, ErrorFormat.ANTHROPIC))
    for name in UNGOVERNED:
        if outside.get(name):
            remark(f"guardrail: {name} is set: requests to it are not governed", Style.WARN)
    with Guard.open(settings) as guard:
        with LedgerReader.open(settings.ledger.path) as reader:
            start = reader.size()
        seen = SeenTools(seen_path(settings.ledger.path))
        with EmbeddedProxy(
            guard,
            settings.proxy,
            openai=openai,
            anthropic=anthropic,
            seen=seen,
            notify=lambda line: remark(f"guardrail: {one_line(line)}"),
        ) as proxy:
            code = _run_program(command, proxy.environment(outside))
    _summarize(settings, proxy, start, code)
    raise click.exceptions.Exit(code)


def _run_program(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a program with this process's input and output. Return its exit code, or 128 plus the
    number of the signal that killed it. Exits if the program can't be started.
    """
    with _forwarding() as forward:
        try:
            program = subprocess.Popen(command, env=environment)
        except OSError as error:
            remark(f"error: {one_line(command[0])}: {os_reason(error)}", Style.BAD)
            missing = isinstance(error, FileNotFoundError)
            raise click.exceptions.Exit(NOT_FOUND if missing else NOT_EXECUTABLE) from None
        forward(program)
        code = _wait(program)
    return 128 - code if code < 0 else code


def _wait(program: subprocess.Popen[bytes]) -> int:
    """Wait until *program* has ended, and return its exit code. Signals are handled in the
    meantime.

    A signal that arrives just before a blocking call, or that the system delivers to a different
    thread, does not interrupt the call, and Python handles the signal only after the call. A second
    thread therefore waits for the program, and this thread polls for signals.
    """
    waiting = BackgroundThread(program.wait, "guardrail-program")
    waiting.start()
    while waiting.is_alive():
        waiting.join(_LOOK_S)
    return program.wait()


@contextmanager
def _forwarding() -> Generator[Any]:
    """Catch signals inside the block. The yielded function takes a program, and forwards to it all
    signals that have arrived so far and all later signals.

    A signal that the terminal also sends to the program is not forwarded, even if it arrives while
    the program starts, because many programs exit at once on a second signal.
    """
    early: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def handle(number: int, _: FrameType | None) -> None:
        if running:
            send(number)
        else:
            early.append(number)

    def send(number: int) -> None:
        if number not in _OF_TERMINALS or not _terminal_sends_it():
            running[0].send_signal(number)

    def forward(program: subprocess.Popen[bytes]) -> None:
        running.append(program)
        for number in early:
            send(number)

    with handled(
        [each for each in _FORWARDED if signal.getsignal(each) is not signal.SIG_IGN], handle
    ):
        yield forward


def _terminal_sends_it() -> bool:
    """Return True if Ctrl-C in the terminal also reaches the program, because the program is in the
    terminal's foreground process group.
    """
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False


class RunCounts(NamedTuple):
    """Counts of the calls recorded during a run."""

    calls: int
    denied: int
    rejected: int
    """Number of calls that were rejected before the policy was evaluated."""
    waiting: int
    unaccepted: int
    """Number of tools in denied calls that ``guardrail proxy accept`` shows."""


def count_calls(settings: Settings, start: int) -> RunCounts:
    """Count the calls that this process has recorded since record *start*."""
    from guardrail.approvals.rules import RequestState
    from guardrail.approvals.views import terms_of, utc_now
    from guardrail.ledger.reader import LedgerReader
    from guardrail.proxy.seen_tools import read_seen, seen_path
    from guardrail.review.approvals import open_requests
    from guardrail.review.records import parse
    from guardrail.review.values import obj, text

    calls, denied, rejected, undeclared = 0, 0, 0, set()
    requests: dict[str, str] = {}
    """The model's id of each call that needs approval."""
    with LedgerReader.open(settings.ledger.path) as reader:
        for seq, _, line in reader.lines(start):
            record = parse(line, seq)
            if record["type"] not in {"call.decision", "call.rejected"}:
                continue
            if record["origin"]["pid"] != os.getpid():
                continue
            if record["type"] == "call.rejected":
                calls, rejected = calls + 1, rejected + 1
                continue
            effect = record["decision"]["effect"]
            asked = text(record, "origin", "call_id")
            # A call that waited for approval has a second decision, which contains the approval.
            calls += requests.get(text(record, "approval", "id")) != asked
            denied += effect == "deny"
            tool = obj(record, "tool")
            if effect == "deny" and not tool.get("declared"):
                undeclared.add(tool.get("name"))
            if effect == "require_approval":
                requests[record["call"]] = asked
        found = open_requests(reader, terms_of(settings.approvals), utc_now()) if requests else []
        waiting = sum(
            each.state is RequestState.PENDING and each.case.request.id in requests
            for each in found
        )
    seen = {each.tool.name for each in read_seen(seen_path(settings.ledger.path))}
    return RunCounts(calls, denied, rejected, waiting, len(undeclared & seen))


def _summarize(settings: Settings, proxy: EmbeddedProxy, start: int, code: int) -> None:
    """Write a summary of the governed calls to stderr. *code* is the program's exit code."""
    if not proxy.requests and code:
        remark(
            f"guardrail: the program ended with code {code} before it sent a request", Style.WARN
        )
        return
    if not proxy.requests:
        remark(
            "guardrail: NOT GOVERNED: the program did not send any requests to the proxy",
            Style.WARN,
        )
        remark(
            "next:  configure the program to use OPENAI_BASE_URL or ANTHROPIC_BASE_URL "
            "(docs/proxy.md)"
        )
        return
    counts = count_calls(settings, start)
    parts = [counted(counts.calls, "call"), f"{counts.denied} denied"]
    if counts.rejected:
        parts.append(f"{counts.rejected} rejected")
    if counts.waiting:
        parts.append(f"{counts.waiting} waiting for approval")
    remark(f"guardrail: {counted(proxy.requests, 'request')}: {', '.join(parts)}")
    for provider, (count, problem) in proxy.unanswered.items():
        said = f"guardrail: {counted(count, 'request')} failed: {one_line(problem)}"
        remark(said, Style.WARN)
        option = "--upstream" if provider == "openai" else f"--{provider}-upstream"
        remark(f"next:  check {option}, or {provider.upper()}_BASE_URL")
    for failed in proxy.failed:
        ended = "refused" if failed.refused else "failed"
        said = f"{counted(failed.count, 'request')} {ended}: {one_line(failed.message)}"
        remark(f"guardrail: {said}", Style.WARN)
    if counts.calls:
        remark("look:  guardrail show last")
    if counts.unaccepted:
        remark(f"next:  guardrail proxy accept ({counted(counts.unaccepted, 'tool')} not accepted)")
    if counts.waiting:
        remark("next:  guardrail approvals")
