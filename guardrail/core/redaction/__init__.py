"""Removes sensitive values from recorded data by marks, key names, detectors and the memory of a
session.
"""
