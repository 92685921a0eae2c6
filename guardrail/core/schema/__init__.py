"""Checks arguments against a tool's JSON Schema: validation, defaults, cost limits, and the
snapshot of a call.
"""
