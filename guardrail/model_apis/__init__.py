"""The APIs of model providers: finds the tool calls in their answers, has them decided, and
replaces denied calls with refusals. It needs no HTTP library, and is used by clients and proxies.
"""
