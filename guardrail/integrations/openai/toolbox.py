"""The ToolBox for an OpenAI client."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from guardrail.errors import UsageError
from guardrail.integrations.model_calls import CallBatch
from guardrail.integrations.openai.asserted import client_context
from guardrail.integrations.openai.chat import read_chat
from guardrail.integrations.openai.forms import FORMS
from guardrail.integrations.openai.responses import read_response
from guardrail.integrations.toolbox import ToolBoxBase
from guardrail.model_apis.calls import CallKind

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard

__all__ = ["Hosted", "OpenAIToolBox"]

P = ParamSpec("P")
R = TypeVar("R")


class Hosted(StrEnum):
    """How to treat tools that the provider has run without a decision."""

    RECORD = "record"
    """Record each call as ``call.rejected`` with the reason ``provider_tool``."""
    REFUSE = "refuse"
    """Record the calls, then raise ``UsageError`` without running any call in the response."""


class OpenAIToolBox(ToolBoxBase):
    """Functions that a model may call through an OpenAI client. A body runs only after a durable,
    well-formed ``allow``.

    Thread-safe once every function is registered.
    """

    _adapter = "openai"
    _names = re.compile(r"[a-zA-Z0-9_-]{1,64}")

    def __init__(
        self,
        guard: Guard,
        *,
        wait_for_approval: float | None = None,
        hosted: Hosted | str = Hosted.RECORD,
        unsafe_items: Collection[str] = (),
    ) -> None:
        """*wait_for_approval* is the number of seconds that a call waits for a person to approve
        it. By default, the call does not wait, and the model is told that the call needs approval.

        *unsafe_items* lists types of call items that the program itself runs without a decision,
        for example ``computer_call``. A response that contains any other type is rejected.
        """
        super().__init__(guard, wait_for_approval=wait_for_approval)
        try:
            self._hosted = Hosted(hosted)
        except ValueError:
            raise UsageError(
                f"hosted must be one of {', '.join(Hosted)}", code="usage.hosted"
            ) from None
        self._handled = frozenset(unsafe_items)

    @overload
    def custom(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def custom(
        self,
        /,
        *,
        format: Mapping[str, Any] | None = None,
        name: str | None = None,
        description: str | None = None,
        server: str | None = None,
        target: Sequence[str] = (),
        labels: Sequence[str] = (),
        amounts: Sequence[str] = (),
        effect_key: Sequence[str] = (),
        log_output: bool = False,
        timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def custom(self, function: Any = None, /, **options: Any) -> Any:
        """Register a function with one argument as a custom tool. The argument is free text.

        *format* restricts the text, in the format of the Responses API. The other options have the
        same meaning as in ``tool``.
        """
        if function is None:
            return lambda decorated: self._add(decorated, CallKind.CUSTOM, **options)
        return self._add(function, CallKind.CUSTOM, **options)

    def tools(self, api: str = "responses") -> list[dict[str, Any]]:
        """Return the tools for a request: ``tools`` for the Responses API by default, ``tools`` for
        chat completions if *api* is ``"chat"``, or legacy ``functions``, without custom tools, if
        *api* is ``"functions"``.
        """
        if api not in FORMS:
            raise UsageError(f"api must be one of {', '.join(FORMS)}", code="usage.api")
        made = (FORMS[api](entry, schema) for entry, schema in self._specified())
        return [each for each in made if each is not None]

    def run(
        self,
        response: Any,
        *,
        choice: int | None = None,
        replayed: bool = False,
        session: SessionScope | None = None,
    ) -> list[dict[str, Any]]:
        """Decide and run each tool call in *response*. Return the messages or items to append after
        the model's own, in the order of the calls, or an empty list if there are no calls.

        *response* is a chat completion or a response that was not streamed, or that ``.stream()``
        assembled. Several calls run concurrently, each in a thread. A refusal, or an exception from
        a body, becomes a result that the model can read. *choice* selects one of several choices.
        Set *replayed* if this response has been run before in the same session: a call that has
        already succeeded is then denied instead of run again. Raises ``LedgerError`` after every
        call has ended, and ``UsageError``.
        """
        return self._run(self._batch(response, choice), session=session, replayed=replayed)

    async def arun(
        self,
        response: Any,
        *,
        choice: int | None = None,
        replayed: bool = False,
        session: SessionScope | None = None,
    ) -> list[dict[str, Any]]:
        """Async version of ``run``. Coroutine functions run as tasks, other functions in threads.
        If the caller is cancelled, every outcome is recorded before this method returns.
        """
        return await self._arun(self._batch(response, choice), session=session, replayed=replayed)

    def _batch(self, response: Any, choice: int | None) -> CallBatch:
        if isinstance(response, ChatCompletion):
            return CallBatch(
                read_chat(response, choice), client_context(response.model, response.id)
            )
        if not isinstance(response, Response):
            raise _unexpected(response)
        if choice is not None:
            raise UsageError("a response has no choices", code="usage.choice")
        found = read_response(response, self._handled)
        kinds = [call.refusal.text for call in found.foreign if call.refusal is not None]
        if self._hosted is Hosted.REFUSE:
            kinds += [call.refusal.text for call in found.hosted if call.refusal is not None]
        recorded = [*found.hosted, *found.handled, *found.foreign]
        if not kinds:
            return CallBatch([*recorded, *found.own], client_context(response.model, response.id))
        problem = UsageError(
            (
                f"the response contains {', '.join(sorted(set(kinds)))}, which a ToolBox can't "
                "govern; none of its calls were run"
            ),
            code="usage.item",
            hint="remove that tool from the request",
        )
        return CallBatch(recorded, client_context(response.model, response.id), problem)


def _unexpected(response: object) -> UsageError:
    kind = type(response)
    hint = "pass the result of client.chat.completions.create or client.responses.create"
    if "Stream" in kind.__name__:
        hint = (
            "use client.chat.completions.stream or client.responses.stream, and pass"
            " stream.get_final_completion() or stream.get_final_response()"
        )
    elif hasattr(response, "parse"):
        hint = "pass raw.parse()"
    return UsageError(
        "expected a ChatCompletion or a Response from the openai package, not "
        f"{kind.__module__}.{kind.__qualname__}",
        code="usage.response",
        hint=hint,
    )
