"""Replaces the body of an HTTP client's response.

The OpenAI client uses responses from httpx2 or httpx. The response's class shows which of them it
is, so this module imports neither.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

from guardrail.model_apis.answers import AnswerStream
from guardrail.model_apis.asking import ModelAnswerError
from guardrail.model_apis.deciding import Decider, adrive_deciding, drive_deciding

__all__ = ["replaced", "stream_of", "without_length"]

_ABOUT_BODY = frozenset({"content-length", "content-encoding", "transfer-encoding"})


def without_length(headers: Any) -> list[tuple[str, str]]:
    """Return *headers* without the headers that describe the bytes of the body."""
    return [
        (name, value) for name, value in headers.multi_items() if name.lower() not in _ABOUT_BODY
    ]


def replaced(response: Any, **body: Any) -> Any:
    """Return a copy of *response* with *body* (``content=`` or ``stream=``) as its body."""
    made = _library(response).Response(
        response.status_code,
        headers=without_length(response.headers),
        request=response.request,
        extensions=response.extensions,
        default_encoding=response.default_encoding,
        history=response.history,
        **body,
    )
    made.next_request = response.next_request
    if hasattr(response, "_elapsed"):
        made.elapsed = response.elapsed
    return made


def stream_of(
    response: Any, answer: AnswerStream, decider: Decider, *, asynchronous: bool = False
) -> Any:
    """Return a copy of *response* whose stream contains only governed events."""
    library = _library(response)
    pieces = _apieces if asynchronous else _pieces
    base = library.AsyncByteStream if asynchronous else library.SyncByteStream
    mixin = _AsyncGovernedStream if asynchronous else _GovernedStream
    kind = type("GovernedStream", (mixin, base), {})
    return replaced(response, stream=kind(response, pieces(response, answer, decider)))


def _library(response: Any) -> Any:
    """Return the module that *response* comes from: httpx2 or httpx."""
    for each in type(response).__mro__:
        library = sys.modules.get(each.__module__.partition(".")[0])
        if each.__name__ == "Response" and hasattr(library, "AsyncByteStream"):
            return library
    raise ModelAnswerError(f"responses of {type(response).__module__} can't be governed")


class _GovernedStream:
    def __init__(self, response: Any, pieces: Any) -> None:
        self._response = response
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces  # type: ignore[no-any-return]

    def close(self) -> None:
        if not self._pieces.gi_running:
            self._pieces.close()
        self._response.close()


class _AsyncGovernedStream:
    def __init__(self, response: Any, pieces: Any) -> None:
        self._response = response
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        if not self._pieces.ag_running:
            await self._pieces.aclose()
        await self._response.aclose()


def _pieces(response: Any, answer: AnswerStream, decider: Decider) -> Generator[bytes]:
    try:
        with closing(response.iter_bytes()) as source:
            piece: bytes | None = b""
            while piece is not None:
                piece = next(source, None)
                for event in answer.read(piece):
                    data = drive_deciding(answer.govern(event), decider.decide)
                    decider.release()
                    if data:
                        yield data
                _check_end(response, answer, piece)
    finally:
        decider.withdraw()


async def _apieces(response: Any, answer: AnswerStream, decider: Decider) -> AsyncGenerator[bytes]:
    try:
        async with aclosing(response.aiter_bytes()) as source:
            piece: bytes | None = b""
            while piece is not None:
                piece = await anext(source, None)
                for event in answer.read(piece):
                    data = await adrive_deciding(answer.govern(event), decider.adecide)
                    decider.release()
                    if data:
                        yield data
                _check_end(response, answer, piece)
    finally:
        await decider.awithdraw()


def _check_end(response: Any, answer: AnswerStream, piece: bytes | None) -> None:
    """Raise the error that the HTTP client uses for a broken connection if the response is
    incomplete.
    """
    if (piece is None or answer.ended) and answer.broken:
        raise _library(response).RemoteProtocolError(
            "the model's response ended too early; its undecided calls were dropped",
            request=response.request,
        )
