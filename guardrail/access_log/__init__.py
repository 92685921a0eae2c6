"""The access log: a record of who read a ledger, written before anything is shown."""
