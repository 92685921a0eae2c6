"""Keys: the log key, the keys of tenants, and the keys of witnesses. Only this package imports
``cryptography``.
"""
