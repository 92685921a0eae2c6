"""Lints: they find constructs that can let a call through despite a rule that should stop it."""
