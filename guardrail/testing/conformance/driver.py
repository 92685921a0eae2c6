"""The driver, which the author of an adapter writes and through which the rules use the adapter."""

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
    """Name of the tool, which may not exist."""
    arguments: Any
    """Usually a dict. If the driver ``takes_text``, JSON text that may be malformed."""
    id: str
    """The framework's id of the call, unique in a response."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one call, as the model reads it."""

    content: Any
    """The result, or the reason that there is none."""
    failed: bool | None = None
    """True if the framework marks the reply as a failure, or None if it has no such mark."""


class AdapterDriver(abc.ABC):
    """Uses one adapter for the rules: it makes tools out of functions, and runs calls as the
    framework runs a model's calls.

    The rules pass the return value of ``open`` to ``run`` or ``arun``, and never inspect it.
    """

    adapter: ClassVar[str]
    """``origin.adapter`` in the records."""
    asynchronous: bool = False
    """True if the functions are coroutine functions and ``arun`` is implemented."""
    takes_text: bool = False
    """True if the framework passes arguments on as the text that the model wrote."""
    enforcement: str = "body"
    """``enforcement`` in the records, which is ``release`` if the program runs the bodies
    itself.
    """
    exempt: Mapping[str, str] = MappingProxyType({})
    """Rules that can't apply to the framework, each with a reason."""

    @abc.abstractmethod
    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        """Make tools out of *functions*, named after them and governed by *guard*.

        If *guard* is None, make them as a program without guardrail would.
        """

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        """Run *calls* as if one model response contained them, and return the replies in the same
        order.

        Raise the exception that the program that runs the agent would get. If the framework runs
        the calls of one response concurrently, do the same.
        """
        raise NotImplementedError

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        """Async version of ``run``, which it runs in a thread unless it is overridden."""
        return await asyncio.to_thread(self.run, tools, calls)
