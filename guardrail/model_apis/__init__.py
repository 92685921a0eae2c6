"""Governs the APIs of model providers: finds the tool calls in responses, submits the calls for a
decision, and replaces denied calls with refusals. The package does not need an HTTP library.
Clients and proxies use it.
"""
