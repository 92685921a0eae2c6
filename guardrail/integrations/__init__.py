"""Adapters for agent frameworks, one per framework. An adapter imports its framework only when it
is used.
"""
