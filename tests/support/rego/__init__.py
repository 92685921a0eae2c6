"""Generated Rego, and what OPA and the embedded engine make of it."""
