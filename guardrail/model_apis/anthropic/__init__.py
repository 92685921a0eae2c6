"""Anthropic's Messages API: removes refused tool calls from answers, streamed or not."""
