"""Anthropic's Messages API: removes refused tool calls from responses, streamed or not."""
