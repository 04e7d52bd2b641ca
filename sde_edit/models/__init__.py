"""Kinds of diffusion models; a kind is one file."""
