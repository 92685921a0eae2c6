"""Lints, which find constructs that can let a call through although a rule was written to stop
it.
"""
