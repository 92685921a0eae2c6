"""The behaviour that all governed tools share: refusals are converted to messages, and copies stay
governed.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

from langchain_core.tools import BaseTool

from guardrail.errors import ApprovalRequired, Denied, ToolTimeoutError, UsageError
from guardrail.integrations.langchain.binding import KEY, binding_of
from guardrail.integrations.langchain.functions import govern_functions
from guardrail.integrations.langchain.injection import CALLABLES, hidden_names, unseen_names
from guardrail.integrations.langchain.rejections import (
    INVOCATION,
    Invocation,
    arecord_rejected,
    record_rejected,
)
from guardrail.integrations.langchain.results import refusal_message
from guardrail.integrations.langchain.schemas import extended, without

__all__ = ["Governed"]


class Governed:
    """Mixin for tool classes. Converts guardrail's errors to results that the framework and the
    model can use.
    """

    def run(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool as its own ``run`` method does. If the call is refused, return an error
        message for the model.
        """
        invocation = Invocation(tool_call_id, kwargs.get("config"))
        token = INVOCATION.set(invocation)
        try:
            return super().run(*args, tool_call_id=tool_call_id, **kwargs)  # type: ignore[misc]
        except (Denied, ApprovalRequired, ToolTimeoutError) as refusal:
            if tool_call_id is None:
                raise
            return refusal_message(cast("BaseTool", self), refusal, tool_call_id)
        finally:
            INVOCATION.reset(token)
            record_rejected(binding_of(cast("BaseTool", self)), invocation)

    async def arun(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Async version of ``run``."""
        invocation = Invocation(tool_call_id, kwargs.get("config"))
        token = INVOCATION.set(invocation)
        try:
            return await super().arun(*args, tool_call_id=tool_call_id, **kwargs)  # type: ignore[misc]
        except (Denied, ApprovalRequired, ToolTimeoutError) as refusal:
            if tool_call_id is None:
                raise
            return refusal_message(cast("BaseTool", self), refusal, tool_call_id)
        finally:
            INVOCATION.reset(token)
            await arecord_rejected(binding_of(cast("BaseTool", self)), invocation)

    def _to_args_and_kwargs(self, *args: Any, **kwargs: Any) -> Any:
        # The framework's own validation failed, so the call never reaches a body, even if the
        # program handles the exception.
        try:
            given, named = super()._to_args_and_kwargs(*args, **kwargs)  # type: ignore[misc]
            binding = binding_of(cast("BaseTool", self))
            if not binding.injected.isdisjoint(binding.positional[: len(given)]):
                # A string input becomes the first argument, and may come from the model, but an
                # injected argument is neither judged nor recorded.
                raise TypeError(
                    f"{binding.name}: the first argument is injected, so it can't be passed as a "
                    "string input"
                )
            return given, named
        except Exception as error:
            invocation = INVOCATION.get()
            if invocation is not None:
                invocation.rejected = (
                    "arguments" if type(error).__name__ == "ValidationError" else "input"
                )
            raise

    @property
    def tool_call_schema(self) -> Any:
        """The schema that the model sees: the tool's own schema without the arguments that
        LangChain would show to the model but fill in itself.
        """
        tool = cast("BaseTool", self)
        schema = super().tool_call_schema  # type: ignore[misc]
        hidden = hidden_names(tool)
        if hidden.isdisjoint(getattr(schema, "model_fields", ())):
            return schema
        return without(schema, frozenset(hidden))

    def get_input_schema(self, config: Any = None) -> Any:
        """Return the tool's own schema plus the injected arguments that only its methods declare.
        ToolNode removes the model's value for an argument only if it knows that the argument is
        injected.
        """
        schema = self.given_input_schema(config)
        unseen = unseen_names(cast("BaseTool", self))
        return extended(schema, unseen) if unseen and hasattr(schema, "model_fields") else schema

    def given_input_schema(self, config: Any = None) -> Any:
        """Return the tool's own input schema."""
        return super().get_input_schema(config)  # type: ignore[misc]

    def __init__(self, **_: Any) -> None:
        # LangChain creates a configured tool from the fields of another tool, and the guard is not
        # a field.
        raise UsageError(
            (
                f"{type(self).__name__} can't be configured or created from its fields, "
                "because it would lose its guard"
            ),
            code="usage.governed",
            hint=(
                "copy the governed tool with model_copy, or configure the original tool and "
                "govern it"
            ),
        )

    def __copy__(self) -> Any:
        return _own(super().__copy__())  # type: ignore[misc]

    def __deepcopy__(self, memo: Any = None) -> Any:
        return _own(super().__deepcopy__(memo))  # type: ignore[misc]

    def model_copy(self, **how: Any) -> Any:
        """Return a governed copy of the tool. Calls of the copy are decided under the copy's name,
        and functions passed in *update* are governed.
        """
        return _own(super().model_copy(**how))  # type: ignore[misc]

    def copy(self, **how: Any) -> Any:
        """Return a governed copy of the tool, as ``model_copy`` does."""
        return _own(super().copy(**how))  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in CALLABLES and KEY in self.__dict__:
            govern_functions(cast("BaseTool", self))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise UsageError(
            "a governed tool can't be pickled, because its guard exists only in this process",
            code="usage.pickle",
            hint="pickle the original tool, and govern it after it is loaded",
        )


def _own(copied: Any) -> Any:
    """Return *copied* with its governed functions bound to the copy's name instead of the
    original's.
    """
    if KEY in copied.__dict__:
        govern_functions(copied)
    return copied
