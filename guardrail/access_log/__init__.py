"""The access log, which records each read of a ledger before anything is shown."""
