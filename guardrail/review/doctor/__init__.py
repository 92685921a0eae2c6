"""``guardrail doctor``: everything that guardrail needs, checked one by one, each with its fix."""
