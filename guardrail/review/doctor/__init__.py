"""``guardrail doctor``: checks everything that guardrail needs, one by one, and suggests a fix for
each problem.
"""
