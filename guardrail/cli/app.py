"""Defines the command tree, loads each command on first use, and converts every exception to an
exit code.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path

import click

from guardrail.cli.entries import COMMANDS, GROUPS, CommandEntry, CommandReads
from guardrail.cli.missing import explained
from guardrail.cli.output import LEDGER, Style, remark
from guardrail.errors import (
    ApprovalRequired,
    Denied,
    GuardrailError,
    LedgerOpenError,
    UsageError,
    os_reason,
)
from guardrail.review.terminal import one_line
from guardrail.system.ownership import denial_of

__all__ = ["Exit", "LazyGroup", "cli", "report", "run"]


class Exit(IntEnum):
    """Exit codes. "No" and "could not be determined" never share a code."""

    YES = 0
    NO = 1
    """The answer is no: tampered, a test failed, denied."""
    USAGE = 2
    UNKNOWN = 3
    """The answer could not be determined."""
    BUG = 4
    RESERVED = 5
    """Yes, with a caveat."""
    INTERRUPTED = 130
    PIPE = 141
    """The reader of stdout closed it before all output was written."""


_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors that mean that stdout can't accept more output. Code that writes guardrail's own files
converts these errors to guardrail's own.
"""

_EXISTS = (".exists", ".exist")
"""Suffixes of error codes for files that already exist. These are usage errors, because the command
line asked to create the files.
"""


class LazyGroup(click.Group):
    """A group whose commands are imported on use, but not for the list in ``--help``."""

    def __init__(
        self,
        *args: object,
        entries: Mapping[str, CommandEntry],
        groups: Mapping[str, Sequence[str]] | None = None,
        **kwargs: object,
    ) -> None:
        """Create a group of the commands in *entries*. *groups* maps the titles of the sections in
        the help's list of commands to the names in each section; without it, there is one section.
        """
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.entries = entries
        self.groups = {"Commands": tuple(entries)} if groups is None else groups

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of ``--help``."""
        return [name for names in self.groups.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command *cmd_name*."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        from guardrail.cli.acting import ActingCommand, acting_command

        if isinstance(command.callback, ActingCommand):
            return command
        if entry.reads is not CommandReads.NO_RECORDS:
            from guardrail.cli.reading import recorded_command

            command = recorded_command(
                command,
                access_log_itself=entry.reads is CommandReads.ACCESS_LOG,
                instead=entry.instead,
            )
        return acting_command(command, entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, with aligned summaries, from the entries alone."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.groups.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), self.entries[name].summary) for name in names]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command as click does. If it does not exist, suggest the nearest name."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("guardrail-ledger")
    except PackageNotFoundError:
        found = "not installed"
    click.echo(f"guardrail {found}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    groups=GROUPS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit codes: 0 yes, 1 no, 2 usage error, 3 undetermined, 4 a bug, 5 yes, with a caveat."
    ),
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Check an agent's tool calls against policy, record each one before it runs, and review them
    later.
    """


_MISSING = frozenset({"config.policies", "ledger.missing"})
"""Codes of errors that a command can raise because it was started in the wrong folder."""


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code. No exception leaves this function."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the parent process closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_stdout()
        return Exit.PIPE
    except OSError as error:
        _discard_stdout()
        remark(f"error: the output can't be written ({os_reason(error)})", Style.BAD)
        return Exit.UNKNOWN
    except (KeyboardInterrupt, click.Abort):
        remark("interrupted")
        return Exit.INTERRUPTED


def _discard_stdout() -> None:
    """Discard unwritten output, because the interpreter flushes it once more at exit and would
    report an error.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(args: Sequence[str]) -> int:
    try:
        # cli.main is not used, because it would exit with the code for "no" if the pipe is closed.
        with cli.make_context("guardrail", list(args)) as context:
            try:
                result = cli.invoke(context)
            except GuardrailError as error:
                given = context.meta.get(LEDGER)
                if given is None or not isinstance(error, LedgerOpenError):
                    raise
                raise explained(error, given.get("config"), given.get("ledger")) from None
        return int(result) if isinstance(result, int) else Exit.YES
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (BrokenPipeError, click.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - the border of the command line
        return report(error, args)


def report(error: Exception, args: Sequence[str]) -> Exit:
    """Write an error raised by the command line *args* to stderr, and return its exit code. Raises
    ``OSError`` if the disk is full.
    """
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        remark(error.format_message())
        return Exit.USAGE
    if isinstance(error, click.UsageError):
        _report_usage(error)
        return Exit.USAGE
    if isinstance(error, click.ClickException):
        remark(f"error: {one_line(error.format_message())}", Style.BAD)
        return Exit.UNKNOWN
    if isinstance(error, GuardrailError):
        report_error(error, args)
        return code_of(error)
    if isinstance(error, OSError):
        if error.errno in _DISK:
            raise error
        missing = denial_of(error, Path())
        if missing is not None:
            remark(f"error: permission denied: {one_line(missing.what)}", Style.BAD)
            remark(f"next:  {one_line(missing.hint)}")
            return Exit.UNKNOWN
    _report_bug(error)
    return Exit.BUG


def _report_usage(error: click.UsageError) -> None:
    remark(f"error: {one_line(error.format_message())}", Style.BAD)
    if error.ctx is not None:
        remark(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help'.")


def report_error(error: GuardrailError, args: Sequence[str]) -> None:
    """Write an error raised by the command line *args*, and the next step, to stderr."""
    from guardrail.cli.hints import command_path, other_than
    from guardrail.config.source import with_source

    place = _without_project(error, args)
    remark(f"error: {one_line(with_source(error.message))}{place}", Style.BAD)
    if error.hint:
        hint = other_than(error.hint, command_path(cli, args), args)
        if place:
            begin = "change to your project's folder"
            hint = f"{begin}, or run {hint}" if hint == "guardrail init" else f"{begin}; {hint}"
        remark(f"next:  {one_line(hint)}")


def _without_project(error: GuardrailError, args: Sequence[str]) -> str:
    """Return a note with the folder in which guardrail looked for settings, if the cause of *error*
    may be that the command was started in the wrong folder. Otherwise, return an empty string.
    """
    from guardrail.config import ENVIRONMENT
    from guardrail.config.file import FILE_NAME, find

    named = any(each.startswith(("--config", "--ledger")) for each in args)
    if error.code not in _MISSING or named or any(map(os.environ.get, ENVIRONMENT)) or find():
        return ""
    return f" (no {FILE_NAME} in {one_line(os.getcwd())} or a parent folder)"


def code_of(error: GuardrailError) -> Exit:
    """Return the exit code for an error that guardrail raised deliberately."""
    if isinstance(error, Denied | ApprovalRequired):
        return Exit.NO
    wrong_use = isinstance(error, UsageError) or error.code.endswith(_EXISTS)
    return Exit.USAGE if wrong_use else Exit.UNKNOWN


def _report_bug(error: Exception) -> None:
    if os.environ.get("GUARDRAIL_DEBUG") == "1":
        remark("".join(traceback.format_exception(error)))
    # The message may quote a record, so only its type and location are shown.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    remark(f"error: a bug in guardrail: {type(error).__name__}{place}", Style.BAD)
    remark(
        "next:  run the command again with GUARDRAIL_DEBUG=1 and report what it prints, "
        "after checking that it contains nothing confidential"
    )
