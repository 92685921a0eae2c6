"""The access log: who read a ledger, recorded before anything of it is shown."""
