"""Examine, back up, recover, rebuild and prune a ledger."""
