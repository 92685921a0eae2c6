"""Govern LangChain tools: the guard decides, records and settles every execution of a tool's body.

::

from guardrail.integrations.langchain import govern

agent = create_agent(model, tools=govern([search, send_email], guard))

The guard does not see calls of the original tool object (which stays ungoverned), of tools that a
provider runs, or of unknown tools (which the framework answers itself). Tracing and callbacks
receive the model's unredacted arguments. Outside ToolNode, the framework accepts a value for an
injected argument from any caller, so a program that passes a model's arguments to a tool must
remove the names of injected arguments first. ``with_fallbacks`` catches every exception, including
``LedgerError``: the body does not run, but the program continues. A call is denied if the tool's
validators are not idempotent, because the body would then get different arguments than the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from guardrail.errors import LedgerError, UsageError

try:
    from langchain_core.tools import BaseTool, BaseToolkit
except ImportError as missing:
    raise ImportError(
        "guardrail.integrations.langchain needs LangChain:"
        " install guardrail with the 'langchain' extra (README.md)"
    ) from missing

from guardrail.integrations.langchain.binding import (
    KEY,
    Approvals,
    Binding,
    Options,
    bind,
)
from guardrail.integrations.langchain.classes import governed_class
from guardrail.integrations.langchain.contradictions import RefusedToolWarning
from guardrail.integrations.langchain.functions import govern_functions
from guardrail.integrations.langchain.results import ReportedError
from guardrail.integrations.langchain.stops import langgraph

if TYPE_CHECKING:
    from guardrail.guard import Guard

    class LedgerStop(LedgerError):
        """A ``LedgerError`` that always reaches the program: LangGraph does not turn it into a
        message for the model.
        """


__all__ = ["LedgerStop", "RefusedToolWarning", "ReportedError", "govern"]

T = TypeVar("T", bound=BaseTool)


@overload
def govern(
    tools: T,
    guard: Guard,
    *,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    amounts: Sequence[str] = (),
    effect_key: Sequence[str] = (),
    log_output: bool = False,
    server: str | None = None,
    approvals: Approvals | str = Approvals.ERROR,
    timeout: float | None = None,
) -> T: ...
@overload
def govern(
    tools: Sequence[T],
    guard: Guard,
    *,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    amounts: Sequence[str] = (),
    effect_key: Sequence[str] = (),
    log_output: bool = False,
    server: str | None = None,
    approvals: Approvals | str = Approvals.ERROR,
    timeout: float | None = None,
) -> list[T]: ...
def govern(
    tools: T | Sequence[T],
    guard: Guard,
    *,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    amounts: Sequence[str] = (),
    effect_key: Sequence[str] = (),
    log_output: bool = False,
    server: str | None = None,
    approvals: Approvals | str = Approvals.ERROR,
    timeout: float | None = None,
) -> T | list[T]:
    """Return a governed copy of a tool, or of each tool in a list. A body runs only after a
    durable, well-formed ``allow``.

    *target*, *labels*, *amounts*, *effect_key*, *log_output*, *server* and *timeout* have the same
    meaning as in ``guard.declare`` and apply to every tool in *tools*. A tool that this guard
    already governs is returned unchanged. The original tool is not changed and stays ungoverned.

    If the tool was invoked with a tool call, a refusal or a timeout is returned as a
    ``ToolMessage`` with status ``error``. If it was invoked with plain arguments, an exception is
    raised (``Denied``, ``ApprovalRequired``, ``ToolTimeoutError``). If *approvals* is
    ``"interrupt"`` and the LangGraph graph has a checkpointer, a call that needs approval pauses
    the graph. The interrupt's value contains the question and a blank ``answer``; fill in the
    ``answer``, and resume the graph with it. A ``LedgerError`` is always raised. Raises
    ``UsageError`` if an object is not a tool that runs in this process, and ``ConfigError`` if a
    tool with the same name has a different schema.

    An argument that the model can see is never injected. A tool is rejected if it shows the model
    an argument that its signature marks as injected, or an argument that the framework fills in by
    name (``config``, ``run_manager``, ``callbacks``, ``runtime``, ``self``). ``RefusedToolWarning``
    then states the tool and the argument, and every call of that tool is denied.
    """
    how = Approvals.of(approvals)
    options = Options(
        tuple(target),
        tuple(labels),
        tuple(amounts),
        tuple(effect_key),
        log_output,
        server,
        how,
        timeout,
    )
    if isinstance(tools, BaseTool):
        return cast("T", _govern(tools, guard, options))
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        _refuse(tools)
    return [cast("T", _govern(tool, guard, options)) for tool in tools]


# -- creating a governed tool


def _govern(tool: object, guard: Guard, options: Options) -> BaseTool:
    if not isinstance(tool, BaseTool):
        _refuse(tool)
    found = tool.__dict__.get(KEY)
    if isinstance(found, Binding):
        if found.guard is not guard:
            raise UsageError(
                "this tool is governed by a different guard",
                code="usage.governed",
                hint="govern the original tool",
            )
        if options not in (Options(), found.options):
            raise UsageError(
                "this tool is already governed, with different options",
                code="usage.governed",
                hint="govern the original tool",
            )
        return tool
    _check_entries(type(tool))
    langgraph()
    copied = tool.model_copy()
    bind(copied, guard, options, {})
    govern_functions(copied)
    object.__setattr__(copied, "__class__", governed_class(type(tool)))
    return copied


_ENTRIES = ("invoke", "ainvoke", "run", "arun", "batch", "abatch", "stream", "astream")


def _check_entries(cls: type[BaseTool]) -> None:
    """Raise ``UsageError`` if the class overrides an entry point: its code could run before the
    guard or bypass it.
    """
    for name in _ENTRIES:
        module = getattr(getattr(cls, name), "__module__", "")
        if module.split(".")[0] != "langchain_core":
            raise UsageError(
                f"{cls.__name__} overrides {name}, so guardrail can't identify its body",
                code="usage.entry",
                hint="put the tool's work into _run and _arun",
            )


def _refuse(tool: object) -> NoReturn:
    if isinstance(tool, Mapping):
        raise UsageError(
            "a tool passed as a mapping runs at the model's provider, so guardrail can't govern it",
            code="usage.provider_tool",
            hint="remove it, or use a local tool instead",
        )
    hint = "decorate the function with langchain_core.tools.tool first" if callable(tool) else ""
    if isinstance(tool, BaseToolkit):
        hint = "govern(toolkit.get_tools(), guard)"
    raise UsageError(
        f"expected a LangChain tool or a sequence of LangChain tools, not {type(tool).__name__}",
        code="usage.tool",
        hint=hint,
    )


def __getattr__(name: str) -> Any:
    # Created on first use, because its bases depend on whether LangGraph is installed.
    if name == "LedgerStop":
        return langgraph().stop
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
