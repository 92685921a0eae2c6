"""Anchors keep signed heads outside the ledger, so that anyone who rewrites the ledger is found
out.
"""
