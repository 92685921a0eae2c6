"""Parses bundle revisions and determines which ones are accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.core.types import PolicyIdentity
from guardrail.errors import PolicyError
from guardrail.policy.opa.reply import OpaReply
from guardrail.policy.sources import PolicySet

__all__ = ["Revision", "RevisionAcceptance", "revision_of"]

_DIGITS = 8
_LONG = 48
_MAX_SHOWN = 3
_FORM = re.compile(r"(impure-)?([0-9a-f]{64})(?:\.([0-9a-f]{64}))?")


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision created by ``guardrail policy bundle``. It identifies the policies and the data,
    and states whether the policies are pure.
    """

    policy: str
    """SHA-256 of the modules. The embedded engine computes the same digest for these policies."""
    data: str | None
    """SHA-256 of the data document, or None if the revision does not contain it."""
    pure: bool = True

    @classmethod
    def parse(cls, text: str) -> Revision | None:
        """Return the revision in *text*, or None if *text* has a different format."""
        found = _FORM.fullmatch(text)
        return None if found is None else cls(found[2], found[3], found[1] is None)

    def __str__(self) -> str:
        prefix = "" if self.pure else "impure-"
        return prefix + (self.policy if self.data is None else f"{self.policy}.{self.data}")


def _abbreviate(text: str) -> str:
    """Return a prefix of *text* that is long enough to distinguish revisions. *text* comes from the
    server, so its length is not limited.
    """
    found = Revision.parse(text)
    if found is None:
        return "".join(each if each.isprintable() else "?" for each in text[:_LONG])
    prefix = "" if found.pure else "impure-"
    parts = [found.policy, *([] if found.data is None else [found.data])]
    return prefix + ".".join(part[:_DIGITS] + "…" for part in parts)


def revision_of(policies: PolicySet, *, pure: bool = True) -> Revision:
    """Return the revision of a bundle of *policies*."""
    return Revision(policies.digest, policies.data_digest, pure)


class RevisionAcceptance:
    """Determines from their revisions which responses from a server are accepted. Immutable."""

    def __init__(
        self,
        revisions: Sequence[str],
        *,
        bundle: str = "",
        unsafe_impure: bool = False,
        unsafe_unpinned: bool = False,
        program: str = "",
    ) -> None:
        """*revisions* are the accepted revisions. A revision that contains only a policy digest
        accepts these policies with any data. *program* is the digest of the server's program, if it
        is known.
        """
        self._exact = frozenset(revisions)
        self._any_data = frozenset(
            text
            for text, revision in ((text, Revision.parse(text)) for text in revisions)
            if revision is not None and revision.data is None
        )
        self._bundle = bundle
        self._impure = unsafe_impure
        self._program = f" sha256:{program}" if program else ""
        self._unpinned = unsafe_unpinned

    @property
    def impure_allowed(self) -> bool:
        """True if accepted policies may depend on more than their input and data."""
        return self._impure

    def identity(self, answer: OpaReply) -> PolicyIdentity:
        """Return the identity of the policies that produced *answer*.

        Raises ``PolicyError`` (``revision``) if the revision in *answer* is not accepted.
        """
        text = self._named_revision(answer)
        if text is None:
            return PolicyIdentity("opa", f"{answer.version} unsafe_unpinned_policy", None)
        if not self._accepts(text):
            raise PolicyError(
                (
                    f"the OPA server serves revision {_abbreviate(text)} of the policies, "
                    f"but this guard accepts only {self._describe_accepted()}"
                ),
                cause="revision",
                detail="unaccepted",
                hint=(
                    "serve a bundle of the accepted policies (guardrail policy bundle -o "
                    "FILE), or add the revision to [opa] revisions"
                ),
            )
        revision = Revision.parse(text)
        version = answer.version + self._program
        if self._impure:
            version += " unsafe_impure_policy"
        # Without proof of purity, decisions can't be reproduced, so the identity does not contain
        # the digests that reproduction would need.
        if revision is None or not revision.pure or self._impure:
            return PolicyIdentity("opa", version, None, text)
        return PolicyIdentity("opa", version, revision.policy, text, revision.data)

    def proves_purity(self, answer: OpaReply) -> bool:
        """Return True if the revision states that its policies were found to be pure when the
        bundle was built.
        """
        text = self._named_revision(answer)
        revision = None if text is None else Revision.parse(text)
        return revision is not None and revision.pure

    def _describe_accepted(self) -> str:
        shown = sorted(map(_abbreviate, self._exact))
        more = ", ..." if len(shown) > _MAX_SHOWN else ""
        return ", ".join(shown[:_MAX_SHOWN]) + more

    def _accepts(self, text: str) -> bool:
        if text in self._exact:
            return True
        revision = Revision.parse(text)
        if revision is None:
            return False
        return str(Revision(revision.policy, None, revision.pure)) in self._any_data

    def _named_revision(self, answer: OpaReply) -> str | None:
        named = dict(answer.revisions)
        if self._bundle:
            found = named.get(self._bundle)
        elif len(named) > 1:
            raise PolicyError(
                "the OPA server has several bundles, and the settings do not specify which of "
                "them contains the policies",
                cause="revision",
                detail="ambiguous",
                hint="set [opa] bundle to the name of the bundle that contains the policies",
            )
        else:
            found = next(iter(named.values()), None)
        if found:
            return found
        if self._unpinned:
            return None
        raise PolicyError(
            "the OPA server does not report which policies it serves",
            cause="revision",
            detail="none",
            hint=(
                "serve a bundle with a revision, such as a bundle built by guardrail policy "
                "bundle -o FILE"
            ),
        )
