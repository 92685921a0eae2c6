"""The base of the ToolBoxes for all providers: the functions that a model may call."""

from __future__ import annotations

import copy
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, overload

from guardrail.errors import SchemaError, UsageError
from guardrail.integrations.batch_run import BatchRun
from guardrail.integrations.model_calls import CallBatch, ContentParts, Registered, matched
from guardrail.model_apis.calls import AskedCall, CallKind
from guardrail.tools.governed import Calls, GovernedMethod, governed
from guardrail.tools.strict import plain_schema, strict_schema, strict_tool
from guardrail.tools.tool import Tool, check_options, from_function

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard

__all__ = ["ContentParts", "ToolBoxBase"]

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = frozenset(
    {
        "name",
        "description",
        "server",
        "target",
        "labels",
        "amounts",
        "effect_key",
        "log_output",
        "timeout",
    }
)
"""Tool options that ``Guard.tool`` also accepts."""


class ToolBoxBase(ABC):
    """Functions that a model may call. A body runs only after a durable, well-formed ``allow``.

    Thread-safe once every function is registered.
    """

    _adapter: ClassVar[str]
    _names: ClassVar[re.Pattern[str]]
    """Pattern for the tool names that the API accepts."""

    def __init_subclass__(cls) -> None:
        """Rename the class and its methods to the names that programs import, because these names
        appear in a ``TypeError``.
        """
        super().__init_subclass__()
        cls.__name__ = cls.__qualname__ = "ToolBox"
        cls.__module__ = cls.__module__.rpartition(".")[0]
        for each in (*vars(cls).values(), *vars(ToolBoxBase).values()):
            if inspect.isfunction(each):
                each.__qualname__ = f"ToolBox.{each.__name__}"

    def __init__(self, guard: Guard, *, wait_for_approval: float | None = None) -> None:
        """*wait_for_approval* is the number of seconds that a call waits for a person to approve
        it. By default, the call does not wait, and the model is told that the call needs approval.
        """
        self._guard = guard
        self._wait = wait_for_approval
        self._entries: dict[str, Registered] = {}

    @overload
    def tool(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool = False,
        server: str | None = None,
        target: Sequence[str] = (),
        labels: Sequence[str] = (),
        amounts: Sequence[str] = (),
        effect_key: Sequence[str] = (),
        log_output: bool = False,
        timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def tool(self, function: Any = None, /, **options: Any) -> Any:
        """Register a function, or a bound method. The tool's name, schema and descriptions come
        from its signature and docstring. Returns the governed function, as ``guard.tool`` does.

        *strict* makes the API enforce the schema on the model's arguments. The other options have
        the same meaning as in ``guard.tool``; a function that was already registered with
        ``guard.tool`` keeps its options. Raises ``UsageError`` for a second tool with the same
        name, for a name that the API does not accept, and for a signature that JSON Schema can't
        describe.
        """
        if function is None:
            return lambda decorated: self._add(decorated, CallKind.FUNCTION, **options)
        return self._add(function, CallKind.FUNCTION, **options)

    @abstractmethod
    def tools(self) -> list[dict[str, Any]]:
        """Return the tools for a request."""

    def _add(
        self,
        function: Any,
        kind: CallKind,
        *,
        strict: bool = False,
        format: Mapping[str, Any] | None = None,  # noqa: A002 - the name that the API has for it
        **options: Any,
    ) -> Any:
        check_options(options, _OPTIONS)
        called = str(options.get("name") or getattr(function, "__name__", "") or "a tool")
        made, body = self._made(function, called, strict, options)
        if not self._names.fullmatch(made.name):
            raise UsageError(
                f"{made.name}: the API does not accept this name for a tool",
                code="usage.name",
                hint=f"pass name= with a name that matches {self._names.pattern}",
            )
        if made.name in self._entries:
            raise UsageError(
                f"{made.name}: this ToolBox already has a tool with this name",
                code="usage.tool_name",
                hint="pass a different name=",
            )
        if kind is CallKind.CUSTOM and len(made.parameters) != 1:
            raise UsageError(
                (
                    f"{made.name}: a custom tool must take exactly one argument, the text "
                    "that the model writes"
                ),
                code="usage.custom",
            )
        made = self._guard.register(made)
        self._entries[made.name] = Registered(made, body, kind, strict, copy.deepcopy(format))
        if body is not function:
            return function
        return governed(made, function, Calls(self._guard.call, self._guard.acall))

    def _made(
        self, function: Any, called: str, strict: bool, options: dict[str, Any]
    ) -> tuple[Tool, Any]:
        """Return the tool and the body for *function*. Error messages use the name *called*."""
        found = getattr(function, "__guardrail_tool__", None)
        if isinstance(function, GovernedMethod):
            raise UsageError(
                f"{called}: this is an unbound method, and a model can't supply the object",
                code="usage.method",
                hint="register the method of an object: box.tool(orders.find)",
            )
        if isinstance(found, Tool):
            if options:
                raise UsageError(
                    (
                        f"{found.name}: guard.tool has already registered this tool, with its own "
                        "options"
                    ),
                    code="usage.governed",
                    hint="pass the options to guard.tool",
                )
            made, body = found, function.__wrapped__
            if getattr(body, "__guardrail_tool__", None) is not None:
                # functools.wraps copies a governed function's binding to the wrapper.
                raise UsageError(
                    (
                        f"{found.name}: this wraps a governed tool, so its calls would be "
                        "decided twice"
                    ),
                    code="usage.governed",
                    hint="make the wrapper a tool instead of the wrapped function",
                )
        else:
            try:
                made, body = from_function(function, **options), function
            except (UsageError, SchemaError) as error:
                raise type(error)(
                    f"{called}: {error.message}", code=error.code, hint=error.hint
                ) from None
        if strict:
            assert made.schema is not None
            try:
                strict_schema(made.schema.schema)
            except UsageError as error:
                raise UsageError(
                    f"{made.name}: {error.message}", code=error.code, hint=error.hint
                ) from None
            made = strict_tool(made)
        return made, body

    def _specified(self) -> Iterator[tuple[Registered, dict[str, Any]]]:
        """Yield each tool with the schema of its arguments."""
        for entry in self._entries.values():
            assert entry.tool.schema is not None
            schema = entry.tool.schema.schema
            yield entry, strict_schema(schema) if entry.strict else plain_schema(schema)

    def _run(self, batch: CallBatch, **options: Any) -> list[Any]:
        run, pairs = self._begin(batch, **options)
        return self._end(batch, run.run_all(pairs))

    async def _arun(self, batch: CallBatch, **options: Any) -> list[Any]:
        run, pairs = self._begin(batch, **options)
        return self._end(batch, await run.arun_all(pairs))

    def _begin(
        self, batch: CallBatch, *, session: SessionScope | None, replayed: bool
    ) -> tuple[BatchRun, list[tuple[AskedCall, Registered | None]]]:
        run = BatchRun(
            self._guard,
            batch,
            adapter=self._adapter,
            session=session,
            wait_for_approval=self._wait,
            replayed=replayed,
        )
        return run, list(matched(batch.calls, self._entries))

    @staticmethod
    def _end(batch: CallBatch, answers: Iterable[Any]) -> list[Any]:
        if batch.problem is not None:
            raise batch.problem
        given = [answer for answer in answers if answer is not None]
        return batch.compose(given) if given else []
