"""Checks, at startup and at intervals, that an OPA server serves the correct policies and the
correct version of the contract.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardrail.core.decision import parse
from guardrail.core.types import Cause, PolicyIdentity
from guardrail.errors import PolicyError
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.opa.admin import BundleState, OpaAdmin
from guardrail.policy.opa.reply import DECISION_PATH, OpaQuestion, OpaReply, read_answer
from guardrail.policy.opa.revision import RevisionAcceptance
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.opa.transport import OpaConnection
from guardrail.policy.rego.purity import impurities
from guardrail.system.threads import BackgroundThread

__all__ = ["InspectionResult", "ServerInspector", "ServerWatch", "wait_for"]

_RETRY = (0.05, 0.1, 0.2, 0.5)
"""Seconds between checks while there is a problem. The first checks follow quickly, because calls
are denied in the meantime.
"""

_MOST_STRANGERS = 3
"""How often another process may listen on a private OPA's socket before waiting is given up."""


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """The result of a successful check of the server."""

    identity: PolicyIdentity
    bundles: tuple[BundleState, ...] | None
    """None if the server does not report the status of its bundles."""


class ServerInspector:
    """Checks a server over its own connections. Used by one thread at a time."""

    def __init__(
        self,
        target: OpaTarget,
        acceptance: RevisionAcceptance,
        *,
        timeout: float,
        zones: Sequence[str] = (),
    ) -> None:
        """*zones* are the time zones whose offsets the policies on the server need."""
        self._sample = sample_input(zones=zones).encode()
        self._target = target
        self._acceptance = acceptance
        self._timeout = timeout
        self._connection = OpaConnection(target)
        self._admin = OpaAdmin(target, timeout=timeout)
        self._pure: set[str] = set()
        """Revisions whose policies were found to be pure."""

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._connection.close()
        self._admin.close()

    def inspect(self) -> InspectionResult:
        """Check the server and return the result. Raises ``PolicyError`` for the first problem.

        The response to the canary is decisive: it contains the revision that was active at that
        moment, and shows that the composition and its contract are in place. A healthy server alone
        proves neither.
        """
        self._target.resolve(self._timeout)
        if not self._admin.healthy():
            raise PolicyError(
                "the OPA server is not ready: a bundle is not active, or a plugin is not healthy",
                cause="unreachable",
                detail="not_ready",
                hint="check the OPA server's log",
            )
        answer = self._ask_canary()
        identity = self._acceptance.identity(answer)
        self._check_contract(answer)
        if not self._acceptance.impure_allowed and not self._acceptance.proves_purity(answer):
            self._check_purity(identity)
        return InspectionResult(identity, self._admin.bundles())

    def _ask_canary(self) -> OpaReply:
        end = time.monotonic() + self._timeout
        question = OpaQuestion.about(self._sample)
        reply = self._connection.ask("POST", DECISION_PATH, question.body, end)
        try:
            return read_answer(reply, question.echo)
        except PolicyError:
            self._connection.close()
            raise

    @staticmethod
    def _check_contract(answer: OpaReply) -> None:
        decision = parse(answer.document)
        if decision.cause is Cause.MALFORMED:
            other = decision.detail == "contract"
            raise PolicyError(
                (
                    "the policies on the OPA server use a different version of the contract"
                    if other
                    else ("the policies on the OPA server do not include guardrail's own policies")
                ),
                cause="revision",
                detail="contract",
                hint="serve a bundle built with this version: guardrail policy bundle -o FILE",
            )

    def _check_purity(self, identity: PolicyIdentity) -> None:
        revision = identity.revision or ""
        if revision in self._pure:
            return
        hint = (
            "serve a bundle built by guardrail policy bundle -o FILE, or set [opa] "
            "unsafe_impure_policy = true"
        )
        try:
            found = impurities(self._admin.modules())
        except PolicyError as error:
            if error.cause != "error":
                raise
            raise PolicyError(
                (
                    "guardrail can't verify that the policies on the OPA server depend only on "
                    "their input"
                ),
                cause="revision",
                detail="impure",
                hint=hint,
            ) from None
        if found:
            raise PolicyError(
                "the policies on the OPA server may depend on more than their input",
                cause="revision",
                detail="impure",
                hint=hint,
            )
        if revision:
            # Without a revision, the server may serve different policies at the next check.
            self._pure.add(revision)


class ServerWatch:
    """Checks the server at intervals and reports the result. Checks sooner if there is a problem,
    or on request.
    """

    def __init__(
        self,
        look: Callable[[], InspectionResult],
        tell: Callable[[InspectionResult | PolicyError], None],
        end: Callable[[], None],
        *,
        interval: float,
    ) -> None:
        """*end* is called once, after the last check."""
        self._look = look
        self._tell = tell
        self._end = end
        self._interval = interval
        self._wake = threading.Event()
        self._stopped = False
        self._thread: BackgroundThread | None = None

    def start(self) -> None:
        """Start checking after one interval. Idempotent."""
        if self._thread is None or not self._thread.will_run():
            self._thread = BackgroundThread(self._run, "guardrail-opa-watch")
            self._thread.start()

    def check_soon(self) -> None:
        """Check as soon as possible, without waiting for the end of the interval."""
        self._wake.set()

    def close(self) -> None:
        """Stop checking. Idempotent."""
        self._stopped = True
        self._wake.set()
        if self._thread is None or not self._thread.will_run():
            self._end()

    def _run(self) -> None:
        try:
            self._check_until_stopped()
        finally:
            self._end()

    def _check_until_stopped(self) -> None:
        failures = 0
        while True:
            pause = _RETRY[min(failures, len(_RETRY)) - 1] if failures else self._interval
            if self._wake.wait(pause) and not self._stopped:
                self._wake.clear()
                # Several responses can request a check. One check serves them all.
                time.sleep(_RETRY[0])
            if self._stopped:
                return
            try:
                found: InspectionResult | PolicyError = self._look()
            except PolicyError as error:
                found = error
            failures = failures + 1 if isinstance(found, PolicyError) else 0
            self._tell(found)


def wait_for(look: Callable[[], InspectionResult], limit: float) -> InspectionResult:
    """Return the first successful result, or raise the last ``PolicyError`` after *limit* seconds.

    Errors that waiting can't fix are raised at once.
    """
    end = time.monotonic() + limit
    tries = strangers = 0
    while True:
        try:
            return look()
        except PolicyError as error:
            # The process may also be unexpected because the server has just been restarted.
            strangers += error.detail == "process"
            if (
                error.detail in {"certificate", "evaluation", "impure", "program"}
                or strangers > _MOST_STRANGERS
                or time.monotonic() >= end
            ):
                raise
        time.sleep(min(_RETRY[min(tries, len(_RETRY) - 1)], max(0.0, end - time.monotonic())))
        tries += 1
