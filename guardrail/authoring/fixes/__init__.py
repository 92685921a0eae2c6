"""Fixes policies that can't be loaded, if the fix is mechanical."""
