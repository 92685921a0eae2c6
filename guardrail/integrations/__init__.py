"""Adapters for agent frameworks, one per framework. Each imports its framework only when it is
used.
"""
