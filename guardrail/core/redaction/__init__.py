"""Removes sensitive values from recorded data. They are found through annotations in a tool's
schema, the names of keys, detectors, and a session's memory.
"""
