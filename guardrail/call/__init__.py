"""Makes one tool call: from its arguments to a durable decision, and from its body to a durable
outcome.
"""
