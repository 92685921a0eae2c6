"""Adapters for agent frameworks: thin, named for their target, each importing its framework only when it is used itself."""
