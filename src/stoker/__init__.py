"""Stoker: one box, one engine, three classes of work."""
