"""The SQLite side of a log: its tables, and connections that read or append."""
