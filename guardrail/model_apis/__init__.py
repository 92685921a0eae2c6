"""The APIs of model providers: finds the tool calls in their answers, submits them for a decision,
and replaces denied calls with refusals. The package needs no HTTP library, and is used by clients
and proxies.
"""
