"""Implements ``guardrail witness``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.entries import CommandEntry
from guardrail.cli.options import json_option
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.core.words import counted
from guardrail.errors import ConfigError, NoteError, UsageError, os_reason
from guardrail.review.terminal import name, one_line
from guardrail.system.signals import ENDING, handled
from guardrail.system.threads import BackgroundThread

if TYPE_CHECKING:
    from guardrail.anchors.witness.server import WitnessServer
    from guardrail.core.log.checkpoint import NoteKey
    from guardrail.system.asgi_server import ServerTls
    from guardrail.system.listener import ListenAddress

__all__ = ["add", "init", "serve", "status", "witness"]

_HERE = "guardrail.cli.commands.witness"
_LOOPBACK = "127.0.0.1:8190"

_db = click.option(
    "--db",
    "db",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    required=True,
    metavar="FILE",
    help=(
        "The witness's database, which guardrail witness init creates. Never restore its backup."
    ),
)
_key = click.option(
    "--key",
    "key",
    type=click.Path(path_type=Path, readable=False, file_okay=False),
    required=True,
    metavar="FOLDER",
    help="Folder of the witness's key, mode 0700.",
)


@click.group(
    cls=LazyGroup,
    entries={
        "init": CommandEntry(_HERE, "init", "Create the key and the database of a witness."),
        "add": CommandEntry(_HERE, "add", "Register a log with a witness."),
        "serve": CommandEntry(_HERE, "serve", "Cosign the heads of logs, over HTTP."),
        "status": CommandEntry(
            _HERE, "status", "Show the logs that a witness serves, and the progress of each."
        ),
    },
    short_help="Run a witness: a second host that cosigns heads.",
)
def witness() -> None:
    """Run a witness: a second host that cosigns a head after checking that no earlier record has
    changed.
    """


@click.command(short_help="Create the key and the database of a witness.")
@_db
@_key
@click.option(
    "--name",
    "name_",
    required=True,
    metavar="NAME",
    help="Name with which the witness signs, for example witness.example.com/1.",
)
def init(*, db: Path, key: Path, name_: str) -> None:
    """Create the key and the database of a witness, and print the public key to use in [anchors]
    witness.
    """
    from guardrail.anchors.witness.store import WitnessStore
    from guardrail.keys.anchor_keys import WitnessKey

    if db.exists():
        raise ConfigError(
            f"{db}: the file already exists; nothing was created",
            code="witness.exists",
            hint="guardrail witness serve --db FILE --key FOLDER, or choose another --db",
        )
    made = WitnessKey.create(key, name_)
    WitnessStore.create(db, made.key).close()
    data(one_line(str(made.key)))
    remark(f"made  {key}/ and {db}")
    remark(
        "next:  guardrail witness add --db FILE --log KEY, with the key that guardrail keys "
        "prints for the log"
    )


@click.command(short_help="Register a log with a witness.")
@_db
@click.option(
    "--log",
    "logs",
    required=True,
    multiple=True,
    metavar="NAME+HASH+KEY",
    help="The log's public key, as printed by guardrail keys. May be repeated.",
)
def add(*, db: Path, logs: Sequence[str]) -> None:
    """Register a log with a witness. A running witness serves it immediately."""
    from guardrail.anchors.witness.store import WitnessStore

    keys = [_log_key(each) for each in logs]
    with WitnessStore.open(db) as store:
        for key in keys:
            new = store.add(key)
            data(f"{'added' if new else 'known'}  {name(key.name)}")


@click.command(short_help="Show the logs that a witness serves, and the progress of each.")
@_db
@click.option(
    "--since",
    "since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]),
    metavar="TIME",
    help=(
        "For the exit code, ignore heads that were refused before this time (UTC), because they "
        "have been investigated."
    ),
)
@json_option
def status(*, db: Path, since: datetime | None, as_json: bool) -> int:
    """Show the logs that a witness serves, the newest cosigned head of each log, and the signed
    heads that the witness refused.

    A refused head proves that a holder of the log's key forked or truncated the log, so the exit
    code is 1. The witness keeps such a head forever and always shows it. After you have
    investigated a refused head, use --since, so that only later heads cause exit code 1.
    """
    from guardrail.anchors.witness.store import WitnessStore

    with WitnessStore.open(db) as store:
        logs = store.logs()
        evidence = {log.key.name: store.evidence(log.key.name) for log in logs if log.refused}
        start = 0 if since is None else int(since.replace(tzinfo=UTC).timestamp())
        refused = any(store.refused_since(log.key.name, start) for log in logs)
    if as_json:
        document: list[dict[str, Any]] = [
            {
                "log": log.key.name,
                "key": str(log.key),
                "size": log.size,
                "refused": [str(each) for each in evidence.get(log.key.name, [])],
            }
            for log in logs
        ]
        emit_json({"logs": document})
        return Exit.NO if refused else Exit.YES
    for log in logs:
        far = "no head yet" if log.size is None else f"{counted(log.size, 'record')}"
        data(f"{name(log.key.name)}  {far}")
        if log.refused:
            line = (
                f"  REFUSED {counted(log.refused, 'signed head')} that did not continue the log "
                "(--json shows them)"
            )
            data(paint(line, Style.BAD))
    if not logs:
        remark("no log is registered")
        remark("next:  guardrail witness add --db FILE --log KEY")
    return Exit.NO if refused else Exit.YES


@click.command(short_help="Cosign the heads of logs, over HTTP.")
@_db
@_key
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="NAME+HASH+KEY",
    help="Also register and serve this log, as guardrail witness add does. May be repeated.",
)
@click.option(
    "--listen",
    "listen",
    default=_LOOPBACK,
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Address to listen on. Port 0 selects a free port.",
)
@click.option(
    "--unsafe-listen",
    "unsafe_listen",
    is_flag=True,
    help="Allow addresses other than loopback without TLS.",
)
@click.option(
    "--tls-cert",
    "tls_cert",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    metavar="FILE",
    help="Serve https with this certificate (PEM).",
)
@click.option(
    "--tls-key",
    "tls_key",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    metavar="FILE",
    help="Key of the certificate (PEM, no password).",
)
def serve(
    *,
    db: Path,
    key: Path,
    logs: Sequence[str],
    listen: str,
    unsafe_listen: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> int:
    """Cosign the heads of logs, over HTTP, until SIGTERM or Ctrl-C.

    The witness cosigns a head only if a proof shows that no earlier record has changed. It sends
    its signature only after the head is on disk.
    """
    from guardrail.anchors.witness.server import WitnessServer
    from guardrail.anchors.witness.store import WitnessStore
    from guardrail.keys.anchor_keys import WitnessKey
    from guardrail.keys.log_key import verify_signature

    keys = [_log_key(each) for each in logs]
    address = _address(listen)
    tls = _tls(tls_cert, tls_key)
    _check_binding(address, encrypted=tls is not None or unsafe_listen)
    mine = WitnessKey.load(key)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(WitnessStore.open(db, mine.key))
        for log in keys:
            store.add(log)
        try:
            server = WitnessServer(
                (address.host, address.port),
                store=store,
                cosign=mine.cosign,
                verify=verify_signature,
                tls=tls,
                any_host=not address.loopback,
                log=remark,
            )
        except OSError as error:
            raise ConfigError(
                f"can't listen on {listen} ({os_reason(error)})",
                code="witness.listen",
                hint="choose another port: --listen ADDRESS:PORT",
            ) from None
        stack.callback(server.server_close)
        stack.enter_context(_ended_by_signals(server))
        data(server.url)
        sys.stdout.flush()
        remark(f"{mine.key}: {counted(len(store.logs()), 'log')} served")
        server.serve_forever(poll_interval=0.1)
    return Exit.YES


def _ended_by_signals(server: WitnessServer) -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and Ctrl-C end ``serve_forever``, even if they arrive before it has started."""

    def stop(*_: object) -> None:
        # shutdown is called from a different thread, because it waits for the loop that this
        # handler interrupts.
        BackgroundThread(server.shutdown, "guardrail-witness-stop").start()

    return handled(ENDING, stop)


def _log_key(text: str) -> NoteKey:
    from guardrail.core.log.checkpoint import NoteKey

    try:
        return NoteKey.parse(text)
    except NoteError as error:
        raise UsageError(
            f"--log: {error.message}", hint="use the key printed by: guardrail keys"
        ) from None


def _address(listen: str) -> ListenAddress:
    """Return the address to listen on. Raises ``UsageError``."""
    from guardrail.system.listener import ListenAddress

    try:
        return ListenAddress.parse(listen)
    except ConfigError:
        raise UsageError(
            "--listen must be an IP address, a colon and a port", hint=f"--listen {_LOOPBACK}"
        ) from None


def _check_binding(address: ListenAddress, *, encrypted: bool) -> None:
    """Raise ``UsageError`` if other machines can reach *address* without encryption."""
    from guardrail.system.listener import check_binding

    try:
        # Callers do not need a token, because each head is signed by its log's key.
        check_binding(address, tls=encrypted, authenticated=True)
    except ConfigError:
        raise UsageError(
            "other machines can reach this address, and traffic would not be encrypted",
            hint=(
                "use --tls-cert and --tls-key, or --unsafe-listen: heads contain no secrets, but "
                "anyone can see the sizes of the logs"
            ),
        ) from None


def _tls(cert: Path | None, key: Path | None) -> ServerTls | None:
    from guardrail.system.asgi_server import server_tls

    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("--tls-cert and --tls-key must be used together", hint="pass both")
    return server_tls(cert, key, code="witness.tls")
