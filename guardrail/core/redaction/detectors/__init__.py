"""Detectors, which recognise secrets and personal data in text."""
