"""The server engine: a real OPA over HTTP."""
