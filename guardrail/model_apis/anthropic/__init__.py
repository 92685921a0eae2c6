"""The Messages API of Anthropic: removes refused tool calls from its answers, streamed or not."""
