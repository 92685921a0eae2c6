"""The server engine: a real OPA server, over HTTP."""
