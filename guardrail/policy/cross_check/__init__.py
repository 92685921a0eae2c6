"""Compares the decisions of the two engines on one policy set."""
