"""The APIs of model providers: finds the tool calls in their answers, has them decided, and puts
refusals in place of those that are denied. Without an HTTP library: for clients and proxies.
"""
