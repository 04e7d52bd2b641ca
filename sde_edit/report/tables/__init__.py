"""Kinds of tables; each fills a table from runs, in one file."""
