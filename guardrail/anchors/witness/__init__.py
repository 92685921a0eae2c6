"""Witnesses, which are servers that cosign heads: the client, the server and its store."""
