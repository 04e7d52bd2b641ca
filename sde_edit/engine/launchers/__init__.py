"""Launchers run the jobs of a sweep; each file is one launcher."""
