"""Lints: places where a call slips through that a rule was written to stop."""
