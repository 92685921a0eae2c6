"""Appending to a log: the writer, its commit thread, and what a commit holds."""
