"""Detectors: secrets and personal data, recognised in text."""
