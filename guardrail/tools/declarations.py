"""The tools of a guard: declared by name and schema, or created from the program's own
callables.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

from guardrail.core.schema.compiled import UnknownArguments
from guardrail.errors import UsageError
from guardrail.tools.tool import Tool, ToolRegistry, check_options, from_function
from guardrail.tools.tool import declare as declare_tool
from guardrail.tools.tools_file import tools_document, write_tools

__all__ = ["ToolDeclarations"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OPTIONS = frozenset(
    {
        "name",
        "server",
        "target",
        "labels",
        "amounts",
        "effect_key",
        "log_output",
        "unsafe_stream",
        "timeout",
    }
)


class ToolDeclarations(ABC):
    """The part of a guard that declares, registers and finds its tools."""

    def __init__(self, unknown: UnknownArguments, tools: ToolRegistry | None = None) -> None:
        """*unknown* determines how a tool treats arguments that its JSON Schema does not
        declare. *tools* are the tools of another guard that this guard has too.
        """
        self._tools = ToolRegistry() if tools is None else tools
        self._unknown = unknown

    @abstractmethod
    def call(self, tool: Tool, args: Mapping[str, Any], run: Callable[..., R]) -> R:
        """Decide, record and run a call."""

    @abstractmethod
    async def acall(
        self,
        tool: Tool,
        args: Mapping[str, Any],
        run: Callable[..., Awaitable[R]] | Callable[..., R],
    ) -> R:
        """Async version of ``call``."""

    def declare(
        self,
        name: str,
        *,
        schema: Any = None,
        server: str | None = None,
        target: Sequence[str] = (),
        labels: Sequence[str] = (),
        amounts: Sequence[str] = (),
        effect_key: Sequence[str] = (),
        log_output: bool = False,
        unsafe_stream: bool = False,
        timeout: float | None = None,
    ) -> Tool:
        """Declare a tool in the guard.

        *schema* is a JSON Schema or a pydantic model, *target* lists the arguments that identify
        the object that the tool acts on, and *labels* are passed to the policy. *amounts* lists the
        arguments that policies add up: a call is denied with cause ``arguments`` unless each of
        them is a number from 0 to 2**53. *effect_key* lists the arguments that identify the effect
        of a call, such as an invoice: at most one call with the same values runs
        (docs/effects.md). If *log_output* is True, the redacted result is recorded in addition to
        its type, size and token.

        A body that takes longer than *timeout* seconds ends with ``ToolTimeoutError``. A coroutine
        is cancelled. Any other function runs in a thread, which can't be stopped: it keeps running,
        and its end is recorded as a ``call.claim``. ``admit`` does not use the timeout.

        If the schema is rejected (because of remote references, too many levels, or patterns that
        need backtracking), the tool stays undeclared: a ``SchemaWarning`` states the tool and the
        reason, and ``tool.refused`` contains the code. Arguments that a JSON Schema does not
        declare are accepted, as JSON Schema specifies, unless ``[tools] unknown_arguments`` is
        ``refuse``.
        """
        tool = declare_tool(
            name,
            schema=schema,
            server=server,
            target=target,
            labels=labels,
            amounts=amounts,
            effect_key=effect_key,
            log_output=log_output,
            unsafe_stream=unsafe_stream,
            timeout=timeout,
            unknown=self._unknown,
        )
        return self.register(tool)

    def register(self, tool: Tool) -> Tool:
        """Register a tool that an integration has declared. Raises ``ConfigError`` if the tool
        conflicts with an existing tool.
        """
        self._tools.put(tool)
        return tool

    @overload
    def tool(self, function: staticmethod[P, R], /) -> staticmethod[P, R]: ...
    @overload
    def tool(self, function: classmethod[T, P, R], /) -> classmethod[T, P, R]: ...
    @overload
    def tool(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        server: str | None = None,
        target: Sequence[str] = (),
        labels: Sequence[str] = (),
        amounts: Sequence[str] = (),
        effect_key: Sequence[str] = (),
        log_output: bool = False,
        unsafe_stream: bool = False,
        timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def tool(self, function: Any = None, /, **options: Any) -> Any:
        """Make a function a governed tool. The name and the schema come from its signature and
        docstring.

        *function* can also be a method (defined in a class or bound to an object), a class, a
        ``functools.partial`` or any other callable. The program supplies the object of a method and
        the arguments bound by a partial, so they are not arguments of the tool. The options are the
        same as for ``declare``. Calling the governed tool is equivalent to ``guard.call`` (or
        ``guard.acall`` for a coroutine function). Raises ``UsageError``, for example for
        generators, and ``SchemaError``.
        """
        check_options(options, _OPTIONS)
        if function is None:
            return lambda decorated: self.tool(decorated, **options)
        if isinstance(function, staticmethod):
            return staticmethod(self.tool(function.__func__, **options))
        if getattr(function, "__guardrail_tool__", None) is not None:
            raise UsageError(
                "this tool is already governed, so its calls would be decided twice",
                code="usage.governed",
                hint="use it unchanged, or pass the original callable",
            )
        return self._governed(function, options)

    def _governed(self, function: Any, options: Mapping[str, Any]) -> Any:
        # Both modules import pydantic.
        from guardrail.tools.functions import is_method, owner_parameter
        from guardrail.tools.governed import Calls, GovernedMethod, governed

        calls = Calls(self.call, self.acall)
        of_class = isinstance(function, classmethod)
        if not of_class and not is_method(function):
            return governed(self.register(from_function(function, **options)), function, calls)
        method = function.__func__ if of_class else function
        tool = from_function(method, injected=[owner_parameter(method)], **options)
        made = GovernedMethod(self.register(tool), method, calls)
        return classmethod(made) if of_class else made

    def tools_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the schemas of the declared tools as JSON text: ``{"tool": JSON Schema}``, which
        ``guardrail policy check --tools`` reads.

        If *path* is given, the text is also written to that file, which is replaced atomically.
        Tools without an accepted schema are omitted. If tools on several servers have the same
        name, their entry contains only the constraints that they all share. Raises ``ConfigError``
        if the file can't be written.
        """
        text = tools_document(self._tools.all())
        if path is not None:
            write_tools(Path(path), text)
        return text

    @property
    def unknown_arguments(self) -> UnknownArguments:
        """The treatment of arguments that a JSON Schema does not declare."""
        return self._unknown

    def find_tool(self, tool: str | Tool, server: str | None = None) -> Tool:
        """Return the declared tool *tool* on *server*, or an undeclared tool with that name. Raises
        ``UsageError`` if the name can't be recorded.
        """
        return tool if isinstance(tool, Tool) else self._tools.get(tool, server)
