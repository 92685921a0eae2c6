"""Lints, which find constructs that can let a call through although the rule was written to stop
it.
"""
