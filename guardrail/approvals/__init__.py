"""Approvals: the requests, the answers, and the rules for both. This package does not run tools."""
