"""The server engine: requests decisions from a real OPA server over HTTP."""
