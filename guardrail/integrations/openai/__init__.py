"""Govern tool calls made through an OpenAI client, in chat completions and in the Responses API.

::

    from guardrail.integrations.openai import ToolBox

    box = ToolBox(guard)
    response = client.responses.create(model=MODEL, input=items, tools=box.tools())
    items += [*response.output, *box.run(response)]

``govern_client`` governs a client whose program can't be changed.
"""

from __future__ import annotations

from guardrail.integrations.openai.client import govern_client
from guardrail.integrations.openai.toolbox import Hosted, OpenAIToolBox
from guardrail.integrations.toolbox import ContentParts

__all__ = ["ContentParts", "Hosted", "ToolBox", "govern_client"]

ToolBox = OpenAIToolBox
