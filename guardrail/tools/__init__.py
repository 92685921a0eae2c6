"""Tools as a guard sees them, derived from functions, models and docstrings."""
