"""Tools as the guard knows them: made from functions, models and docstrings."""
