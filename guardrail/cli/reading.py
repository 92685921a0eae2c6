"""Records every command that reads a ledger in the access log before the command shows anything.

The commands do not contain code for this. Each command is wrapped when it is loaded, unless its
entry in the table of commands says that it does not read records, so a new command can't be
forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from guardrail.cli.options import SUBJECT, open_ledger_or_copy, settings_for
from guardrail.cli.output import ACCESS, Style, remark
from guardrail.core.words import counted
from guardrail.errors import AccessError, ConfigError, LedgerOpenError
from guardrail.review.terminal import one_line

__all__ = [
    "REASON",
    "access_log",
    "access_log_incomplete",
    "access_log_lost",
    "limit_reads",
    "recorded_command",
    "recorded_in",
]

_VARIABLE = "GUARDRAIL_ACCESS_REASON"
_PATH = "guardrail.access.path"
_CODE = "guardrail.access.code"
_HINT = "guardrail.access.hint"
_REASON = "guardrail.access.reason"
_UNSAID = frozenset({"config", "ledger", "as_json", "reason", "access_reason", "token_file"})
"""Parameters that the record already contains, or that do not affect which records are read."""
_FILES = ("exported", "segment", "backup")
"""Parameters for a file to read instead of a ledger."""


def _store_reason(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    ctx.meta[_REASON] = value


REASON = click.Option(
    ["--reason", "access_reason"],
    metavar="TEXT",
    expose_value=False,
    callback=_store_reason,
    help="Reason for reading, recorded in the access log. Default: GUARDRAIL_ACCESS_REASON.",
)


def recorded_command(
    command: click.Command, *, access_log_itself: bool, instead: str
) -> click.Command:
    """Return *command*, wrapped so that every run on a ledger is recorded.

    If *access_log_itself* is True, the command reads the access log. A command does not read a
    ledger if its parameter *instead* is set, or if it has no ``--ledger`` option.
    """
    names = {parameter.name for parameter in command.params}
    body = command.callback
    if isinstance(command, click.Group) or "ledger" not in names or body is None:
        return command
    if isinstance(body, _RecordedCommand):
        return command
    if "reason" not in names:
        command.params.append(REASON)
    command.callback = _RecordedCommand(body, access_log_itself=access_log_itself, instead=instead)
    return command


class _RecordedCommand:
    """Runs a command's body after recording that it runs."""

    def __init__(self, body: Callable[..., Any], *, access_log_itself: bool, instead: str) -> None:
        self._body = body
        self._access_log_itself = access_log_itself
        self._instead = instead

    def __call__(self, *args: Any, **params: Any) -> Any:
        if not self._instead or params.get(self._instead) is None:
            _record_read(params, access_log_itself=self._access_log_itself)
        return self._body(*args, **params)


def _record_read(params: Mapping[str, Any], *, access_log_itself: bool) -> None:
    """Record the current command's read. Raises ``AccessError`` if the read must be recorded but
    can't be.
    """
    context = click.get_current_context()
    file = next((params[name] for name in _FILES if params.get(name) is not None), None)
    try:
        settings = settings_for(params.get("config"), params["ledger"])
    except ConfigError as error:
        if file is not None:
            _without_settings(error, params)
        return  # there is no ledger to read; the command itself reports that
    from guardrail.access_log.log import MAX_PURPOSE, PlannedRead, UnrecordedRead, record_read

    if access_log_itself:
        settings = settings.override(
            ledger={"path": settings.access_path},
            access={"path": settings.access_path, "keys": settings.access_key_path},
        )
    names, texts = _given_values(context, params)
    subjects = {
        parameter.name or "" for parameter in context.command.params if parameter.type is SUBJECT
    }
    own = str(params.get("reason") or "")[:MAX_PURPOSE]
    reading = PlannedRead(
        command=" ".join(context.command_path.split()[1:]),
        names=names,
        texts=texts,
        subjects=subjects,
        purpose=own or context.meta.get(_REASON) or os.environ.get(_VARIABLE, ""),
    )
    done = record_read(settings, reading, file=file)
    if done is None:
        return
    context.meta[_PATH] = done.path
    context.meta[ACCESS] = done.why if isinstance(done, UnrecordedRead) else None
    context.meta[_CODE] = done.code if isinstance(done, UnrecordedRead) else ""
    context.meta[_HINT] = done.hint if isinstance(done, UnrecordedRead) else ""
    if isinstance(done, UnrecordedRead):
        warning = f"this read is not recorded in the access log {done.path}: {done.why}"
        remark(f"warning: {one_line(warning)}", Style.WARN)
        if done.hint:
            remark(f"next:  {one_line(done.hint)}")


def _without_settings(error: ConfigError, params: Mapping[str, Any]) -> None:
    """Warn that the read of a file is not recorded. Raises *error* if the settings were specified
    explicitly.
    """
    if params.get("config") is not None:
        raise error
    warning = (
        "this read is not recorded in an access log: the settings found here can't "
        f"be read ({error.message})"
    )
    remark(f"warning: {one_line(warning)}", Style.WARN)


def _given_values(
    context: click.Context, params: Mapping[str, Any]
) -> tuple[dict[str, object], dict[str, object]]:
    """Return the values from the command line as two groups: names and paths, and free text."""
    names: dict[str, object] = {}
    texts: dict[str, object] = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in _UNSAID or not parameter.expose_value:
            continue  # the log belongs to the tenant, so the record need not name it
        if context.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        free = isinstance(parameter, click.Option) and parameter.type is click.STRING
        label = max(parameter.opts, key=len).lstrip("-") if free or name else name
        # The record contains the file's path, and this field states how the file was read.
        value = True if name in _FILES else params.get(name)
        (texts if free else names)[label] = value
    return names, texts


def recorded_in() -> Path | None:
    """Return the path of the access log that recorded or should have recorded the current command,
    or None if there is no ledger.
    """
    path: Path | None = click.get_current_context().meta.get(_PATH)
    return path


def limit_reads(most: int) -> None:
    """Check that this user has run the current command at most *most* times in the last minute,
    according to the access log.

    Raises ``AccessError`` if the access log did not record this run, or if there were more runs.
    """
    from datetime import UTC, datetime, timedelta

    from guardrail.review.access import recent_reads

    context = click.get_current_context()
    path = recorded_in()
    if path is None or context.meta.get(ACCESS) is not None:
        raise AccessError(
            "this command runs only if it is recorded in the access log",
            code="access.required",
            hint=str(context.meta.get(_HINT) or "guardrail doctor"),
        )
    since = datetime.now(UTC) - timedelta(minutes=1)
    command = " ".join(context.command_path.split()[1:])
    with open_ledger_or_copy(path) as reader:
        stamp = since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        count = recent_reads(reader, command, os.getuid(), stamp, most + 1)
    if count > most:
        raise AccessError(
            f"guardrail {command} may be used {counted(most, 'time')} in a minute by one user",
            code="access.limit",
            hint="wait a minute; [review] finds_per_minute sets the limit",
        )


def access_log_lost() -> str:
    """Return the reason why the access log does not belong to the ledger, according to this
    machine's memory, or an empty string if it does.
    """
    from guardrail.access_log.memory import LOST

    meta = click.get_current_context().meta
    return str(meta[ACCESS]) if meta.get(_CODE) in LOST else ""


def access_log_incomplete() -> str:
    """Return the reason why the access log is incomplete (its file or its keys are missing), or an
    empty string if it is complete.
    """
    meta = click.get_current_context().meta
    if meta.get(_CODE) != "access.half":
        return ""
    return f"{meta[ACCESS]} (the access log {meta[_PATH]}); {meta[_HINT]}"


def _refuse_incomplete() -> None:
    """Raise ``LedgerOpenError`` if there was an access log, or only part of one is left. ``doctor``
    also reports this.
    """
    from guardrail.review.doctor.access import access_log as look
    from guardrail.review.doctor.result import CheckState

    params = click.get_current_context().params
    try:
        found = look(settings_for(params.get("config"), params.get("ledger")))
    except ConfigError:
        return
    if found.state is not CheckState.OK:
        raise LedgerOpenError(found.found, code="access.missing", hint=found.fix)


def access_log() -> Path:
    """Return the result of ``recorded_in``. Raises ``LedgerOpenError`` if there is no access
    log.
    """
    path = recorded_in()
    if path is None or not path.exists():
        _refuse_incomplete()
    if path is None or not path.exists():
        raise LedgerOpenError(
            "there is no access log, so no reads of this ledger are recorded",
            code="ledger.missing",
            hint="guardrail sessions, or any other command that reads records, creates one",
        )
    return path
