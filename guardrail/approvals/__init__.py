"""Approvals: requests, the rules for answering them, and the answers. No tool runs here."""
