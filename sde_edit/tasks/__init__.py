"""Edits; a task is one file."""
