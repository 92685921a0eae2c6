"""The driver that an adapter author implements so that the rules can exercise the adapter."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["AdapterDriver", "ModelCall", "Reply"]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call that a model requests."""

    name: str
    """Name of the tool. The tool may not exist."""
    arguments: Any
    """Usually a dict. If the driver sets ``takes_text``, a JSON text, which may be malformed."""
    id: str
    """The framework's id for the call, unique within a response."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one call, as the model reads it."""

    content: Any
    """The result, or the reason why there is none."""
    failed: bool | None = None
    """True if the framework marks the reply as a failure, or None if it has no such mark."""


class AdapterDriver(abc.ABC):
    """Uses an adapter on behalf of the rules: creates tools from functions, and runs calls in the
    same way as the framework runs a model's calls.

    The rules pass the return value of ``open`` to ``run`` or ``arun`` without inspecting it.
    """

    adapter: ClassVar[str]
    """``origin.adapter`` in the records."""
    asynchronous: bool = False
    """True if the functions are coroutine functions and ``arun`` is implemented."""
    takes_text: bool = False
    """True if the framework passes on arguments as the text that the model wrote."""
    enforcement: str = "body"
    """``enforcement`` in the records: ``release`` if the program runs the bodies itself."""
    exempt: Mapping[str, str] = MappingProxyType({})
    """Rules that can't apply to the framework, as a mapping of names to reasons."""

    @abc.abstractmethod
    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        """Create tools from *functions*, named after the functions and governed by *guard*.

        If *guard* is None, create the tools as a program without guardrail would.
        """

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        """Run *calls* as if one model response contained them, and return the replies in the same
        order.

        Raise the same exception as the framework would raise in the program that runs the agent. If
        the framework runs the calls in one response concurrently, run *calls* concurrently.
        """
        raise NotImplementedError

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        """Async version of ``run``. By default, runs ``run`` in a thread."""
        return await asyncio.to_thread(self.run, tools, calls)
