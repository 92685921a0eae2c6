"""Examines, backs up, recovers, rebuilds and prunes a ledger."""
