"""The ledger: one SQLite file per log.

Each writer has a commit thread; readers never write to the file.
"""
