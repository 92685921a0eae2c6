"""Keys: the log key, the keys of tenants, and the keys of witnesses. The only importer of
``cryptography``.
"""
