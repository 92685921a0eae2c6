"""LangChain tools that note their runs, and a model that follows a script."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.tools import BaseTool, tool

RUNS: list[Any] = []
"""One entry for each body that ran: usually the city that it was asked about. The fixture of the
integration's tests empties it before each test."""


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    RUNS.append(city)
    return f"sun in {city}"


@tool
async def weather_async(city: str) -> str:
    """Tell the weather."""
    RUNS.append(city)
    return f"sun in {city}"


class WeatherClass(BaseTool):
    """The same tool as a class."""

    name: str = "weather_class"
    description: str = "Tell the weather."

    def _run(self, city: str) -> str:
        RUNS.append(city)
        return f"sun in {city}"


class Scripted(FakeMessagesListChatModel):
    """A model that says what it was told to say, and takes any tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self
