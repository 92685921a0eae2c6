"""Tools as the guard sees them, made from functions, models and docstrings."""
