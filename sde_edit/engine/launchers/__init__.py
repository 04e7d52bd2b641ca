"""Launchers, which run the jobs of a sweep; each is one file."""
