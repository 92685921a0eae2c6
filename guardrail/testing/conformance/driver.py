"""What the author of an adapter writes: a driver that the rules use it through."""

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
    """One call, as a model asks for it."""

    name: str
    """Name of the tool, which may not exist."""
    arguments: Any
    """Usually a dict. JSON text, which may be malformed, if the driver ``takes_text``."""
    id: str
    """The framework's id of the call, unique in a response."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model reads about one call."""

    content: Any
    """A result, or why there is none."""
    failed: bool | None = None
    """True if the framework marks it as a failure, None if it has no such mark."""


class AdapterDriver(abc.ABC):
    """Uses one adapter for the rules: it makes tools of functions, and runs calls as its framework
    runs those of a model.

    The rules pass what ``open`` returns to ``run`` or ``arun``, and never look into it.
    """

    adapter: ClassVar[str]
    """``origin.adapter`` in the records."""
    asynchronous: bool = False
    """True if the functions are coroutine functions, and ``arun`` is written."""
    takes_text: bool = False
    """True if the framework passes on arguments as the text that the model wrote."""
    enforcement: str = "body"
    """``enforcement`` in the records: ``release`` if the program runs the bodies itself."""
    exempt: Mapping[str, str] = MappingProxyType({})
    """Rules that can't apply to the framework, each with the reason."""

    @abc.abstractmethod
    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        """Make tools of *functions*, named after them and governed by *guard*.

        If *guard* is None, make them as a program without guardrail would.
        """

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        """Run *calls* as if one response of a model contained them, and return the replies in the
        same order.

        Raise the exception that the program that runs the agent would get. The calls of one
        response run at the same time if the framework does that.
        """
        raise NotImplementedError

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        """Async version of ``run``, which it runs in a thread unless it is overridden."""
        return await asyncio.to_thread(self.run, tools, calls)
