"""The access log, which records who read a ledger before anything is shown."""
