"""Anchors keep signed heads outside the ledger, so that a rewritten ledger is detected."""
