"""A witness: a server that cosigns heads. Its client, the server itself, and its store."""
