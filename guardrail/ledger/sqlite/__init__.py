"""The SQLite storage backend of a log: its tables, and the connections that read or append."""
