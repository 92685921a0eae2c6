"""Names who acts on a ledger: the field ``actor`` of administrative records and of reads.

By default, this is the operating-system user of this process, whom guardrail does not verify. A
command that was given a token acts as the token's verified principal instead, inside ``acting_as``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.config import Settings
from guardrail.errors import IdentityError, os_reason
from guardrail.identity.claims import VerifiedIdentity
from guardrail.identity.token_text import MAX_TOKEN, SecretText
from guardrail.system.input_files import read_input
from guardrail.system.os_user import user_name

if TYPE_CHECKING:
    from guardrail.identity.tokens import VerifiedToken

__all__ = ["VerifiedActor", "acting_as", "check_actor", "current_actor", "read_token_file"]


@dataclass(frozen=True, slots=True)
class VerifiedActor:
    """The principal of a token, as the actor of records."""

    token: VerifiedToken
    """The token, which is checked again for each record."""
    recorded: Callable[[], tuple[str, str]]
    """Returns the principal's id as the ledger contains it, and its form: ``clear`` or ``token``,
    as for the principal of a call.
    """

    def document(self) -> dict[str, str]:
        """Return the field ``actor``. Raises ``IdentityError`` if the token has expired, or can no
        longer be verified, and the exceptions of ``recorded``.
        """
        from guardrail.identity.tokens import EXPIRED

        refusal = self.token.refusal()
        if refusal:
            why = "has expired" if refusal == EXPIRED else "can no longer be verified"
            raise IdentityError(
                f"the token of this command {why}, so no further record can name its principal",
                code="identity.token.expired" if refusal == EXPIRED else "identity.token.key",
                hint="get a new token, and run the command again",
            )
        principal = self.token.identity.principal
        id_, form = self.recorded()
        found = {
            "id": id_,
            "assurance": str(principal.assurance),
            "method": principal.method,
            "type": principal.type,
            "issuer": str(principal.issuer),
            "os_user": user_name(),
        }
        if form != "clear":
            found["form"] = form
        if principal.authenticated_at is not None:
            found["authenticated_at"] = principal.authenticated_at
        return found


_acting: ContextVar[VerifiedActor | None] = ContextVar("guardrail_actor", default=None)


@contextmanager
def acting_as(actor: VerifiedActor) -> Iterator[None]:
    """Make *actor* the actor of the records that this thread writes inside the block."""
    before = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(before)


def current_actor() -> dict[str, str]:
    """Return the actor of a record that is written now: the principal of the command's token, or
    the operating-system user of this process, marked as asserted. The user's name comes from the
    user id, not from environment variables.

    Raises ``IdentityError`` if the command's token can no longer be used.
    """
    actor = _acting.get()
    if actor is not None:
        return actor.document()
    return {"id": user_name(), "assurance": "asserted", "method": "os_user"}


def check_actor(verified: VerifiedIdentity, settings: Settings | None) -> None:
    """Raise ``IdentityError`` unless the principal of a token may act on the ledger of *settings*.
    Without settings, the tenant is not checked.

    A token that names no tenant could be that of anyone at its issuer. It is accepted only if
    *settings* have no tables for tenants.
    """
    if verified.delegation:
        raise IdentityError(
            "the token belongs to a program that acts for a person (act), and such a program can't "
            "administer or read a ledger",
            code="identity.actor",
            hint="sign in, and use the token that is issued to you",
        )
    if settings is None:
        return
    if verified.tenant is None and (settings.tenants or settings.tenant_table):
        raise IdentityError(
            "the token names no tenant, so it can't be used for the ledger of one of several "
            "tenants",
            code="identity.tenant",
            hint="set tenant or tenant_claim in the table of the token's issuer (docs/identity.md)",
        )
    if verified.tenant is not None and verified.tenant != settings.identity.tenant:
        raise IdentityError(
            "the token belongs to another tenant than the ledger",
            code="identity.tenant",
            hint="select the token's own tenant with --tenant NAME",
        )


def read_token_file(path: Path) -> SecretText:
    """Return the token in the file *path*.

    Raises ``IdentityError`` if the file can't be read, is too large, or can be read by others.
    """
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        text = read_input(path, MAX_TOKEN + 1)
    except OSError as error:
        raise IdentityError(
            f"{path} can't be read ({os_reason(error)})",
            code="identity.token_file",
            hint="put your access token alone into the file, with mode 0600",
        ) from None
    if mode & 0o077:
        raise IdentityError(
            f"{path}: others can read it (mode {mode:o})",
            code="identity.token_exposed",
            hint=f"chmod 600 {path}",
        )
    return SecretText(text.decode("ascii", "replace").strip())
