"""The ledger: one SQLite file per log, written by a commit thread per writer, read without ever being written to."""
