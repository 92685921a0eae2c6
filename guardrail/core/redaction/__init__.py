"""Removes sensitive values from recorded data. They are found by annotations in a tool's schema, by
the names of keys, by detectors, and by the memory of a session.
"""
