"""Lints: places in a rule that can let a call through that it was written to stop."""
