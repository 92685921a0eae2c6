"""Opens a ledger to suspend and resume, and turns the names that a person typed into subjects."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from guardrail.config import Settings
from guardrail.core.log.suspensions import Subject, SubjectKind
from guardrail.core.redaction.marks import MARK_PREFIX, is_mark
from guardrail.core.redaction.redactor import Redactor
from guardrail.errors import IdentityError, UsageError
from guardrail.identity.actor import current_actor
from guardrail.identity.principal import check_name
from guardrail.keys.log_key import Keys
from guardrail.ledger.suspending import Suspender
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.wiring.opening import open_journal
from guardrail.wiring.requests import LedgerRequests

__all__ = [
    "is_displayed_token",
    "open_suspender",
    "recorded_forms",
    "recorded_subject",
    "subject_of",
]

_DISPLAYED = re.compile(
    r"\[?[a-z][a-z0-9_]{0,31} [a-z0-9]{1,6}(?:\u2026|\.{2,3})\]?|\[gr1:.*|gr1:.*|\[[^\]]*\u2026"
)
_FORMS = "principal:ID, agent:ID, tool:NAME or all"


@contextlib.contextmanager
def open_suspender(settings: Settings) -> Iterator[tuple[Suspender, Keys]]:
    """Open the existing ledger in *settings*, which guards may have open too. Yield it with its
    keys.

    Raises ``LedgerError`` and ``KeysError``.
    """
    journal, keys = open_journal(settings, epochs=False)
    with contextlib.closing(journal):
        writer = journal.ledger
        assert isinstance(writer, LedgerWriter)
        signing = keys.signing(actor=current_actor(), epochs=False)
        reads = LedgerRequests(settings.ledger.path, writer, signing)
        yield Suspender(reads.suspensions, journal.admin), keys


def subject_of(text: str, example: str = 'guardrail suspend agent:ID --reason "..."') -> Subject:
    """Return the subject that *text* names: ``all``, or a kind and an id separated by the first
    ``:``. An id has no wildcards. Raises ``UsageError``, whose hint is *example*, with
    the kind that was given.
    """
    kind, colon, id_ = text.partition(":")
    if text == "all":
        return Subject(SubjectKind.ALL)
    known = {str(each): each for each in SubjectKind if each is not SubjectKind.ALL}
    if not colon or kind not in known:
        raise UsageError(f"the subject must be {_FORMS}", hint=example)
    try:
        id_ = check_name(id_.strip(), f"the id after {kind}:")
    except IdentityError as error:
        raise UsageError(error.message, hint=example.replace("agent:", f"{kind}:")) from None
    form = "token" if id_.startswith(MARK_PREFIX) else "clear"
    return Subject(known[kind], id_, form)


def is_displayed_token(subject: Subject) -> bool:
    """Return True if the id of *subject* has the form in which commands show a token, or of a part
    of a token. Such a text is not the token, so a suspension of it probably stops nobody.
    """
    return not is_mark(subject.id) and _DISPLAYED.fullmatch(subject.id) is not None


def recorded_subject(subject: Subject, settings: Settings, keys: Keys) -> Subject:
    """Return *subject* with the id in its recorded form, which is a token if the records of calls
    contain this id as a token.
    """
    if subject.form == "token" or subject.kind is SubjectKind.ALL:
        return subject
    tokens = keys.tenant(settings.identity.tenant)
    redactor = Redactor(token=tokens.value_token, mark=tokens.mark)
    hidden = subject.kind is SubjectKind.PRINCIPAL and settings.identity.principal_form == "token"
    if not hidden and redactor.gate_identity((subject.id,)) is None:
        return subject
    return Subject(subject.kind, tokens.token(str(subject.kind), subject.id), "token")


def recorded_forms(subject: Subject, settings: Settings, keys: Keys) -> list[Subject]:
    """Return *subject* in each form in which a suspension can contain it: the one of the settings
    first, then the one of other settings.
    """
    now = recorded_subject(subject, settings, keys)
    if subject.form == "token" or subject.kind is SubjectKind.ALL:
        return [now]
    tokens = keys.tenant(settings.identity.tenant)
    token = Subject(subject.kind, tokens.token(str(subject.kind), subject.id), "token")
    return [now, *(each for each in (subject, token) if each != now)]
