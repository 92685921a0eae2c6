"""The embedded engine: regorus in supervised worker processes."""
