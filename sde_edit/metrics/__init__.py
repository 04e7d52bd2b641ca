"""Metrics, which score images; each is one file."""
