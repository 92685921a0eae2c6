"""Govern tool calls made through an Anthropic client.

::

from guardrail.integrations.anthropic import ToolBox

    box = ToolBox(guard)
    message = client.messages.create(model=MODEL, messages=messages, tools=box.tools(), ...)
    messages += [{"role": "assistant", "content": message.content}, *box.run(message)]
"""

from __future__ import annotations

from guardrail.integrations.anthropic.toolbox import AnthropicToolBox
from guardrail.integrations.toolbox import ContentParts

__all__ = ["ContentParts", "ToolBox"]

ToolBox = AnthropicToolBox
