"""Kinds of figures; each draws a table, in one file."""
