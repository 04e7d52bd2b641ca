"""Kinds of figures, which draw tables; each is one file."""
