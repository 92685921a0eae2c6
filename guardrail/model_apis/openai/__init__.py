"""OpenAI's APIs: chat completions and the Responses API."""
