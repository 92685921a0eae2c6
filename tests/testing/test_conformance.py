"""The conformance suite passes an adapter that keeps its rules, and fails one that breaks a rule,
whichever rule it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from guardrail import ApprovalRequired, Denied, Guard, JsonArguments, LedgerError, UsageError
from guardrail.testing import conformance
from guardrail.testing.conformance import AdapterDriver, ConformanceError, ModelCall, Reply
from guardrail.tools.tool import Tool, undeclared

UNNAMED = "(not a tool name)"


class LoopDriver(AdapterDriver):
    """A small framework, with an adapter that keeps every rule: it runs the calls of a model at the
    same time, and takes arguments as text.
    """

    adapter = "loop"
    asynchronous = True
    takes_text = True

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        self.guard = guard
        tools = {}
        for each in functions:
            made = guard.tool(each) if guard is not None else each
            tools[each.__name__] = (getattr(made, "__guardrail_tool__", None), each)
        return guard, tools

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        guard, functions = tools
        if guard is None:
            return [await self.ungoverned(functions, call) for call in calls]
        done = await asyncio.gather(
            *(self.reply(guard, functions, call) for call in calls), return_exceptions=True
        )
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return done

    async def ungoverned(self, functions: Any, call: ModelCall) -> Reply:
        return Reply(await functions[call.name][1](**call.arguments))

    async def reply(self, guard: Guard, functions: Any, call: ModelCall) -> Reply:
        if call.name not in functions:
            return await self.unknown(guard, call)
        tool, body = functions[call.name]
        try:
            return Reply(await self.governed(guard, tool, body, call))
        except (Denied, ApprovalRequired) as refusal:
            return self.refusal(refusal, call)

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        return await guard.acall(tool, self.arguments(call), body, **self.options(call))

    def arguments(self, call: ModelCall) -> Any:
        text = isinstance(call.arguments, str)
        return JsonArguments(call.arguments) if text else call.arguments

    def options(self, call: ModelCall) -> dict[str, Any]:
        return {"adapter": self.adapter, "call_id": call.id}

    def refusal(self, refusal: Denied | ApprovalRequired, call: ModelCall) -> Reply:
        return Reply(str(refusal), failed=True)

    async def unknown(self, guard: Guard, call: ModelCall) -> Reply:
        try:
            named = undeclared(call.name)
        except UsageError:
            named = undeclared(UNNAMED)
        guard.reject(named, "unknown_tool", **self.options(call))
        return Reply("no such tool", failed=True)


class ReleasingDriver(LoopDriver):
    """The guard admits a call, the program runs it, and its next request says that it returned."""

    enforcement = "release"
    exempt: ClassVar = {"cancelled_call": "the guard does not see the body"}

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        admission = await guard.aadmit(tool, self.arguments(call), **self.options(call))
        try:
            with admission.current():
                return await body(**admission.arguments)
        finally:
            await admission.asettle("returned")


# -- one broken adapter for each rule


class DecidesTooEarly(LoopDriver):
    """The policy sees the arguments as the model gave them, before defaults are filled in."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        return await guard.acall(undeclared(tool.name), call.arguments, body, **self.options(call))


class RunsTwice(LoopDriver):
    """A retry inside the guard: two runs of the body under one decision."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        async def twice(**arguments: Any) -> Any:
            await body(**arguments)
            return await body(**arguments)

        return await guard.acall(tool, self.arguments(call), twice, **self.options(call))


class DecidesAfterwards(LoopDriver):
    """The body runs first, and its record says that it was decided."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        async def known(**_: Any) -> Any:
            return result

        result = await body(**call.arguments)
        return await guard.acall(tool, self.arguments(call), known, **self.options(call))


class RunsTheOriginal(LoopDriver):
    """The body gets the model's objects and not the copy that was decided."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        async def original(**_: Any) -> Any:
            return await body(**call.arguments)

        return await guard.acall(tool, self.arguments(call), original, **self.options(call))


class HidesTheReason(LoopDriver):
    """The model does not learn why."""

    def refusal(self, refusal: Denied | ApprovalRequired, call: ModelCall) -> Reply:
        return Reply("error", failed=True)


class ShowsValues(LoopDriver):
    """The text of a denial repeats what was denied."""

    def refusal(self, refusal: Denied | ApprovalRequired, call: ModelCall) -> Reply:
        return Reply(f"{refusal} ({call.arguments})", failed=True)


class RaisesApprovals(LoopDriver):
    """The program gets an exception instead of the model a text."""

    def refusal(self, refusal: Denied | ApprovalRequired, call: ModelCall) -> Reply:
        if isinstance(refusal, ApprovalRequired):
            raise refusal
        return super().refusal(refusal, call)


class ValidatesAlone(LoopDriver):
    """Arguments that do not fit leave no record."""

    async def reply(self, guard: Guard, functions: Any, call: ModelCall) -> Reply:
        if isinstance(call.arguments, dict) and call.name in functions:
            checked: Tool = functions[call.name][0]
            try:
                checked.take(call.arguments)
            except Exception as error:
                return Reply(str(error), failed=True)
        return await super().reply(guard, functions, call)


class ReadsJsonItself(LoopDriver):
    """The last of two equal keys wins."""

    def arguments(self, call: ModelCall) -> Any:
        return json.loads(call.arguments) if isinstance(call.arguments, str) else call.arguments


class ForgetsUnknownTools(LoopDriver):
    """A call of a tool that does not exist leaves no record."""

    async def unknown(self, guard: Guard, call: ModelCall) -> Reply:
        return Reply("no such tool", failed=True)


class TrustsNames(LoopDriver):
    """A name that can't be recorded raises an exception."""

    async def unknown(self, guard: Guard, call: ModelCall) -> Reply:
        guard.reject(call.name, "unknown_tool", **self.options(call))
        return Reply("no such tool", failed=True)


class ChangesResults(LoopDriver):
    """Results become text."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        return str(await super().governed(guard, tool, body, call))


class HidesErrors(LoopDriver):
    """A body's exception becomes a result."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        async def quiet(**arguments: Any) -> Any:
            try:
                return await body(**arguments)
            except Exception as error:
                return str(error)

        return await guard.acall(tool, self.arguments(call), quiet, **self.options(call))


class HidesLedgerErrors(LoopDriver):
    """Every exception becomes a text for the model."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        try:
            return await super().governed(guard, tool, body, call)
        except LedgerError as error:
            return str(error)


class RunsAnyway(LoopDriver):
    """If the ledger fails, the body runs, and then the program is told."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        try:
            return await super().governed(guard, tool, body, call)
        except LedgerError:
            await body(**call.arguments)
            raise


class KeepsResults(LoopDriver):
    """The result is released although its outcome is not recorded."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        found: list[Any] = []

        async def kept(**arguments: Any) -> Any:
            found.append(await body(**arguments))
            return found[0]

        try:
            return await guard.acall(tool, self.arguments(call), kept, **self.options(call))
        except LedgerError:
            if found:
                return found[0]
            raise


class HidesCancellations(LoopDriver):
    """The guard sees a body that returned, and the program a cancelled task."""

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        async def quiet(**arguments: Any) -> Any:
            try:
                return await body(**arguments)
            except asyncio.CancelledError:
                return None

        await guard.acall(tool, self.arguments(call), quiet, **self.options(call))
        raise asyncio.CancelledError


class MixesReplies(LoopDriver):
    """Replies come in the order in which the calls end."""

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        return list(reversed(await super().arun(tools, calls)))


class LosesContext(LoopDriver):
    """Calls run in a context of their own, which knows neither session nor outer call."""

    async def reply(self, guard: Guard, functions: Any, call: ModelCall) -> Reply:
        import contextvars

        work = super().reply(guard, functions, call)
        return await asyncio.create_task(work, context=contextvars.Context())


class RemembersDecisions(LoopDriver):
    """The second attempt of a call runs under the decision of the first."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def governed(self, guard: Guard, tool: Tool, body: Any, call: ModelCall) -> Any:
        if call.id in self.seen:
            return await body(**call.arguments)
        self.seen.add(call.id)
        return await super().governed(guard, tool, body, call)


class ForgetsItsName(LoopDriver):
    """Records name another adapter."""

    def options(self, call: ModelCall) -> dict[str, Any]:
        return {"call_id": call.id}


class SharesIds(LoopDriver):
    """Records name the wrong call of the framework."""

    def options(self, call: ModelCall) -> dict[str, Any]:
        return {"adapter": self.adapter, "call_id": "call-0"}


BROKEN: dict[str, tuple[type[LoopDriver], ...]] = {
    "decided_at_the_body": (DecidesTooEarly,),
    "one_decision_one_outcome": (RunsTwice, DecidesAfterwards, ForgetsItsName, SharesIds),
    "runs_what_was_decided": (RunsTheOriginal,),
    "denial_is_readable": (HidesTheReason, ShowsValues),
    "approval_is_required": (RaisesApprovals, HidesTheReason, ShowsValues),
    "bad_arguments": (ValidatesAlone, HidesTheReason),
    "bad_json": (ReadsJsonItself,),
    "unknown_tool": (ForgetsUnknownTools,),
    "hostile_text": (TrustsNames,),
    "results_unchanged": (ChangesResults,),
    "errors_unchanged": (HidesErrors,),
    "ledger_fails_before": (HidesLedgerErrors, RunsAnyway),
    "ledger_fails_after": (HidesLedgerErrors, KeepsResults),
    "ledger_fails_in_flight": (HidesLedgerErrors, RunsAnyway),
    "cancelled_call": (HidesCancellations,),
    "parallel_calls": (MixesReplies, SharesIds),
    "nested_calls": (LosesContext,),
    "retries": (RemembersDecisions,),
    "caller": (LosesContext,),
}
RULES = {rule.name: rule for rule in conformance.RULES}


@pytest.mark.parametrize("rule", conformance.rules_for(LoopDriver()), ids=str)
def test_an_adapter_that_keeps_the_rule_passes(rule: conformance.AdapterRule) -> None:
    rule.check(LoopDriver())


@pytest.mark.parametrize("rule", conformance.rules_for(ReleasingDriver()), ids=str)
def test_an_adapter_that_only_releases_calls_passes(rule: conformance.AdapterRule) -> None:
    """It does not learn how the body of a call ended."""
    rule.check(ReleasingDriver())


def test_every_rule_has_an_adapter_that_breaks_it() -> None:
    """A check that can't fail would prove nothing."""
    assert BROKEN.keys() == RULES.keys()


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param(name, broken, id=f"{name}-{broken.__name__}")
        for name, many in BROKEN.items()
        for broken in many
    ],
)
def test_an_adapter_that_breaks_the_rule_fails(name: str, broken: type[LoopDriver]) -> None:
    """The text names the rule, what was expected and what was found."""
    with pytest.raises(ConformanceError) as failed:
        RULES[name].check(broken())
    text = str(failed.value)
    assert text.startswith(f"{name}: {RULES[name].promise}\n")
    assert "expected: " in text


def test_an_adapter_can_be_exempt_from_some_rules_for_a_reason() -> None:
    class Exempt(LoopDriver):
        exempt: ClassVar = {"unknown_tool": "it has no names"}
        takes_text = False
        asynchronous = False

    left = {rule.name for rule in conformance.rules_for(Exempt())}
    assert RULES.keys() - left == {"unknown_tool", "bad_json", "cancelled_call"}


@pytest.mark.parametrize(
    "exempt", [{"denial_is_readable": "we raise"}, {"no_such_rule": "?"}, {"unknown_tool": ""}]
)
def test_no_adapter_is_exempt_from_the_rest(exempt: dict[str, str]) -> None:
    driver = LoopDriver()
    driver.exempt = exempt
    with pytest.raises(UsageError, match=next(iter(exempt))):
        conformance.rules_for(driver)


async def test_a_rule_can_be_checked_on_an_event_loop() -> None:
    await RULES["caller"].acheck(LoopDriver())
