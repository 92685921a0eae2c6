"""Tools as a guard sees them, made from functions, models and docstrings."""
