"""The Messages API of Anthropic: takes refused tool calls out of its answers, whole or streamed."""
