"""The two ways to make a call: sync and async. The only module that runs a tool.

They differ in how they wait, and in nothing else: steps (1) to (7) are in
``guardrail.call.pipeline``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from guardrail.call.admission import Admission
from guardrail.call.bodies import check_body, check_extra, check_result, is_async, is_awaitable
from guardrail.call.caller import Callers
from guardrail.call.options import DEFAULTS, CallOptions
from guardrail.call.pipeline import Pipeline
from guardrail.core.types import Enforcement
from guardrail.system.waiting import drive, drive_async, run_in_thread
from guardrail.tools.tool import Tool

__all__ = ["Runner"]


class Runner:
    """Makes the calls of one guard. Thread-safe: it keeps nothing of a call."""

    def __init__(self, pipeline: Pipeline, callers: Callers) -> None:
        self._pipeline = pipeline
        self._callers = callers

    def call(
        self,
        tool: Tool,
        args: Mapping[str, Any],
        run: Callable[..., Any],
        options: CallOptions = DEFAULTS,
    ) -> Any:
        """Decide, record, run the body, and record. Returns and raises as ``guard.call`` does."""
        check_body(tool, run, awaited=False)
        check_extra(tool, options.extra)
        caller = self._callers.find(options.session)
        call = self._pipeline.begin(tool, caller, options, Enforcement.BODY)  # (1)
        admission = drive(self._pipeline.governed(call, args, options))
        began = time.perf_counter()
        try:
            with admission.current():
                result = run(**admission.arguments, **(options.extra or {}))  # (8) the body
            check_result(tool, result, awaited=False)
        except BaseException as error:
            # (9) if the body raised
            admission.fail(error, time.perf_counter() - began, options.interrupts)
            raise
        # (9) durable, or LedgerError and no result
        admission.succeed(result, time.perf_counter() - began)
        return result

    async def acall(
        self,
        tool: Tool,
        args: Mapping[str, Any],
        run: Callable[..., Any],
        options: CallOptions = DEFAULTS,
    ) -> Any:
        """As ``call``, awaited."""
        check_body(tool, run, awaited=True)
        check_extra(tool, options.extra)
        caller = self._callers.find(options.session)
        call = self._pipeline.begin(tool, caller, options, Enforcement.BODY)  # (1)
        admission = await drive_async(self._pipeline.governed(call, args, options))
        began = time.perf_counter()
        stop: BaseException | None = None
        try:
            with admission.current():
                if is_async(run):
                    # (8) the body
                    result = await run(**admission.arguments, **(options.extra or {}))
                else:
                    body = functools.partial(run, **admission.arguments, **(options.extra or {}))
                    result, stop = await run_in_thread(body)  # (8)
                    if is_awaitable(result):
                        result = await result
            check_result(tool, result, awaited=True)
        except BaseException as error:
            # (9) if the body raised
            await admission.afail(error, time.perf_counter() - began, options.interrupts)
            raise
        # (9) durable, or LedgerError and no result
        await admission.asucceed(result, time.perf_counter() - began)
        if stop is not None:
            raise stop
        return result

    def admit(self, tool: Tool, args: Mapping[str, Any], options: CallOptions) -> Admission:
        """Decide and record a call that someone else will run. Raises as ``guard.admit`` does."""
        caller = self._callers.find(options.session)
        call = self._pipeline.begin(tool, caller, options, Enforcement.RELEASE)
        return drive(self._pipeline.governed(call, args, options))

    async def aadmit(self, tool: Tool, args: Mapping[str, Any], options: CallOptions) -> Admission:
        """As ``admit``, awaited."""
        caller = self._callers.find(options.session)
        call = self._pipeline.begin(tool, caller, options, Enforcement.RELEASE)
        return await drive_async(self._pipeline.governed(call, args, options))

    def reject(self, tool: Tool, reason: str, options: CallOptions) -> int:
        """Record a call that a framework refused; return the number of the record."""
        caller = self._callers.find(options.session)
        call = self._pipeline.begin(tool, caller, options, Enforcement.BODY)
        return drive(self._pipeline.rejection(call, reason))
