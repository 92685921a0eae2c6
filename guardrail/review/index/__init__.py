"""The reader's index of a ledger: an SQLite file in the reader's own state folder, made from the
ledger's lines.

Commands use the index to find lines, which they then read from the ledger and compare with the
index. People can open it with Datasette or sqlite-utils. It can be deleted at any time: the next
command rebuilds it. ``verify``, ``export`` and proofs never use it, which an import contract
enforces.
"""
