"""Anchors: a signed head somewhere else, so that whoever can change the ledger can't change what it was."""
