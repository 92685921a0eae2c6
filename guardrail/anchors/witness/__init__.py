"""Witnesses: servers that cosign heads. Contains the client, the server and its store."""
