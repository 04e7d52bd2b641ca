"""Kinds of tables; each is one file."""
