"""The memory server's own SQLite file: schema, transactions, and the statements by subject."""
