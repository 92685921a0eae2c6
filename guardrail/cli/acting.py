"""Lets every command that writes administrative records or records of reads act as the verified
principal of a token.

The commands do not contain code for this. Each command is wrapped when it is loaded, as its entry
in the table of commands says. The token is verified before the command does anything.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.entries import CommandActor, CommandEntry, CommandReads
from guardrail.cli.every_tenant import in_every_tenant, wants_every_tenant
from guardrail.errors import ConfigError, IdentityError

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.identity.actor import VerifiedActor

__all__ = ["TOKEN_FILE", "ActingCommand", "acting_command", "acting_on", "token_of_command"]

_VARIABLE = "GUARDRAIL_TOKEN_FILE"
_GIVEN = "guardrail.token_file"
_ACTOR = "guardrail.actor"


def _store(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    ctx.meta[_GIVEN] = value


TOKEN_FILE = click.Option(
    ["--token-file", "token_file"],
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    expose_value=False,
    callback=_store,
    help="File with your access token: records name its principal. Default: GUARDRAIL_TOKEN_FILE.",
)


def acting_command(command: click.Command, entry: CommandEntry) -> click.Command:
    """Return *command* with the option ``--token-file``, wrapped so that it acts as the principal
    of the token, if its *entry* says that it writes records that name an actor.
    """
    body = command.callback
    names = {parameter.name for parameter in command.params}
    if isinstance(command, click.Group) or body is None:
        return command
    reads = entry.reads is not CommandReads.NO_RECORDS and "ledger" in names
    if entry.actor is CommandActor.READER and not reads:
        return command
    command.params.append(TOKEN_FILE)
    command.callback = ActingCommand(body, entry)
    return command


def token_of_command() -> VerifiedActor | None:
    """Return the actor of the current command, or None if it was given no token."""
    found: VerifiedActor | None = click.get_current_context().meta.get(_ACTOR)
    return found


class ActingCommand:
    """Runs a command's body as the principal of its token."""

    def __init__(self, body: Callable[..., Any], entry: CommandEntry) -> None:
        self._body = body
        self._entry = entry

    def __call__(self, *args: Any, **params: Any) -> Any:
        if not wants_every_tenant():
            return self._run(*args, **params)
        once = functools.partial(self._run, *args, **params)
        return in_every_tenant(params["config"], params["as_json"], once)

    def _run(self, *args: Any, **params: Any) -> Any:
        context = click.get_current_context()
        named = context.meta.get(_GIVEN) or os.environ.get(_VARIABLE) or None
        if named is None:
            if self._changes(params):
                _require_token(params, self._entry.actor)
            return self._body(*args, **params)
        from guardrail.identity.actor import acting_as

        actor = _actor(Path(named), params, self._entry.actor)
        context.meta[_ACTOR] = actor
        with acting_as(actor):
            return self._body(*args, **params)

    def _changes(self, params: Mapping[str, Any]) -> bool:
        """Return True if this run of the command changes a ledger."""
        action = self._entry.instead
        needs_token = self._entry.actor in (CommandActor.OPERATOR, CommandActor.TENANTS)
        if not needs_token or params.get("dry_run"):
            return False
        return not action or params.get(action) is not None


def _require_token(params: Mapping[str, Any], kind: CommandActor) -> None:
    """Raise ``IdentityError`` if the settings accept only verified identities, or if those of the
    tenant do that the command changes.
    """
    try:
        settings = _settings(params)
    except ConfigError:
        return  # the command itself reports that
    changed = settings.tenants.get(params["name"]) if kind is CommandActor.TENANTS else None
    if "verified" in (settings.identity.require, (changed or settings).identity.require):
        raise IdentityError(
            'the settings accept only verified identities ([identity] require = "verified"), and '
            "this command changes the ledger",
            code="identity.unverified",
            hint=f"add --token-file FILE with your access token, or set {_VARIABLE}",
        )


def _settings(params: Mapping[str, Any]) -> Settings:
    from guardrail.cli.options import settings_for
    from guardrail.config import Settings

    if "ledger" in params:
        return settings_for(params.get("config"), params["ledger"])
    return Settings.chosen(params.get("config"))


def _actor(path: Path, params: Mapping[str, Any], kind: CommandActor) -> VerifiedActor:
    """Return the principal of the token in the file *path*. Raises ``IdentityError``,
    ``ConfigError``, or ``KeysError`` if the settings hide ids and the keys can't be read.
    """
    from guardrail.identity.actor import VerifiedActor, check_actor, read_token_file
    from guardrail.identity.tokens import FETCH_WAIT_S, TokenVerifier

    secret = read_token_file(path)
    settings = _settings(params)
    token = TokenVerifier(settings).verify(secret, wait=FETCH_WAIT_S)
    # An answer is checked against the tenant of its request.
    try:
        check_actor(token.identity, None if kind is CommandActor.APPROVER else settings)
    except IdentityError as error:
        if kind is CommandActor.TENANTS and error.code == "identity.tenant":
            own = settings.identity.tenant
            error.hint = f"use a token that belongs to tenant {own} ([identity] tenant)"
        raise
    recorded = functools.cache(
        functools.partial(_recorded_id, token.identity.principal.id, settings)
    )
    if kind is not CommandActor.TENANTS:
        recorded()  # if the keys can't be read, the command does nothing
    return VerifiedActor(token, recorded)


def _recorded_id(id_: str, settings: Settings) -> tuple[str, str]:
    """Return *id_* as the ledger of *settings* contains it, and its form. Raises ``KeysError``."""
    from guardrail.core.redaction.detectors.scan import scan_secrets
    from guardrail.wiring.opening import load_keys

    if settings.identity.principal_form != "token" and not scan_secrets(id_):
        return id_, "clear"
    keys = load_keys(settings).tenant(settings.identity.tenant)
    return keys.token("principal", id_), "token"


@contextlib.contextmanager
def acting_on(settings: Settings) -> Iterator[None]:
    """Let the records that are written inside the block name the command's actor as the ledger of
    *settings* does, which belongs to another tenant than the command's own. The keys of that ledger
    are read for the first record, so they can be created inside the block.
    """
    from guardrail.identity.actor import VerifiedActor, acting_as

    actor = token_of_command()
    if actor is None:
        yield
        return
    id_ = actor.token.identity.principal.id
    recorded = functools.cache(functools.partial(_recorded_id, id_, settings))
    with acting_as(VerifiedActor(actor.token, recorded)):
        yield
