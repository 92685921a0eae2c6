"""An MCP server over stdio with two tools: ``weather`` answers, ``broken`` fails. Each body notes
its call in the file that the first argument names.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.fastmcp import FastMCP

NOTES = Path(sys.argv[1])
server = FastMCP("places")


def note(city: str) -> None:
    with NOTES.open("a") as file:
        file.write(f"{city}\n")


@server.tool()
def weather(city: str) -> str:
    """Tell the weather."""
    note(city)
    return f"sun in {city}"


@server.tool()
def broken(city: str) -> str:
    """Fail."""
    note(city)
    raise ValueError(f"no weather in {city}")


server.run("stdio")
