"""Turns stored scores into tables, figures and contact sheets; loads no torch."""
