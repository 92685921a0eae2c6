"""Removing sensitive values from recorded data: marks, names of keys, detectors, and the memory of
a session.
"""
