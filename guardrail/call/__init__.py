"""Makes one tool call: from its arguments to a durable decision, then from its body to a durable
outcome.
"""
