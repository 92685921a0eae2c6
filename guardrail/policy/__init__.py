"""Policy engines: each has one method, and all return the same answers."""
