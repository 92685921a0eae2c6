"""Finds the sessions of one principal or agent, whether their ids are recorded in clear or as
tokens.
"""

from __future__ import annotations

from guardrail.core.log.suspensions import CallNames, Subject, SubjectKind
from guardrail.keys.tenant_keys import live_tokens
from guardrail.keys.token_keys import TokenSecrets
from guardrail.review.records import SessionKey

__all__ = ["SubjectSessions"]


class SubjectSessions:
    """Tells if a session belongs to a principal or an agent.

    The id is compared as suspensions compare it (case, width and invisible characters do not
    matter), and with its tokens under every live key of the session's tenant. Without *secrets*,
    only ids in clear are compared.
    """

    __slots__ = ("_forms", "_secrets", "_subject")

    def __init__(self, subject: Subject, secrets: TokenSecrets | None) -> None:
        self._subject = subject
        self._secrets = secrets
        self._forms: dict[str, list[Subject]] = {}

    def __call__(self, key: SessionKey) -> bool:
        """Return True if the session *key* belongs to the subject."""
        names = CallNames((key.principal,), (key.agent,), ())
        return any(form.matches(names) for form in self._of_tenant(key.tenant))

    def _of_tenant(self, tenant: str) -> list[Subject]:
        found = self._forms.get(tenant)
        if found is None:
            subject = self._subject
            found = self._forms[tenant] = [subject]
            if subject.form == "clear" and subject.kind is not SubjectKind.ALL and self._secrets:
                found += [
                    Subject(subject.kind, maker.token(str(subject.kind), subject.id), "token")
                    for maker in live_tokens(self._secrets, tenant).values()
                ]
        return found
