"""Appends to a log: the writer, its commit thread, and the contents of a commit."""
