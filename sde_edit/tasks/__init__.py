"""Editing tasks; each is one file."""
