"""The list of rules."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from guardrail.errors import UsageError
from guardrail.testing.conformance import concurrency, deciding, failures
from guardrail.testing.conformance.driver import AdapterDriver
from guardrail.testing.conformance.kit import ConformanceError, Kit

__all__ = ["RULES", "AdapterRule", "rules_for"]


@dataclass(frozen=True, slots=True)
class AdapterRule:
    """One rule that adapters must follow."""

    name: str
    promise: str
    """The promise that an adapter keeps by following the rule."""
    judge: Callable[[Kit], Awaitable[None]]
    optional: bool = False
    """True if a driver can be exempt, because the rule's case does not exist in some frameworks."""
    asynchronous: bool = False
    """True if the rule applies only to asynchronous drivers."""
    text: bool = False
    """True if the rule applies only to drivers that set ``takes_text``."""

    def __str__(self) -> str:
        return self.name

    def check(self, driver: AdapterDriver) -> None:
        """Check that the adapter follows the rule. Raises ``ConformanceError`` if it does not.

        Do not call this in an event loop; await ``acheck`` instead.
        """
        asyncio.run(self.acheck(driver))

    async def acheck(self, driver: AdapterDriver) -> None:
        """Async version of ``check``."""
        kit = Kit(driver)
        try:
            await self.judge(kit)
        except ConformanceError as error:
            raise ConformanceError(f"{self.name}: {self.promise}\n{error}") from error
        finally:
            kit.guard.close()


RULES = (
    AdapterRule(
        "decided_at_the_body",
        "The policy sees the arguments that the body gets, after the framework's validation.",
        deciding.decided_at_the_body,
    ),
    AdapterRule(
        "one_decision_one_outcome",
        "Each run of a body has one decision, recorded before it, and one outcome.",
        deciding.one_decision_one_outcome,
    ),
    AdapterRule(
        "runs_what_was_decided",
        "The body gets the arguments that were decided, whatever happens to the model's objects.",
        deciding.runs_what_was_decided,
    ),
    AdapterRule(
        "denial_is_readable",
        "The reply for a denied call names the rule that denied it, and contains no values.",
        deciding.denial_is_readable,
    ),
    AdapterRule(
        "approval_is_required",
        "A call that a person must approve does not run, and the model reads the reason.",
        deciding.approval_is_required,
    ),
    AdapterRule(
        "bad_arguments",
        "A call with arguments that do not fit does not run. The model reads which ones do not "
        "fit, and the call is recorded.",
        deciding.bad_arguments,
    ),
    AdapterRule(
        "bad_json",
        "If the arguments are not one JSON object, no body runs. The model reads why, and the call"
        " is recorded.",
        deciding.bad_json,
        text=True,
    ),
    AdapterRule(
        "unknown_tool",
        "A call of a tool that does not exist is recorded, and the model reads the reason.",
        deciding.unknown_tool,
        optional=True,
    ),
    AdapterRule(
        "hostile_text",
        "Nothing that a model writes raises an exception in the program, and the next call works.",
        deciding.hostile_text,
    ),
    AdapterRule(
        "results_unchanged",
        "If no call is denied, the model reads the same replies as without a guard.",
        failures.results_unchanged,
    ),
    AdapterRule(
        "errors_unchanged",
        "An exception in a body has the same effect as without a guard, and the outcome is error.",
        failures.errors_unchanged,
    ),
    AdapterRule(
        "ledger_fails_before",
        "If the decision can't be recorded, no body runs, and the program gets a LedgerError.",
        failures.ledger_fails_before,
    ),
    AdapterRule(
        "ledger_fails_after",
        "If the outcome can't be recorded, the program gets a LedgerError, and the model gets"
        " nothing.",
        failures.ledger_fails_after,
    ),
    AdapterRule(
        "ledger_fails_in_flight",
        "If the ledger fails during parallel calls, each body that ran has a decision, and the"
        " program gets a LedgerError.",
        failures.ledger_fails_in_flight,
    ),
    AdapterRule(
        "cancelled_call",
        "A call that is cancelled while its body runs is recorded as cancelled.",
        failures.cancelled_call,
        optional=True,
        asynchronous=True,
    ),
    AdapterRule(
        "parallel_calls",
        "Each parallel call has its own decision, outcome and reply, and none are mixed up.",
        concurrency.parallel_calls,
    ),
    AdapterRule(
        "nested_calls",
        "A call that a body makes names the call of that body as its parent.",
        concurrency.nested_calls,
        optional=True,
    ),
    AdapterRule(
        "retries",
        "Each attempt is decided and recorded.",
        concurrency.retries,
    ),
    AdapterRule(
        "caller",
        "Calls are recorded in the session of the program, even in threads and tasks.",
        concurrency.caller,
    ),
)
"""All rules."""


def rules_for(driver: AdapterDriver) -> list[AdapterRule]:
    """Return the rules that apply to *driver*: all rules except those that can't apply to it and
    those that it is exempt from.

    Raises ``UsageError`` if *driver* is exempt from a rule that is not optional or does not exist.
    """
    for name, reason in driver.exempt.items():
        found = [rule for rule in RULES if rule.name == name]
        if not found or not found[0].optional or not reason:
            raise UsageError(
                f"{name}: adapters can't be exempt from a rule with this name",
                code="usage.exempt",
                hint="give a reason for each of "
                + ", ".join(rule.name for rule in RULES if rule.optional),
            )
    return [
        rule
        for rule in RULES
        if rule.name not in driver.exempt
        and (driver.asynchronous or not rule.asynchronous)
        and (driver.takes_text or not rule.text)
    ]
