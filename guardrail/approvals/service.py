"""Answers approval requests. Every answer, whether accepted or rejected, becomes a durable record.

``guardrail.approvals.rules`` judges the answers. This module does not need a guard and does not run
tools: the command line uses it with a ledger that the command line opened, and an adapter uses it
with the ledger of its guard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from guardrail.approvals import rules as approvals
from guardrail.approvals.rules import (
    ApprovalCase,
    ApprovalTerms,
    Approver,
    RejectionReason,
    RequestState,
    StepKind,
)
from guardrail.approvals.views import ListedRequest, listed, utc_now
from guardrail.config import Settings
from guardrail.core.log.record import FORMAT_VERSION, Draft
from guardrail.core.redaction.detectors.scan import scan_secrets
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.times import record_time
from guardrail.core.types import Assurance, Receipt
from guardrail.errors import IdentityError, LedgerError, UsageError
from guardrail.identity.claims import VerifiedIdentity
from guardrail.identity.principal import check_id
from guardrail.system.os_user import user_name

__all__ = ["Answer", "ApprovalService", "TenantTokens", "system_user", "token_approver"]

_TRIES = 32
"""Number of attempts to record an answer. An attempt fails if a competing step of the same approval
is recorded first.
"""
_MAX_REASON = 1000


class TenantTokens(Protocol):
    """Makes keyed tokens for one tenant. Implemented by
    ``guardrail.keys.tenant_keys.TenantKeys``.
    """

    def token(self, cls: str, value: str) -> str:
        """Return the token of an id: equal ids of one class get equal tokens."""

    def value_token(self, cls: str, value: str) -> str:
        """Return the token of a removed value."""

    def mark(self, class_: str) -> str:
        """Return a random mark for a removed value."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of answering a request. The answer is durably recorded, whether it was accepted or
    rejected.
    """

    case: ApprovalCase
    """The request with its steps at the time of the answer."""
    receipt: Receipt
    rejected: RejectionReason | None
    """Reason for rejecting the answer, or None if it was accepted."""
    given: int
    """Current number of valid approvals."""
    expires: str | None
    """Expiry time of this approval, or None for a refusal."""
    reason: str
    """Recorded form of the person's reason."""


def system_user() -> Approver:
    """Return the operating-system user of this process as an asserted identity. The name comes from
    the user id, not from environment variables.
    """
    return Approver(user_name())


def token_approver(verified: VerifiedIdentity, tenant: str, settings: Settings) -> Approver:
    """Return the person who is identified by a verified token, to answer a request of *tenant*.
    Raises ``IdentityError`` if the token belongs to another tenant, or not to a person alone.

    A token that names no tenant could be that of anyone at its issuer. It is accepted only if
    *settings* have no tables for tenants and the request is that of the only tenant in them.
    """
    person = verified.principal
    several = bool(settings.tenants or settings.tenant_table)
    if verified.tenant is None and (several or tenant != settings.identity.tenant):
        raise IdentityError(
            "the token names no tenant, so it can't answer a request of one of several tenants",
            code="identity.tenant",
            hint="set tenant or tenant_claim in the table of the token's issuer (docs/identity.md)",
        )
    if verified.tenant is not None and verified.tenant != tenant:
        raise IdentityError(
            "the token belongs to another tenant than the request",
            code="identity.tenant",
            hint="a person of the request's tenant must answer it",
        )
    if verified.delegation or person.type != "user":
        raise IdentityError(
            "the token belongs to a service, or to a program that acts for a person, and only a "
            "person can answer a request",
            code="identity.approver",
            hint="sign in, and use the token that is issued to you",
        )
    return Approver(person.id, person.assurance, person.method, person.issuer)


class ApprovalService:
    """Lists the approval requests of one log and records people's answers. Thread-safe."""

    def __init__(
        self,
        *,
        log: str,
        read: Callable[[str], ApprovalCase | None],
        append: Callable[[Draft], Receipt],
        tokens: Callable[[str], TenantTokens],
        origin: Callable[[], Mapping[str, Any]],
        terms: ApprovalTerms,
        rules: Rules = BUILT_IN,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """*tokens* returns the tokens of a tenant; *origin* describes this process.
        *rules* redact the reasons.
        """
        self._log = log
        self._read = read
        self._append = append
        self._tokens = tokens
        self._origin = origin
        self._rules = rules
        self._clock = clock
        self.terms = terms
        """The terms in the settings."""

    def case(self, approval: str) -> ApprovalCase:
        """Return the request *approval* with its steps. Raises ``UsageError`` if this log has no
        request with that id.
        """
        case = self._read(approval)
        if case is None:
            raise UsageError(
                "this log has no approval request with this id",
                code="approval.unknown",
                hint="guardrail approvals",
            )
        return case

    def state(self, case: ApprovalCase) -> RequestState:
        """Return the current state of a request."""
        return approvals.state_of(case, self._clock(), self.terms)

    def listed(self, case: ApprovalCase) -> ListedRequest:
        """Return the current state and view of a request for the approver."""
        return listed(case, self.terms, self._clock())

    def approve(self, approval: str, approver: Approver, reason: str) -> Answer:
        """Record that *approver* approves the request, or that this answer was rejected; durable
        when this returns.

        Raises ``UsageError`` for an unknown id or a reason that can't be recorded, and
        ``LedgerError``.
        """
        return self._record_answer(approval, StepKind.GRANTED, approver, reason)

    def refuse(self, approval: str, approver: Approver, reason: str) -> Answer:
        """Record that *approver* refuses the request. Afterwards, no one can approve it, and
        earlier approvals no longer count. See ``approve``.
        """
        return self._record_answer(approval, StepKind.REFUSED, approver, reason)

    def turn_down(
        self, approval: str, kind: StepKind, approver: Approver, code: RejectionReason
    ) -> Answer:
        """Record that an answer was rejected because it is incomplete. See ``approve``."""
        return self._record_answer(approval, kind, approver, "", forced=code)

    def _record_answer(
        self,
        approval: str,
        kind: StepKind,
        approver: Approver,
        reason: str,
        *,
        forced: RejectionReason | None = None,
    ) -> Answer:
        for _ in range(_TRIES):
            case = self.case(approval)
            tokens = self._tokens(case.request.tenant)
            words = self._redact_reason(reason, tokens) if forced is None else ""
            who = self._recordable(approver)
            now = self._clock()
            rejected = forced
            if who is None:
                who = Approver("", method=approver.method)
                rejected = forced or RejectionReason.APPROVER_UNKNOWN
            elif rejected is None:
                rejected = approvals.may_answer(
                    case, kind, who, now=now, terms=self.terms, token=tokens.token
                )
            try:
                return self._append_answer(case, kind, who, words=words, rejected=rejected, now=now)
            except LedgerError as error:
                if error.code != "ledger.approval_taken":
                    raise
                # Someone else has just answered or used the request, so the answer is judged again.
        raise LedgerError(
            "too many people are answering this request at the same time",
            code="ledger.approval_taken",
        )

    def _append_answer(
        self,
        case: ApprovalCase,
        kind: StepKind,
        who: Approver,
        *,
        words: str,
        rejected: RejectionReason | None,
        now: datetime,
    ) -> Answer:
        request = case.request
        standing = approvals.live_grants(case, now, self.terms)
        record: dict[str, Any] = {
            "v": FORMAT_VERSION,
            "log": self._log,
            "type": "approval.rejected" if rejected is not None else f"approval.{kind}",
            "tenant": request.tenant,
            "session": request.session,
            "approval": {
                "id": request.id,
                "ordinal": None if rejected is not None else case.next_ordinal,
            },
            "request": {"seq": request.seq, "leaf": request.leaf},
            "approver": who.document(),
            "origin": self._origin(),
            "reason": words,
            "rules": [rule.rule for rule in request.rules],
        }
        expires: str | None = None
        given = len(standing)
        if rejected is not None:
            hidden = list(request.hidden_needs) if rejected is RejectionReason.NEEDS_HIDDEN else []
            record |= {"attempt": str(kind), "code": str(rejected), "hidden": hidden}
        elif kind is StepKind.GRANTED:
            given += 1
            expires = record_time(approvals.expires_at(request, now, self.terms))
            record |= {
                "expires": expires,
                "given": given,
                "needed": request.needed,
                "unsafe_asserted": who.assurance is not Assurance.VERIFIED,
            }
        counts = rejected is None
        draft = Draft.build(
            record,
            approval=request.id if counts else None,
            judged=case.tree if counts else None,
        )
        return Answer(case, self._append(draft), rejected, given, expires, words)

    def _redact_reason(self, reason: str, tokens: TenantTokens) -> str:
        """Return the recorded form of the reason."""
        if not reason.strip() or len(reason) > _MAX_REASON:
            raise UsageError(
                f"specify a reason of at most {_MAX_REASON} characters",
                code="approval.reason",
            )
        memory = Memory()
        redactor = Redactor(token=tokens.value_token, mark=tokens.mark, rules=self._rules)
        words = redactor.text(reason, memory)
        if redactor.gate([words], memory) is not None:
            raise UsageError(
                "the reason contains a sensitive value that can't be removed",
                code="approval.reason",
                hint="rephrase the reason",
            )
        return words

    @staticmethod
    def _recordable(approver: Approver) -> Approver | None:
        """Return *approver* if its id can be recorded in clear text, otherwise None."""
        try:
            check_id(approver.id, "approver")
        except IdentityError:
            return None
        if not approvals.folded(approver.id):
            return None
        return None if scan_secrets(approver.id) else approver
