"""Keeps the values of callers out of the texts that Python makes of an object.

A debugger, an error tracker or a traceback with local variables shows the ``repr`` of each object
that it meets, and a program can pickle it. Such texts must not contain an argument, a result, a
text that a policy built, or a value that a session remembers.
"""

from __future__ import annotations

from typing import NoReturn, TypeVar

__all__ = ["hidden"]

T = TypeVar("T")


def hidden(cls: type[T]) -> type[T]:
    """Decorate a class whose objects hold values of callers. Their ``repr`` is only the name of the
    class, and they can be neither pickled nor copied with the module ``copy``.
    """
    type.__setattr__(cls, "__repr__", _repr)
    type.__setattr__(cls, "__reduce__", _refuse)
    return cls


def _repr(self: object) -> str:
    return f"{type(self).__name__}(...)"


def _refuse(self: object) -> NoReturn:
    raise TypeError(f"{type(self).__name__} can't be pickled, because it holds values of callers")
