"""Witnesses: servers that cosign heads. Client, server and store."""
