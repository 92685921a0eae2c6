"""Rewrites Rego that the embedded engine would evaluate differently from OPA, or not read, as
equivalent Rego that both evaluate in the same way.

No step changes the number of a line. Each step is a module of this package.
"""
